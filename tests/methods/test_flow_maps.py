"""What flow maps share: derivatives along a direction agree in both ways; noise levels have the recipe's law."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from tiny_task_context import make_batch, make_teacher, normal
from torch import Tensor

from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser, small_network
from bench.models.denoiser import Denoiser
from bench.models.schedules import EDMSchedule, FlowSchedule, VPSchedule
from bench.models.text.layout import ConditionLayout
from methods.flow_maps import FlowMapRecipe, derivative_along, level_range, log_normal_levels

EXACT = FlowMapRecipe()
DIFFERENCE = FlowMapRecipe(tangent="finite-difference", tangent_step=1e-5)


def text_denoiser() -> Denoiser:
    """Return a network that attends to its text, as that of `scenes`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = small_network((1, 8, 8), (8, 16), text_width=8, heads=2, norm_groups=4)
    return StableDiffusionDenoiser(network, VPSchedule("v"), ConditionLayout(tokens=3, width=8, pooled=0)).eval()


@pytest.mark.parametrize("kind", ["edm", "text"])
def test_both_ways_agree_through_attention_and_time_embeddings(kind: str) -> None:
    denoiser: Denoiser = make_teacher() if kind == "edm" else text_denoiser()
    denoiser.network.double()
    size = 4 if kind == "edm" else 8
    x = normal(0, 2, 1, size, size).double()
    t = torch.tensor([0.5, 3.0] if kind == "edm" else [300.3, 700.6], dtype=torch.float64)
    condition = torch.tensor([0, 2]) if kind == "edm" else normal(1, 2, 24).double()

    def function(x: Tensor, t: Tensor) -> Tensor:
        return denoiser(x, t, condition)

    direction = normal(2, 2, 1, size, size).double(), torch.ones_like(t)
    exact = derivative_along(function, (x, t), direction, EXACT)
    # The networks compute their timestep in float32, so a step far below its precision would not be seen.
    difference = derivative_along(
        function, (x, t), direction, DIFFERENCE.model_copy(update={"tangent_step": 1e-2})
    )
    torch.testing.assert_close(exact, difference, rtol=5e-3, atol=5e-3)
    assert not exact.requires_grad


def test_both_ways_agree_in_float64() -> None:
    x, t = normal(0, 3, 5).double(), torch.tensor([0.3, 0.7, 1.1], dtype=torch.float64)

    def function(x: Tensor, t: Tensor) -> Tensor:
        return (x * t[:, None].sin()).tanh() + t[:, None] ** 2

    point, direction = (x, t), (x.cos(), t * 0 + 2)
    exact = derivative_along(function, point, direction, EXACT)
    torch.testing.assert_close(derivative_along(function, point, direction, DIFFERENCE), exact, rtol=0, atol=1e-8)
    inner = 1 - (x * t[:, None].sin()).tanh() ** 2
    by_hand = inner * (x.cos() * t[:, None].sin() + 2 * x * t[:, None].cos()) + 4 * t[:, None]
    torch.testing.assert_close(exact, by_hand)


def test_levels_are_log_normal_between_the_grids_lowest_and_the_students_first() -> None:
    schedule, recipe = EDMSchedule(), FlowMapRecipe(proposal_mean=0.0, proposal_std=1.0)
    span = level_range(schedule, 500)
    levels = torch.cat([log_normal_levels(make_batch(i), recipe, span) for i in range(200)])
    top = float(schedule.grid[500])
    assert span == (pytest.approx(0.002), pytest.approx(top))
    assert span[0] <= float(levels.min())
    assert float(levels.max()) <= top
    # The median of a normal distribution that is cut at log(top): Phi^-1(Phi(log top) / 2).
    share = 0.5 * (1 + math.erf(math.log(top) / 2**0.5))
    median = torch.special.ndtri(torch.tensor(share / 2)).exp()
    assert float(levels.median()) == pytest.approx(float(median), rel=0.1)


def test_where_there_is_only_noise_levels_end_at_the_last_one_with_signal() -> None:
    assert level_range(FlowSchedule(), 999) == (pytest.approx(1 / 999), pytest.approx(999))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sharding": "fsdp2"}, "tangent=jvp runs whole networks, and sharding is fsdp2; fix: "),
        ({"compile_backend": "inductor"}, "tangent=jvp runs uncompiled networks; fix: "),
        (
            {"tangent": "finite-difference", "precision": "bf16", "sharding": "fsdp2"},
            "tangent=finite-difference requires float32, .*; fix: --set precision=fp32",
        ),
    ],
)
def test_combinations_that_cannot_work_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FlowMapRecipe.model_validate(values)


def test_the_step_of_the_difference_is_idle_in_forward_mode() -> None:
    assert EXACT.idle()["tangent_step"] == "tangent is jvp"
    assert "tangent_step" not in DIFFERENCE.idle()
