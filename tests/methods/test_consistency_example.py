"""The example plug-in of the documentation: a distiller of another kind in one short file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_task_context import BATCH, make_batch, make_context, make_teacher, normal, same, weights
from torch import Tensor

from bench.models.backbones.edm import EDMDenoiser
from bench.runs.registry import load_catalogue
from bench.training.distiller import Noised
from bench.training.method import Method

FILE = Path(__file__).parents[2] / "examples" / "consistency.py"


class Gaussian(EDMDenoiser):
    """The exact denoiser of images whose pixels are N(0.3, 0.5^2): its ODE has a closed form."""

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:  # noqa: ARG002
        variance = t[:, None, None, None] ** 2
        return (0.25 * x_t + variance * 0.3) / (0.25 + variance)


@pytest.fixture(scope="module")
def method() -> Method:
    return load_catalogue([FILE]).methods.get("my-consistency")


def build(method: Method, **values: Any) -> Any:
    recipe = method.recipe("tiny", "micro", {"batch_size": BATCH, **values})
    return method.load()(recipe, make_context())


def test_it_is_short_and_says_what_it_is(method: Method) -> None:
    assert len(FILE.read_text(encoding="utf-8").splitlines()) < 60
    assert method.summary.startswith("Consistency distillation")


def test_only_the_student_is_trained(method: Method) -> None:
    distiller = build(method)
    teacher = weights(distiller.teacher)
    for iteration in range(3):
        figures = distiller.training_step(make_batch(iteration))
        assert all(figure.ndim == 0 and figure.isfinite() for figure in figures.values())
    assert same(teacher, distiller.teacher) and not same(teacher, distiller.generator.network)


def test_the_same_batch_trains_the_same_bits(method: Method) -> None:
    one, other = build(method), build(method)
    for distiller in (one, other):
        distiller.training_step(make_batch(5))
    assert same(weights(one.generator.network), other.generator.network)


@pytest.mark.parametrize("segments", [1, 7, 18, 1000])
def test_any_number_of_segments_covers_the_grid(method: Method, segments: int) -> None:
    assert build(method, segments=segments).training_step(make_batch())["loss/consistency"].isfinite()


def test_teacher_steps_follow_the_ode(method: Method) -> None:
    """Many small steps arrive where the exact solution does: x - m scales with the standard deviation of x_t."""
    distiller = build(method)
    distiller.teacher = Gaussian(make_teacher().network, distiller.schedule)
    times = distiller.schedule.grid.to(torch.float32)[range(999, 500, -1)]
    x = start = 80 * normal(0, 2, 1, 4, 4)
    for t, s in pairwise(times):
        x = distiller.teacher_step(Noised(x, t.expand(2), torch.zeros(2, dtype=torch.long)), s.expand(2)).x_t
    exact = 0.3 + (start - 0.3) * ((0.25 + times[-1] ** 2) / (0.25 + times[0] ** 2)) ** 0.5
    torch.testing.assert_close(x, exact, rtol=0.01, atol=0.01)
