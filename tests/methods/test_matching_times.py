"""Laws of times: which part of the grid, and how often, on every kind of schedule."""

from __future__ import annotations

import pytest
import torch
from gaussian_data import each_schedule
from tiny_task_context import make_batch
from torch import Tensor

from bench.models.schedules import EDMSchedule, FlowSchedule, NoiseSchedule
from bench.training.context import Batch
from bench.training.step_rng import StepRNG
from methods.matching_times import augmentation_times, logit_normal_times
from methods.terms import AugmentationTimes

MANY = 20_000


def positions(schedule: NoiseSchedule, t: Tensor) -> Tensor:
    """The grid positions of times, each of which must be on the grid."""
    grid = schedule.grid.float()
    found = (grid[:, None] - t[None, :200]).abs().argmin(0)
    assert torch.equal(grid[found], t[:200])
    return torch.searchsorted(grid, t)


def drawn(schedule: NoiseSchedule, own: int, law: AugmentationTimes, span: tuple[float, float]) -> Tensor:
    times = schedule.grid[own].float().expand(MANY)
    return positions(schedule, augmentation_times(schedule, make_batch(), span, times, law))


@each_schedule
@pytest.mark.parametrize(
    ("law", "own", "low", "high"),
    [("cleaner", 499, 20, 499), ("gap", 499, 20, 494), ("cleaner", 999, 20, 980), ("gap", 22, 20, 20)],
)
def test_augmentation_is_uniform_up_to_the_student_s_own_time(
    schedule: NoiseSchedule, law: AugmentationTimes, own: int, low: int, high: int
) -> None:
    found = drawn(schedule, own, law, (0.02, 0.98))
    assert (found.min(), found.max()) == (low, high)
    middle = (low + high) / 2
    assert found.double().mean().item() == pytest.approx(middle, abs=0.01 * (high - low) + 1e-9)


def test_capped_times_are_uniform_from_zero_and_pile_up_at_the_first_of_the_range() -> None:
    found = drawn(FlowSchedule(), 499, "capped", (0.1, 0.98))
    assert (found.min(), found.max()) == (100, 499)
    assert (found == 100).double().mean().item() == pytest.approx(101 / 500, abs=0.01)
    assert drawn(FlowSchedule(), 499, "cleaner", (0.1, 0.98)).double().mean() > found.double().mean() + 10


def test_capped_times_pile_up_at_the_last_of_the_range_too() -> None:
    """U(0, sigma of the student), then clamped (CDM): not uniform up to the end of the range."""
    found = drawn(FlowSchedule(), 999, "capped", (0.1, 0.7))
    assert (found.min(), found.max()) == (100, 700)
    assert (found == 100).double().mean().item() == pytest.approx(0.101, abs=0.01)
    assert (found == 700).double().mean().item() == pytest.approx(0.3, abs=0.01)


def test_a_student_cleaner_than_the_range_gets_its_first_time() -> None:
    for law in ("cleaner", "capped", "gap"):
        assert drawn(FlowSchedule(), 30, law, (0.2, 0.9)).unique().tolist() == [200]


def test_each_sample_is_bounded_by_its_own_time() -> None:
    """Noised real inputs have a step for each sample."""
    schedule = EDMSchedule()
    own = torch.arange(50, 1000, 50).repeat(100)
    t = augmentation_times(schedule, make_batch(), (0.02, 0.98), schedule.grid[own].float(), "cleaner")
    found = positions(schedule, t)
    assert (found <= own).all() and (found.reshape(100, -1).max(0).values > own[:19] - 50).all()


def test_logit_normal_times() -> None:
    """sigmoid(n): half of them below the middle, 68 % within sigmoid(-1) ... sigmoid(1) = 0.269 ... 0.731."""
    schedule = FlowSchedule()
    found = positions(schedule, logit_normal_times(schedule, make_batch(), (0.1, 0.9), MANY))
    assert (found.min(), found.max()) == (100, 900)
    assert (found < 500).double().mean().item() == pytest.approx(0.5, abs=0.01)
    assert ((found >= 269) & (found < 731)).double().mean().item() == pytest.approx(0.6827, abs=0.01)


def test_processes_draw_the_shares_of_one_batch() -> None:
    schedule, whole = FlowSchedule(), make_batch()

    def shares(count: int) -> Tensor:
        found = []
        for share in range(count):
            rng, size = StepRNG(0, 0, share=share, shares=count), 6 // count
            batch = Batch(0, rng, whole.condition[:size], whole.real[:size], whole.real_condition[:size])
            own = schedule.grid[600].float().expand(size)
            t = augmentation_times(schedule, batch, (0.02, 0.98), own, "cleaner")
            found.append(torch.cat([t, logit_normal_times(schedule, batch, (0.02, 0.98), size)]).reshape(2, -1))
        return torch.cat(found, 1)

    assert torch.equal(shares(1), shares(2))
