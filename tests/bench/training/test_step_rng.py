"""Random numbers and data order are functions of the seed and the position, so a run resumes exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.training.step_rng import StepRNG, data_order

IMAGES = torch.empty(4, 1, 2, 2)


def everything(rng: StepRNG, images: Tensor = IMAGES) -> list[Tensor]:
    """Draw one of each kind, as a training step does."""
    return [rng.normal(images), rng.integers(0, 1000, len(images)), rng.normal(images)]


def test_same_seed_and_iteration_same_numbers() -> None:
    for once, again in zip(everything(StepRNG(3, 7)), everything(StepRNG(3, 7)), strict=True):
        assert torch.equal(once, again)


@pytest.mark.parametrize("other", [StepRNG(3, 8), StepRNG(4, 7), StepRNG(7, 3)])
def test_another_seed_or_iteration_has_other_numbers(other: StepRNG) -> None:
    assert not torch.equal(StepRNG(3, 7).normal(IMAGES), other.normal(IMAGES))


def test_two_draws_of_one_iteration_are_independent() -> None:
    rng = StepRNG(0, 0)
    first, second = rng.normal(torch.empty(20_000)), rng.normal(torch.empty(20_000))
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.03


def test_the_global_generator_plays_no_part() -> None:
    torch.manual_seed(1)
    once = StepRNG(0, 0).normal(IMAGES)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(once, StepRNG(0, 0).normal(IMAGES))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("shares", [2, 4])
def test_shares_of_all_processes_make_up_the_single_processs_draw(shares: int) -> None:
    alone = everything(StepRNG(5, 9), torch.empty(8, 1, 2, 2))
    share = torch.empty(8 // shares, 1, 2, 2)
    parts = [everything(StepRNG(5, 9, share=r, shares=shares), share) for r in range(shares)]
    for whole, pieces in zip(alone, zip(*parts, strict=True), strict=True):
        assert torch.equal(whole, torch.cat(pieces))


def test_a_single_number_is_common_to_all_processes_and_keeps_them_in_step() -> None:
    """Backward simulation's step is shared, and the shares drawn after it still make up the whole batch."""
    alone = StepRNG(5, 9)
    ranks = [StepRNG(5, 9, share=r, shares=2) for r in range(2)]
    assert {rng.integer(0, 1000) for rng in ranks} == {alone.integer(0, 1000)}
    shares = [rng.normal(torch.empty(2, 3)) for rng in ranks]
    assert torch.equal(torch.cat(shares), alone.normal(torch.empty(4, 3)))


@pytest.mark.parametrize(
    "draw",
    [lambda d: d.integers(2, 5, 300).tolist(), lambda d: [d.integer(2, 5) for _ in range(100)]],
    ids=["integers", "integer"],
)
def test_whole_numbers_leave_out_the_upper_end(draw: Callable[[StepRNG], list[int]]) -> None:
    assert set(draw(StepRNG(0, 0))) == {2, 3, 4}


def test_normal_numbers_are_standard_normal() -> None:
    drawn = StepRNG(0, 0).normal(torch.empty(100_000))
    assert drawn.mean().item() == pytest.approx(0, abs=0.02)
    assert drawn.std().item() == pytest.approx(1, abs=0.02)


def test_the_numbers_of_all_shares_are_those_that_each_share_has_a_part_of() -> None:
    whole = StepRNG(0, 1).normal(torch.empty(6))
    for share in range(3):
        one = StepRNG(0, 1, share=share, shares=3)
        drawn = one.of_all_shares().normal(torch.empty(6))
        assert torch.equal(drawn, whole) and torch.equal(one.own(drawn), whole[2 * share : 2 * share + 2])


class TestDataOrder:
    def test_each_epoch_has_each_item_once_in_its_own_order(self) -> None:
        epochs = data_order(10, seed=0, start=0, count=30).reshape(3, 10)
        for epoch in epochs:
            assert sorted(epoch) == list(range(10))
        assert len({tuple(epoch) for epoch in epochs}) == 3

    def test_another_seed_has_another_order(self) -> None:
        assert data_order(50, 0, 0, 50).tolist() != data_order(50, 1, 0, 50).tolist()

    @pytest.mark.parametrize("chunk", [1, 3, 7, 10, 25])
    def test_it_does_not_depend_on_how_it_is_cut(self, chunk: int) -> None:
        """Batches may have any size and cross the ends of epochs, and processes may take turns."""
        whole = data_order(10, 4, 0, 75)
        parts = [data_order(10, 4, start, chunk) for start in range(0, 75 - chunk + 1, chunk)]
        joined = np.concatenate(parts)
        assert joined.tolist() == whole[: len(joined)].tolist()

    @pytest.mark.parametrize("start", [0, 1, 9, 10, 11, 37, 1_000_003])
    def test_it_can_be_entered_anywhere(self, start: int) -> None:
        epoch_start = start // 10 * 10
        from_epoch = data_order(10, 4, epoch_start, 30)
        assert data_order(10, 4, start, 15).tolist() == from_epoch[start - epoch_start :][:15].tolist()

    def test_a_batch_may_be_larger_than_the_data(self) -> None:
        order = data_order(3, 0, 1, 11)
        assert len(order) == 11 and set(order) == {0, 1, 2}
