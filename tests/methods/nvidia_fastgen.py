"""NVIDIA's DMD2 (`nvidia-modelopt`, modelopt/torch/fastgen) beside ours, on the same tiny flow networks.

There are two kinds: a few convolutions, and diffusers' transformer of Stable Diffusion 3 on a shifted grid.
"""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from accelerate import Accelerator
from diffusers import SD3Transformer2DModel
from tiny_flow_context import LATENTS, LAYOUT
from torch import Tensor, nn

from bench.models.backbones.sd3 import SD3Denoiser, small_network
from bench.models.denoiser import Denoiser, FeatureShape
from bench.models.schedules import FlowSchedule, per_sample
from bench.training.distiller import Batch, TrainingContext
from methods.dmd import DMD
from methods.recipes import DMDRecipe

CHANNELS, SIDE, WIDTH, HIDDEN = 2, 4, 3, 8


def fastgen(name: str) -> Any:
    """Return a module of modelopt.torch.fastgen; skip the test if the package is absent.

    Its files are loaded without the packages that contain them, whose import takes their whole quantisation
    library and tens of seconds.
    """
    try:
        folder = Path(str(distribution("nvidia-modelopt").locate_file("modelopt/torch/fastgen")))
    except PackageNotFoundError:
        pytest.skip("nvidia-modelopt is not installed (pip install nvidia-modelopt, or the extra `test`)")
    for package, path in (("fastgen_alone", folder), ("fastgen_alone.methods", folder / "methods")):
        if package not in sys.modules:
            sys.modules[package] = ModuleType(package)
            sys.modules[package].__path__ = [str(path)]
    return importlib.import_module(f"fastgen_alone.{name}")


class Velocity(nn.Module):
    """A network of velocities, eps - x0, called as diffusers' transformers are; its features are `hidden`'s."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(CHANNELS, HIDDEN, 3, padding=1)
        self.conditioning = nn.Linear(1 + WIDTH, HIDDEN)
        self.hidden = nn.SiLU()
        self.last = nn.Conv2d(HIDDEN, CHANNELS, 3, padding=1)

    def features(self, hidden_states: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        given = torch.cat([timestep[:, None].to(hidden_states), encoder_hidden_states], 1)
        found: Tensor = self.hidden(self.first(hidden_states) + self.conditioning(given)[:, :, None, None])
        return found

    def forward(self, hidden_states: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        found: Tensor = self.last(self.features(hidden_states, timestep, encoder_hidden_states))
        return found


class FlowDenoiser(Denoiser):
    """The same network as one of ours: x0 = x_t - t v."""

    def __init__(self, network: Velocity) -> None:
        super().__init__()
        self.network = network
        self.schedule = FlowSchedule()

    @property
    def feature_shapes(self) -> tuple[FeatureShape, ...]:
        return ((HIDDEN, SIDE, SIDE),)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return x_t - per_sample(t, x_t) * self.network(x_t, t, condition)

    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        return (self.network.features(x_t, t, condition),)

    def feature_parameters(self) -> Iterator[nn.Parameter]:
        yield from [*self.network.first.parameters(), *self.network.conditioning.parameters()]

    def checkpoint_gradients(self) -> None:
        pass


class Packed(nn.Module):
    """Stable Diffusion 3 with the packed condition of ours where NVIDIA's pipeline gives embeddings."""

    def __init__(self, network: SD3Transformer2DModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, hidden_states: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        embeddings, pooled = LAYOUT.unpack(encoder_hidden_states)
        found: Tensor = self.network(hidden_states, embeddings, pooled, timestep).sample
        return found


class World(NamedTuple):
    """A kind of flow network, as one of ours and as a module that NVIDIA's pipeline calls."""

    sample: tuple[int, int, int]
    """Shape of an image or latent."""
    condition: int
    """Size of a condition."""
    width: int
    """Channels of the features."""
    time_scale: float | None
    """Factor on the times that the pipeline gives to its module."""
    denoiser: Callable[[], Denoiser]
    """Make an untrained denoiser from torch's generator."""
    module: Callable[[Any], nn.Module]
    """Return a denoiser's network for the pipeline."""
    tapped: Callable[[Any], nn.Module]
    """Return the module, within that, whose output the features are."""
    features: Callable[[Any], Tensor]
    """Turn the output into a map."""


def _sd3() -> SD3Denoiser:
    network = small_network(LATENTS, width=16, layers=2, heads=2, text_width=LAYOUT.width, pooled=LAYOUT.pooled)
    return SD3Denoiser(network, FlowSchedule(shift=3.0), LAYOUT)


WORLDS = {
    "convolutions": World(
        sample=(CHANNELS, SIDE, SIDE),
        condition=WIDTH,
        width=HIDDEN,
        time_scale=None,
        denoiser=lambda: FlowDenoiser(Velocity()),
        module=lambda denoiser: denoiser.network,
        tapped=lambda module: module.hidden,
        features=lambda output: output,
    ),
    "sd3": World(
        sample=LATENTS,
        condition=LAYOUT.size,
        width=16,
        time_scale=1000,
        denoiser=_sd3,
        module=lambda denoiser: Packed(denoiser.network),
        tapped=lambda module: module.network.transformer_blocks[0],
        features=lambda output: output[1].mT.unflatten(2, (LATENTS[1] // 2, LATENTS[2] // 2)),
    ),
}


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Drawn:
    """A step's random numbers that are given: noise and grid positions, each in the order of the draws."""

    def __init__(self, noise: list[Tensor], positions: list[Tensor], step: int = 0) -> None:
        self.noise, self.positions, self.step = list(noise), list(positions), step

    def normal(self, like: Tensor) -> Tensor:
        return self.noise.pop(0).reshape(like.shape)

    def integers(self, low: int, high: int, count: int) -> Tensor:
        assert all(low <= position < high for position in self.positions[0]) and len(self.positions[0]) == count
        return self.positions.pop(0)

    def integer(self, low: int, high: int) -> int:
        assert low <= self.step < high
        return self.step


class SideBySide:
    """Our distiller and NVIDIA's pipeline with copies of the same float64 networks, heads and batch."""

    def __init__(self, world: str, batch: int = 4, **values: Any) -> None:
        """`values` are those of our recipe; NVIDIA's configuration follows them."""
        torch.manual_seed(0)
        self.world = w = WORLDS[world]
        teacher, student, fake = (w.denoiser().double() for _ in range(3))
        self.discriminator = fastgen("discriminators").Discriminator_ImageDiT({0}, 1, w.width).double()
        self.recipe = r = DMDRecipe(
            discriminator_features="teacher", clip_norm=1e9, batch_size=batch, gan_critic_weight=1.0, **values
        )
        self.shape = (batch, *w.sample)
        self.latents, self.noise = numbers(1, *self.shape), numbers(2, *self.shape)
        self.condition, self.null = numbers(3, batch, w.condition), numbers(4, 1, w.condition)

        frozen = copy.deepcopy(teacher).eval().requires_grad_(False)
        context = TrainingContext(Accelerator(cpu=True), frozen, self.null, lambda _: pytest.fail("no pairs"))
        self.ours = DMD(r, context)
        self.ours.generator.network.load_state_dict(student.state_dict())
        self.ours.critic.network.denoiser.load_state_dict(fake.state_dict())
        if r.gan:
            self.ours.critic.network.heads[0] = copy.deepcopy(self.discriminator.cls_pred_heads[0])
        self.theirs = self._pipeline(*(w.module(one) for one in (student, teacher, fake)))

    def _pipeline(self, student: nn.Module, teacher: nn.Module, fake: nn.Module) -> Any:
        r, w = self.recipe, self.world
        grid = self.ours.schedule.grid
        config = SimpleNamespace(
            pred_type="flow",
            fake_score_pred_type="flow",
            guidance_scale=None if r.guidance_scale == 1 else r.guidance_scale,
            sample_t_cfg=SimpleNamespace(max_t=1.0, t_list=[*grid[[999, 749, 499, 249]].tolist(), 0.0]),
            student_sample_steps=r.student_steps,
            student_sample_type="sde",
            num_train_timesteps=w.time_scale,
            backward_simulation=r.student_steps > 1 and r.input_simulation == "backward",
            gan_loss_weight_gen=r.gan_generator_weight if r.gan else 0.0,
            gan_use_same_t_noise=r.gan_same_noise,
            gan_r1_reg_weight=r.r1_weight,
            gan_r1_reg_alpha=r.r1_noise,
            ema=None,
        )
        captured: list[Tensor] = []
        teacher._fastgen_captured = captured  # type: ignore[assignment]  # where the pipeline takes features from
        w.tapped(teacher).register_forward_hook(
            lambda _module, _inputs, output: captured.append(w.features(output))
        )
        discriminator = self.discriminator if r.gan else None
        return fastgen("methods.dmd").DMDPipeline(student, teacher, fake, config, discriminator=discriminator)

    def batch(self, noise: list[Tensor], positions: list[Tensor], step: int = 0) -> Batch:
        """Our batch, whose random numbers are these."""
        rng: Any = Drawn(noise, positions, step)
        return Batch(0, rng, self.condition, self.latents, self.condition)

    @contextmanager
    def drawing(self, noise: list[Tensor], positions: list[Tensor], step: int = 0) -> Iterator[None]:
        """Give these numbers to NVIDIA's pipeline, in the order of its draws."""
        noise, times = list(noise), [self.ours.schedule.grid[position].float() for position in positions]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.theirs, "sample_timesteps", lambda *_args, **_kwargs: times.pop(0))
            patch.setattr(torch, "randn_like", lambda _like: noise.pop(0))
            patch.setattr(torch, "randint", lambda *_args, **_kwargs: torch.tensor([step]))
            yield


def assert_same_gradients(ours: nn.Module, theirs: nn.Module) -> None:
    """Gradients of all parameters are equal to a millionth of the largest, and some are not 0."""
    pairs = list(zip(ours.parameters(), theirs.parameters(), strict=True))
    largest = max(float(other.grad.abs().max()) for _, other in pairs if other.grad is not None)
    assert largest > 0
    for one, other in pairs:
        assert one.grad is not None and other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-6 * largest)
