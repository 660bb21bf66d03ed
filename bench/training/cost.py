"""What a recipe costs before it is run: passes of each network, and the memory that weights need. No torch."""

from __future__ import annotations

from bench.training.recipe import Recipe
from methods.recipes import DMDRecipe

BYTES = 4
"""Of a float32 number."""


def forward_passes(recipe: DMDRecipe) -> dict[str, int]:
    """Forward passes of a batch through each network over a whole training.

    The discriminator's run the critic's encoder alone. Backward simulation takes (N - 1) / 2 further student
    passes an iteration, on average.
    """
    iterations, turns = recipe.iterations, generator_updates(recipe)
    simulated = recipe.input_simulation == "backward"
    guided = 1 if recipe.guidance_scale == 1 else 2
    return {
        "student": iterations
        + (iterations * (recipe.student_steps - 1) // 2 if simulated else 0)
        + (turns if recipe.regression else 0),
        "teacher": turns * guided if recipe.distribution_matching else 0,
        "critic": (turns if recipe.distribution_matching else 0) + (iterations if recipe.critic_denoising else 0),
        "critic's encoder": turns + iterations * (1 if recipe.shared_critic_draws else 2) if recipe.gan else 0,
    }


def generator_updates(recipe: DMDRecipe) -> int:
    """Steps of the generator: one every few iterations, the first at once."""
    return -(-recipe.iterations // recipe.critic_updates_per_generator_update)


def sharers(recipe: Recipe) -> str:
    """Who holds what `least_memory` counts, in words."""
    return "each GPU" if recipe.sharding == "none" else "all GPUs together"


def least_memory(recipe: Recipe, parameters: int) -> int:
    """Bytes that networks of this size take on each GPU in training, or on all that share them, activations aside.

    The teacher's weights; weights, gradients and Adam's two moments of the student (and its average), and of
    the critic where there is one. The discriminator's head is not counted.
    """
    trained = 2 if isinstance(recipe, DMDRecipe) else 1
    copies = 1 + 4 * trained + (0 if recipe.ema_decay is None else 1)
    return copies * BYTES * parameters
