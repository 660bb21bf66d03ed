"""Positions on the noise grid, and the steps of an N-step student."""

import pytest

from bench.models.grid import grid_index, student_indices


@pytest.mark.parametrize(("position", "index"), [(0.0, 0), (0.02, 20), (0.399, 399), (0.98, 980), (1.0, 999)])
def test_a_position_names_the_paper_s_index(position: float, index: int) -> None:
    assert grid_index(position) == index


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [999]),
        (2, [999, 499]),
        (3, [999, 666, 333]),
        (4, [999, 749, 499, 249]),
        (6, [999, 833, 667, 501, 335, 169]),
        (7, [999, 857, 715, 573, 431, 289, 147]),
        (8, [999, 874, 749, 624, 499, 374, 249, 124]),
    ],
)
def test_student_indices(steps: int, expected: list[int]) -> None:
    """The official range(999, 0, -(1000 // N)) would give 4 entries for N = 3 and 7 for N = 6."""
    assert student_indices(steps) == expected


@pytest.mark.parametrize("steps", range(1, 65))
def test_student_has_exactly_n_distinct_steps(steps: int) -> None:
    indices = student_indices(steps)
    assert len(set(indices)) == steps
    assert indices == sorted(indices, reverse=True)
    assert indices[0] == 999
    assert indices[-1] >= 0


def test_steps_begin_where_the_student_takes_pure_noise() -> None:
    assert student_indices(1, start=0.399) == [399]
    assert student_indices(4, start=0.5) == [500, 375, 250, 125]


def test_steps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"12 steps do not fit below position 0\.01 of a grid of 1000"):
        student_indices(12, start=0.01)
