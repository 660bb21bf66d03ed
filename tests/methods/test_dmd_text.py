"""DMD2 on text-to-image denoisers: N-step students, backward simulation, guidance, several processes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import in_processes
from text_pipelines import LATENT_SIDE, normal
from tiny_sdxl import LAYOUT, teacher, text_context
from torch import Tensor

from bench.models.samplers import few_step
from bench.runs.registry import load_catalogue
from bench.training.distiller import Batch
from bench.training.step_rng import StepRNG
from methods.dmd import DMD

CATALOGUE = load_catalogue()


def make(name: str = "dmd2-4step", **values: Any) -> DMD:
    """A method with SDXL's guidance of the teacher, whose null condition is zero (official code)."""
    settings = {"guidance_scale": 8.0, "batch_size": 2, "lr": 1e-4, "critic_lr": 1e-4, **values}
    recipe = CATALOGUE.methods.get(name).recipe("tiny", "paper", settings)
    torch.manual_seed(0)
    return DMD(recipe, text_context())


def make_batch(iteration: int, size: int = 2, rank: int = 0, processes: int = 1) -> Batch:
    """Prompts to generate and real latents with others; each process has its share."""
    share = slice(rank * size // processes, (rank + 1) * size // processes)
    return Batch(
        iteration=iteration,
        rng=StepRNG(0, iteration, share=rank, shares=processes),
        condition=normal(1, size, LAYOUT.size)[share],
        real=normal(2, size, 4, LATENT_SIDE, LATENT_SIDE)[share],
        real_condition=normal(3, size, LAYOUT.size)[share],
    )


@pytest.mark.parametrize("simulation", ["backward", "noised-real"])
@pytest.mark.parametrize("steps", range(1, 9))
def test_every_step_of_an_n_step_student_is_drawn_and_no_other(steps: int, simulation: str) -> None:
    """The official rule has 7 times for N = 6 and 8 for N = 7, of which it draws the first N."""
    method = make(student_steps=steps, input_simulation=simulation)
    expected = [999 - k * (1000 // steps) for k in range(steps)]
    assert method.indices == expected and min(expected) >= 0
    method.generator.network = Recorder()  # the times alone are looked at
    times: set[float] = set()
    for iteration in range(8 * steps):
        times |= set(method.simulate(make_batch(iteration)).t.tolist())
    assert sorted(times, reverse=True) == expected


class Recorder(torch.nn.Module):
    """A student that returns its input."""

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:  # noqa: ARG002
        return x_t


@pytest.mark.parametrize(("start", "t"), [(1.0, 999), (0.399, 399)])
def test_one_step_students_take_unscaled_noise_at_their_conditioning_time(start: float, t: int) -> None:
    """SD1.5's at 999, SDXL's at 399: N(0, I) in either case (official code)."""
    method = make(student_steps=1, student_start=start)
    assert method.indices == [t]
    made = method.simulate(make_batch(0))
    assert made.t.tolist() == [t, t]
    assert torch.equal(made.x_t, StepRNG(0, 0).normal(make_batch(0).real))


@pytest.mark.parametrize("step", [1, 3])
def test_gradients_flow_through_the_last_step_only(step: int) -> None:
    method = make(critic_updates_per_generator_update=1)
    iteration = next(i for i in itertools.count() if drawn_step(i) == step)
    modes: list[bool] = []
    student = method.generator.network
    student.register_forward_hook(lambda *_: modes.append(torch.is_grad_enabled()))
    before = [parameter.detach().clone() for parameter in student.parameters()]
    method.training_step(make_batch(iteration))
    assert modes == [False] * step + [True]
    assert any((old != new).any() for old, new in zip(before, student.parameters(), strict=True))


def test_the_input_is_what_the_student_s_own_sampler_made() -> None:
    method, step = make(), 2
    iteration = next(i for i in itertools.count() if drawn_step(i) == step)
    batch = make_batch(iteration)
    made = method.simulate(batch)
    rng = StepRNG(0, iteration)
    training_noise = rng.normal(batch.real)
    rng.integer(0, 4)
    noise = Given([rng.normal(batch.real) for _ in range(step)])
    with torch.no_grad():
        x0 = few_step(method.generator.network, noise, batch.condition, method.indices[:step])
    expected = method.schedule.add_noise(x0, training_noise, torch.full((2,), 499.0))
    torch.testing.assert_close(made.x_t, expected)


class Given:
    """Noise in a given order."""

    def __init__(self, noise: list[Tensor]) -> None:
        self.left = noise

    def draw(self) -> Tensor:
        return self.left.pop(0)


def drawn_step(iteration: int) -> int:
    """The step that backward simulation of four steps draws: after the noise."""
    rng = StepRNG(0, iteration)
    rng.normal(torch.empty(2, 4, LATENT_SIDE, LATENT_SIDE))
    return rng.integer(0, 4)


def test_two_processes_simulate_the_same_step_and_train_the_same_student(tmp_path: Path) -> None:
    def work() -> None:
        method = make(critic_updates_per_generator_update=1)
        rank = method.accelerator.process_index
        times = []
        for iteration in range(3):
            batch = make_batch(iteration, rank=rank, processes=2)
            times.append(method.simulate(batch).t.tolist())
            method.training_step(make_batch(iteration, rank=rank, processes=2))
        weights = torch.cat([p.detach().flatten() for p in method.generator.network.parameters()])
        torch.save({"times": torch.tensor(times), "weights": weights}, tmp_path / f"{rank}.pt")

    teacher()  # made before the fork
    in_processes(2, work)
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert torch.equal(one["times"], two["times"])
    assert torch.equal(one["weights"], two["weights"])
    assert one["times"].flatten().tolist() == [999 - 250 * drawn_step(i) for i in range(3)]
