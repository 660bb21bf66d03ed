"""DMD and DMD2: the training step against the paper's formulas, and who may change whom."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from class_conditional_vp import VPDenoiser
from tiny_task_context import (
    BATCH,
    NETWORK,
    PAIRS,
    SHAPE,
    make_batch,
    make_context,
    make_teacher,
    normal,
    same,
    weights,
)
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.samplers import few_step
from bench.models.schedules import VPSchedule
from bench.runs.registry import load_catalogue
from bench.training.distiller import Batch, TrainingContext, frozen
from bench.training.step_rng import StepRNG
from methods.dmd import DMD
from methods.recipes import DMDRecipe

SMALL: dict[str, Any] = {
    "batch_size": BATCH,
    "lr": 1e-4,
    "critic_lr": 2e-4,
    "clip_norm": 0.5,  # less than the gradients' norms: clipping is part of the step
    "pairs": len(PAIRS.noise),
    "dm_weight": 0.7,
    "gan_generator_weight": 0.2,
    "gan_critic_weight": 0.5,
    "regression_weight": 0.3,
}
CATALOGUE = load_catalogue()
# The toy networks here take no LoRA; those of text-to-image do.
FAMILY = sorted(
    entry.name
    for entry in CATALOGUE.methods
    if entry.load().recipe_model() is DMDRecipe and "lora_rank" not in entry.load().values("", "paper")
)

# EDM's grid (Eq. 5) written out: 1,000 noise levels, sigma = 0.002 ... 80, rho = 7.
SIGMAS = torch.tensor(
    [(0.002 ** (1 / 7) + i / 999 * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7 for i in range(1000)]
)


def make(name: str = "dmd2", context: TrainingContext | None = None, **values: Any) -> DMD:
    """A method on the tiny world, its networks moved off the teacher as if training had begun.

    At the start critic and teacher are equal, and distribution matching has nothing to say.
    """
    recipe = CATALOGUE.methods.get(name).recipe("tiny", "paper", {**SMALL, **values})
    torch.manual_seed(0)
    method = DMD(recipe, context or make_context())
    with torch.no_grad():
        for seed, model in enumerate(method.models.values()):
            for p in model.network.parameters():
                p += 0.05 * normal(seed, *p.shape)
    return method


class ByHand:
    """The same iterations straight from the paper, on copies of a method's networks: one plain loss each."""

    def __init__(self, method: DMD) -> None:
        self.recipe = r = method.recipe
        self.start = SIGMAS[999 if r.student_start == 1 else 500].item()
        self.teacher = copy.deepcopy(method.teacher)
        self.null = method.context.null_condition
        self.generator = copy.deepcopy(method.generator.network)
        self.critic = copy.deepcopy(method.models["critic"].network)
        options = {"betas": (0.9, 0.999), "weight_decay": 0.01, "foreach": False}
        self.optimizers = {
            "generator": torch.optim.AdamW(self.generator.parameters(), lr=r.lr, **options),
            "critic": torch.optim.AdamW(self.critic.parameters(), lr=r.critic_lr, **options),
        }

    def noised(self, x: Tensor, condition: Tensor, low: int, high: int) -> tuple[Tensor, Tensor, Tensor]:
        """x + sigma eps, sigma from grid positions low ... high, both included."""
        sigma = SIGMAS[self.rng.integers(low, high + 1, len(x))]
        return x + sigma[:, None, None, None] * self.rng.normal(x), sigma, condition

    def real(self, x_t: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        conditional = self.teacher(x_t, sigma, condition)
        if self.null is None:
            return conditional
        unconditional = self.teacher(x_t, sigma, self.null.expand(len(x_t)))
        return unconditional + self.recipe.guidance_scale * (conditional - unconditional)

    def classify(self, x_t: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        return self.critic.heads[0](self.critic.denoiser.features(x_t, sigma, condition)[0]).flatten()

    def student_input(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Pure noise, or what backward simulation leaves at a shared step of four."""
        z = self.rng.normal(batch.real)
        sigma = torch.full((len(z),), self.start)
        if self.recipe.student_steps == 1:
            return self.start * z, sigma, batch.condition
        levels = SIGMAS[[999, 749, 499, 249]]
        step = self.rng.integer(0, 4)
        if step == 0:
            return 80 * z, sigma, batch.condition
        x_t, x0 = 80 * self.rng.normal(z), z
        with torch.no_grad():
            for k in range(step):
                if k > 0:
                    x_t = x0 + levels[k] * self.rng.normal(z)
                x0 = self.generator(x_t, levels[k].expand(len(z)), batch.condition)
        return x0 + levels[step] * z, levels[step].expand(len(z)), batch.condition

    def generator_losses(self, x: Tensor, condition: Tensor) -> dict[str, Tensor]:
        r, losses = self.recipe, {}
        if r.distribution_matching:
            noised = self.noised(x.detach(), condition, 20, 980)
            with torch.no_grad():
                real, fake = self.real(*noised), self.critic.denoiser(*noised)
                grad = (fake - real) / (x - real).abs().mean(dim=(1, 2, 3), keepdim=True)
            # A loss whose gradient in x is grad / numel; the method's is half a square with the same one.
            losses["dm"] = r.dm_weight * (grad * x).mean()
        if r.gan:
            logits = self.classify(*self.noised(x, condition, 0, 999))
            losses["gan"] = r.gan_generator_weight * -torch.sigmoid(logits).log().mean()
        if r.regression:
            chosen = self.rng.integers(0, len(PAIRS.noise), len(x))
            z, y, c = PAIRS.noise[chosen], PAIRS.image[chosen], PAIRS.condition[chosen]
            made = self.generator(self.start * z, torch.full((len(z),), self.start), c)
            losses["regression"] = r.regression_weight * ((made - y) ** 2).mean()
        return losses

    def critic_losses(self, x: Tensor, condition: Tensor, batch: Batch) -> dict[str, Tensor]:
        r, losses = self.recipe, {}
        if r.critic_denoising:
            x_t, sigma, condition = self.noised(x, condition, 0, 999)
            squares = ((self.critic.denoiser(x_t, sigma, condition) - x) ** 2).mean(dim=(1, 2, 3))
            losses["denoising"] = ((1 / sigma**2 + 1 / NETWORK.sigma_data**2) * squares).mean()
        if r.gan:
            real = self.classify(*self.noised(batch.real, batch.real_condition, 0, 999))
            shared = r.shared_critic_draws
            fake = self.classify(*((x_t, sigma, condition) if shared else self.noised(x, condition, 0, 999)))
            losses["discriminator"] = -(torch.sigmoid(real).log().mean() + torch.sigmoid(-fake).log().mean())
        return losses

    def backward_and_step(self, name: str, network: nn.Module, loss: Tensor) -> Tensor:
        parameters = [p for p in network.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        norm = torch.cat([g.flatten() for g in gradients if g is not None]).norm()
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = None if g is None else g * min(1.0, self.recipe.clip_norm / float(norm))
        self.optimizers[name].step()
        return norm

    def step(self, batch: Batch) -> dict[str, Tensor]:
        self.rng = StepRNG(seed=0, iteration=batch.iteration)
        start = self.student_input(batch)
        x, condition = self.generator(*start), start[2]
        figures: dict[str, Tensor] = {}
        if batch.iteration % self.recipe.critic_updates_per_generator_update == 0:
            losses = self.generator_losses(x, condition)
            for term in {"dm", "gan"} & set(losses):
                gradient = torch.autograd.grad(losses[term], x, retain_graph=True)[0]
                figures[f"image_gradient/{term}"] = (gradient**2).sum().sqrt()
            figures["gradient/generator"] = self.backward_and_step(
                "generator", self.generator, sum(losses.values())
            )
            figures |= {f"loss/{term}": losses[term] for term in {"gan", "regression"} & set(losses)}
        losses = self.critic_losses(x.detach(), condition, batch)
        figures |= {f"loss/{term}": loss for term, loss in losses.items()}
        if "discriminator" in losses:
            losses["discriminator"] = self.recipe.gan_critic_weight * losses["discriminator"]
        figures["gradient/critic"] = self.backward_and_step("critic", self.critic, sum(losses.values()))
        return figures


def assert_close(actual: nn.Module, expected: nn.Module) -> None:
    """All weights equal to 1e-6, of steps of 1e-4 and 2e-4.

    Not the attention keys' bias: the softmax cancels it, its gradient is rounding that Adam makes large.
    """
    for (name, p), q in zip(actual.named_parameters(), expected.parameters(), strict=True):
        if name.endswith("to_k.bias"):
            continue
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")


class TestStepEqualsTheFormulas:
    @pytest.mark.parametrize("name", ["dmd2", "dmd", "dmd-ttur", "gan", "dmd2-4step"])
    def test_of_a_method(self, name: str) -> None:
        """Three iterations: generator and critic, another critic turn, and (with ratio 1 or 2) the next one."""
        ratio = {} if name in ("dmd", "gan") else {"critic_updates_per_generator_update": 2}
        self.compare(make(name, **ratio))

    @pytest.mark.parametrize("name", ["dmd2", "dmd"])
    def test_with_a_student_that_takes_noise_of_a_lower_level(self, name: str) -> None:
        self.compare(make(name, student_start=0.5, critic_updates_per_generator_update=2))

    def test_with_one_draw_for_both_losses_of_the_critic(self) -> None:
        self.compare(make("dmd2", shared_critic_draws=True, critic_updates_per_generator_update=2))

    def test_with_a_guided_teacher(self) -> None:
        context = make_context(null_condition=torch.tensor([2]))
        self.compare(make("dmd2", context, guidance_scale=3.0))

    @staticmethod
    def compare(method: DMD) -> None:
        reference = ByHand(method)
        for iteration in range(3):
            figures = method.training_step(make_batch(iteration))
            for name, model in method.models.items():
                if model.gradient_norm is not None:
                    figures[f"gradient/{name}"] = model.gradient_norm
            expected = reference.step(make_batch(iteration))
            for name, value in expected.items():
                torch.testing.assert_close(figures[name], value.detach(), rtol=2e-4, atol=1e-7)
            others = {"loss/dm", "gradient/generator", "logits/real", "logits/fake"}
            others |= {"pixel_mean", "pixel_std", "pixel_diversity"}
            assert set(figures) - set(expected) <= others
            assert_close(method.generator.network, reference.generator)
            assert_close(method.models["critic"].network, reference.critic)


class TestBrightness:
    """What Figure 8 shows, as the official code logs it."""

    def test_images_are_brought_to_zero_to_one_and_clamped(self) -> None:
        method = make("dmd2")
        images = torch.tensor([-3.0, -1.0, 0.0, 0.5, 1.0, 9.0]).reshape(1, 1, 2, 3)
        found = method.statistics(images)
        levels = torch.tensor([0.0, 0.0, 0.5, 0.75, 1.0, 1.0])
        assert found.keys() == {"pixel_mean", "pixel_std"}
        torch.testing.assert_close(found["pixel_mean"], levels.mean())
        torch.testing.assert_close(found["pixel_std"], levels.std())

    def test_a_training_step_logs_it_of_what_it_made(self) -> None:
        method = make("dmd2")
        with torch.no_grad():
            for parameter in method.generator.network.parameters():
                parameter.mul_(40)  # images far outside [-1, 1]
        figures = method.training_step(make_batch(0))
        assert 0 <= figures["pixel_mean"] <= 1 and figures["pixel_std"] <= 0.51

    def test_latents_have_no_brightness(self) -> None:
        method = make("dmd2", replace(make_context(), latent=True))
        latents = torch.tensor([-3.0, 9.0]).reshape(1, 1, 1, 2)
        assert {name: float(value) for name, value in method.statistics(latents).items()} == {
            "latent_mean": 3.0,
            "latent_std": pytest.approx(72**0.5),
        }


class TestUpdateRule:
    def test_generator_moves_only_on_its_turns_and_the_critic_always(self) -> None:
        method = make("dmd2", critic_updates_per_generator_update=3)
        for iteration in range(7):
            generator, critic = weights(method.generator.network), weights(method.models["critic"].network)
            method.training_step(make_batch(iteration))
            assert same(generator, method.generator.network) == (iteration % 3 != 0)
            assert not same(critic, method.models["critic"].network)

    @pytest.mark.parametrize(("iterations", "ratio", "updates"), [(7, 3, 3), (6, 3, 2), (4, 1, 4), (4, 10, 1)])
    def test_iterations_count_critic_updates(self, iterations: int, ratio: int, updates: int) -> None:
        method = make("dmd-ttur", critic_updates_per_generator_update=ratio)
        for iteration in range(iterations):
            method.training_step(make_batch(iteration))
        assert method.models["critic"].updates == iterations
        assert method.generator.updates == updates == -(-iterations // ratio)

    def test_the_critic_sees_images_made_before_the_generators_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        method = make("dmd2")
        z = StepRNG(0, 0).normal(make_batch().real)
        before = method.generator.network(80 * z, torch.full((BATCH,), 80.0), make_batch().condition).detach()
        seen = spy(monkeypatch, method, "update_critic")
        method.training_step(make_batch())
        after = method.generator.network(80 * z, torch.full((BATCH,), 80.0), make_batch().condition).detach()
        assert torch.allclose(seen[0], before, atol=1e-6) and not torch.allclose(before, after, atol=1e-6)
        assert not seen[0].requires_grad

    def test_no_graph_is_kept_on_the_critics_turns(self) -> None:
        method = make("dmd2")
        modes = gradient_modes(method)
        method.training_step(make_batch(0))
        method.training_step(make_batch(1))
        assert modes == [True, False]

    def test_terms_leave_nothing_in_the_critic_on_the_generators_turn(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The GAN gradient passes through the critic to the image, and leaves no trace in its parameters."""
        method = make("dmd2")
        critic = method.models["critic"].network
        before = weights(critic)
        monkeypatch.setattr(method, "update_critic", lambda *_: {})
        figures = method.training_step(make_batch())
        assert figures["image_gradient/gan"] > 0
        assert same(before, critic)
        assert all(p.grad is None and p.requires_grad for p in critic.parameters())

    def test_the_gan_term_makes_no_graph_for_the_critics_parameters(self) -> None:
        """Without an image to train, the generator's GAN loss has nothing to differentiate."""
        method, batch = make("dmd2"), make_batch()
        with frozen(method.models["critic"].network):
            assert not method.generator_gan_loss(batch.real, batch.real_condition, batch).requires_grad
            batch.real.requires_grad_()
            assert method.generator_gan_loss(batch.real, batch.real_condition, batch).requires_grad

    def test_the_critics_step_leaves_nothing_in_the_generator(self) -> None:
        method = make("dmd2")
        method.training_step(make_batch(1))
        assert all(p.grad is None and p.requires_grad for p in method.generator.network.parameters())

    @pytest.mark.parametrize("name", FAMILY)
    def test_the_teacher_stays_as_it_is(self, name: str) -> None:
        method = make(name)
        before = weights(method.teacher)
        for iteration in (0, 1):
            method.training_step(make_batch(iteration))
        assert same(before, method.teacher) and not method.teacher.training
        assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())

    def test_student_and_critic_start_as_the_teacher(self) -> None:
        method = DMD(DMDRecipe(), make_context())
        teacher = weights(method.teacher)
        assert same(teacher, method.generator.network)
        assert same(teacher, method.models["critic"].network.denoiser)

    def test_distribution_matching_is_silent_while_critic_and_teacher_are_one(self) -> None:
        torch.manual_seed(0)
        method = DMD(DMDRecipe(**SMALL), make_context())
        assert method.training_step(make_batch())["image_gradient/dm"] == 0

    def test_rates_follow_the_recipe_each_network_from_its_own(self) -> None:
        method = make("dmd2", warmup=10, iterations=100)
        method.set_rates(5)
        rates = {name: p.optimizer.param_groups[0]["lr"] for name, p in method.models.items()}
        assert rates == pytest.approx({"generator": 0.5e-4, "critic": 1e-4})


class TestTerms:
    @pytest.mark.parametrize(
        ("name", "terms"),
        [
            ("dmd", {"dm", "regression", "denoising"}),
            ("dmd-no-regression", {"dm", "denoising"}),
            ("dmd2", {"dm", "gan", "denoising", "discriminator"}),
            ("gan", {"gan", "discriminator"}),
        ],
    )
    def test_a_term_that_is_off_is_not_computed(self, name: str, terms: set[str]) -> None:
        figures = make(name).training_step(make_batch())
        assert {key for key in figures if key.startswith("loss/")} == {f"loss/{term}" for term in terms}
        on_images = {f"image_gradient/{term}" for term in terms & {"dm", "gan"}}
        assert {key for key in figures if key.startswith("image_gradient/")} == on_images
        assert all(
            figure.ndim == 0 and figure.isfinite() and not figure.requires_grad for figure in figures.values()
        )

    @pytest.mark.parametrize("name", ["dmd", "dmd-no-regression"])
    def test_there_is_a_head_only_with_a_gan_term(self, name: str) -> None:
        assert len(make(name).models["critic"].network.heads) == 0
        assert len(make("dmd2").models["critic"].network.heads) == 1

    def test_pairs_are_made_only_for_the_regression_term(self) -> None:
        asked: list[int] = []

        def make_pairs(count: int) -> Any:
            asked.append(count)
            return PAIRS

        context = TrainingContext(Accelerator(cpu=True), make_teacher(), None, make_pairs)
        assert make("dmd2", context).pairs is None and asked == []
        assert make("dmd", context).pairs is PAIRS and asked == [10]

    def test_regression_alone_brings_the_student_to_the_pairs(self) -> None:
        """Without the other terms: the loss on the pairs falls, so the term's sign and target are right."""
        only = {"distribution_matching": False, "regression": True, "clip_norm": 10.0, "lr": 3e-3}
        method = make("dmd", **only)
        losses = [method.training_step(make_batch(i))["loss/regression"].item() for i in range(20)]
        assert sum(losses[-5:]) < 0.7 * sum(losses[:5])

    def test_regression_is_one_more_gradient_beside_distribution_matching(self) -> None:
        with_it, without = make("dmd"), make("dmd-no-regression")
        for method in (with_it, without):
            method.training_step(make_batch())
        assert not same(weights(with_it.generator.network), without.generator.network)

    def test_without_any_term_there_is_nothing_to_train(self) -> None:
        with pytest.raises(
            UserError, match="all terms are off; fix: turn on distribution_matching, gan or regression"
        ):
            make("dmd2", distribution_matching=False, gan=False)

    @pytest.mark.parametrize(
        "switches",
        [{"gan": False}, {"gan": True}, {"gan": False, "distribution_matching": False, "regression": True}],
    )
    def test_a_critic_that_may_not_denoise_needs_to_be_a_discriminator_alone(
        self, switches: dict[str, bool]
    ) -> None:
        """Distribution matching against a critic that never learns the generated images would mean nothing."""
        with pytest.raises(UserError, match="critic_denoising"):
            make("dmd2", critic_denoising=False, **switches)

    def test_times_come_from_the_part_of_the_grid_that_is_asked_for(self) -> None:
        method, many = make("dmd2"), 40_000
        for span, low, high in [
            ((0.02, 0.98), 20, 980),
            ((0.0, 1.0), 0, 999),
            ((0.5, 0.5), 500, 500),
            ((1.0, 1.0), 999, 999),
        ]:
            t = method.times(make_batch(), span, many)
            assert t.dtype == torch.float32 and len(t) == many
            torch.testing.assert_close(torch.stack([t.min(), t.max()]), SIGMAS[[low, high]])


class TestGuidance:
    def test_needs_a_null_condition(self) -> None:
        with pytest.raises(UserError, match=r"guidance_scale is 3\.0.*without a null condition"):
            make("dmd2", guidance_scale=3.0)

    def test_the_real_score_is_guided_and_the_critic_is_not(self) -> None:
        method = make("dmd2", make_context(null_condition=torch.tensor([2])), guidance_scale=3.0)
        x_t, t, condition = normal(0, 2, *SHAPE), torch.tensor([0.5, 2.0]), torch.tensor([0, 1])
        teacher = method.teacher
        null = teacher(x_t, t, torch.tensor([2, 2]))
        expected = null + 3.0 * (teacher(x_t, t, condition) - null)
        torch.testing.assert_close(method.mu_real(x_t, t, condition), expected, rtol=1e-5, atol=1e-5)
        assert type(method.models["critic"].network.denoiser) is type(teacher)

    def test_scale_one_is_the_teacher_itself(self) -> None:
        method = make("dmd2", make_context(null_condition=torch.tensor([2])))
        assert method.mu_real is method.teacher


class TestInputSimulation:
    """Inputs of N-step students (DMD2, Sec. 4.5)."""

    @pytest.mark.parametrize("simulation", ["backward", "noised-real"])
    @pytest.mark.parametrize("steps", range(1, 9))
    def test_times_are_the_students_own(self, steps: int, simulation: str) -> None:
        method = make("dmd2", student_steps=steps, input_simulation=simulation)
        schedule = {SIGMAS[999 - k * (1000 // steps)].item() for k in range(steps)}
        seen: set[float] = set()
        for iteration in range(6 * steps):
            start = method.simulate(make_batch(iteration, size=2))
            assert not start.x_t.requires_grad
            seen |= {round(t, 6) for t in start.t.tolist()}
        assert sorted(seen) == pytest.approx(sorted(schedule), rel=1e-5)
        method.training_step(make_batch(0))
        assert method.generator.gradient_norm is not None and method.generator.gradient_norm > 0

    def test_one_step_students_start_from_pure_noise(self) -> None:
        start = make("dmd2").simulate(make_batch())
        assert torch.equal(start.x_t, 80 * StepRNG(0, 0).normal(make_batch().real))
        assert torch.equal(start.condition, make_batch().condition)

    def test_backward_simulation_shares_one_step_in_the_batch(self) -> None:
        method = make("dmd2-4step")
        for iteration in range(8):
            start = method.simulate(make_batch(iteration))
            assert len(start.t.unique()) == 1
            assert torch.equal(start.condition, make_batch(iteration).condition)

    def test_all_processes_train_the_same_step(self) -> None:
        method = make("dmd2-4step")
        for iteration in range(8):
            times = set()
            for rank in range(2):
                batch = make_batch(iteration)
                rng = StepRNG(0, iteration, share=rank, shares=2)
                share = Batch(iteration, rng, batch.condition[:3], batch.real[:3], batch.real_condition[:3])
                times |= set(method.simulate(share).t.tolist())
            assert len(times) == 1

    @pytest.mark.parametrize("step", [1, 2, 3])
    def test_the_input_is_what_the_students_sampler_would_have_made(self, step: int) -> None:
        """Its image after `step` steps of sampling, with noise that is not the noise that trains."""
        method = make("dmd2-4step")
        iteration, batch = iteration_with_step(step)
        start = method.simulate(batch)
        rng = StepRNG(0, iteration)
        training_noise = rng.normal(batch.real)
        rng.integer(0, 4)
        sampling_noise = [rng.normal(batch.real) for _ in range(step)]
        assert not any(torch.allclose(training_noise, noise) for noise in sampling_noise)
        with torch.no_grad():
            x0 = few_step(method.generator.network, Given(sampling_noise), batch.condition, method.indices[:step])
        sigma = SIGMAS[[999, 749, 499, 249][step]]
        torch.testing.assert_close(start.x_t, x0 + sigma * training_noise, rtol=1e-5, atol=1e-5)

    def test_gradients_flow_through_the_last_step_only(self) -> None:
        method = make("dmd2-4step", critic_updates_per_generator_update=1)
        _, batch = iteration_with_step(3)
        modes = gradient_modes(method)
        method.training_step(batch)
        assert modes == [False, False, False, True]

    def test_noised_real_images_have_a_step_each_and_their_own_conditions(self) -> None:
        method = make("dmd2-4step-no-backward-simulation")
        batch = make_batch(0, size=64)
        start = method.simulate(batch)
        rng = StepRNG(0, 0)
        noise, steps = rng.normal(batch.real), rng.integers(0, 4, 64)
        assert set(steps.tolist()) == {0, 1, 2, 3}
        for i, step in enumerate(steps.tolist()):
            sigma = SIGMAS[[999, 749, 499, 249][step]]
            expected = sigma * noise[i] + (batch.real[i] if step > 0 else 0)
            torch.testing.assert_close(start.x_t[i], expected, rtol=1e-5, atol=1e-5)
            assert start.t[i].item() == pytest.approx(sigma.item())
        assert torch.equal(start.condition, batch.real_condition)

    def test_noised_real_images_run_no_student(self) -> None:
        method = make("dmd2-4step-no-backward-simulation")
        modes = gradient_modes(method)
        method.simulate(make_batch())
        assert modes == []


class TestOtherWorlds:
    """The same class under another schedule and another precision."""

    @pytest.mark.parametrize("name", ["dmd2", "dmd", "dmd2-4step", "dmd2-4step-no-backward-simulation"])
    @pytest.mark.parametrize("prediction", ["epsilon", "v"])
    def test_variance_preserving_teachers(self, name: str, prediction: Any) -> None:
        torch.manual_seed(0)
        teacher = VPDenoiser(make_teacher().network, VPSchedule(prediction)).eval().requires_grad_(False)
        method = make(name, make_context(teacher))
        for iteration in range(3):
            figures = method.training_step(make_batch(iteration))
            assert all(figure.isfinite() for figure in figures.values())
        assert method.simulate(make_batch(0)).t.max() <= 999

    @pytest.fixture
    def bf16(self) -> Iterator[Accelerator]:
        AcceleratorState._reset_state(reset_partial_state=True)
        yield Accelerator(cpu=True, mixed_precision="bf16")
        AcceleratorState._reset_state(reset_partial_state=True)

    @pytest.mark.parametrize("name", ["dmd2", "dmd", "dmd2-4step"])
    def test_bf16_computes_near_float32_and_keeps_weights_and_losses_in_it(
        self, name: str, bf16: Accelerator
    ) -> None:
        method = make(name, TrainingContext(bf16, make_teacher(), None, lambda _: PAIRS))
        reference = ByHand(method)
        batch = make_batch()
        with bf16.autocast():
            figures = method.training_step(batch)
        expected = reference.step(make_batch())
        for key in ("loss/denoising", "image_gradient/dm"):
            torch.testing.assert_close(figures[key], expected[key].detach(), rtol=0.2, atol=0)
        assert {figure.dtype for figure in figures.values()} == {torch.float32}
        assert {p.dtype for p in method.generator.network.parameters()} == {torch.float32}


class Given:
    """A sampler's noise that is given, draw by draw."""

    def __init__(self, noise: list[Tensor]) -> None:
        self.rng = iter(noise)

    def draw(self) -> Tensor:
        return next(self.rng)


def iteration_with_step(step: int) -> tuple[int, Batch]:
    """The first iteration whose draws choose this step of four."""
    for iteration in range(1000):
        rng = StepRNG(0, iteration)
        rng.normal(torch.empty(BATCH, *SHAPE))
        if rng.integer(0, 4) == step:
            return iteration, make_batch(iteration)
    raise AssertionError("no such iteration")


def spy(monkeypatch: pytest.MonkeyPatch, method: DMD, name: str) -> list[Tensor]:
    """Record the first argument of a method's calls."""
    seen: list[Tensor] = []
    original = getattr(method, name)

    def wrapper(first: Tensor, *rest: Any) -> Any:
        seen.append(first)
        return original(first, *rest)

    monkeypatch.setattr(method, name, wrapper)
    return seen


def gradient_modes(method: DMD) -> list[bool]:
    """Record for each call of the student whether a graph was made."""
    modes: list[bool] = []
    method.generator.network.register_forward_hook(lambda *_: modes.append(torch.is_grad_enabled()))
    return modes
