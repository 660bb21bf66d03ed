"""What a plug-in's metric measured becomes plain numbers, or an error that names the metric."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.evaluation.plain_numbers import plain
from bench.metrics.base import Measured


def test_numbers_of_numpy_become_plain_ones() -> None:
    found: Any = Measured(
        np.float32(0.5),
        4,
        {"rank": np.int64(2), "full": np.bool_(True), "error": None},
        [*np.float32([0, 1])] * 2,
    )
    text = json.dumps(vars(plain("mine", found, 4)))
    assert json.loads(text) == {
        "value": 0.5,
        "samples": 4,
        "diagnostics": {"rank": 2, "full": True, "error": None},
        "scores": [0.0, 1.0, 0.0, 1.0],
        "reasons": [],
    }


def test_a_metric_of_patches_counts_several_of_each_image() -> None:
    assert plain("mine", Measured(0.5, 6, {}), 3).samples == 6


def test_a_value_beyond_its_range_by_rounding_is_no_error() -> None:
    assert plain("mine", Measured(1 + 1e-9, 3, {}), 3, (0.0, 1.0)).value == 1 + 1e-9


def test_a_mean_of_tasks_says_the_mean_of_its_scores_beside_it() -> None:
    found = Measured(0.5, 3, {"mean_of_images": 2 / 3}, [1.0, 1.0, 0.0])
    assert plain("mine", found, 3).value == 0.5


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ("seven", "returned 'seven'; fix: let its result"),
        (Measured(float("nan"), 3, {}), "has the value nan; fix"),
        (Measured("0.5", 3, {}), "has the value '0.5'; fix"),
        (Measured(1.5, 3, {}), "has the value 1.5, and its range is from 0 to 1; fix: correct its"),
        (Measured(-0.1, 3, {}), "has the value -0.1, and its range"),
        (Measured(0.5, 3, None), "has the diagnostics None; fix"),
        (Measured(0.5, 3, {3: 1.0}), "has the diagnostics {3: 1.0}; fix: give them names"),
        (Measured(0.5, 3, {}, None), "has the scores None; fix: give it a list"),
        (Measured(0.5, 3, {}, [1.0, 0.0, 0.5], "why"), "has the reasons 'why'; fix: give it a list"),
        (Measured(0.5, 3, {}, [1.0, 0.0, 0.5], [1, 2, 3]), "has the reason 1; fix: give it in words"),
        (Measured(0.5, 3, {"rank": float("inf")}), "has the diagnostic 'rank' inf; fix"),
        (Measured(0.5, 3, {}, [1.0, None]), "has the score 1 None; fix"),
        (Measured(0.5, 2, {}), "says that it measured 2 samples, but 3 images were added to it; fix"),
        (Measured(0.5, 4, {}), "says that it measured 4 samples, but 3 images were added to it; fix"),
        (Measured(0.5, 6, {}, [1.0, 0.0, 0.5]), "says that it measured 6 samples, but 3 images"),
        (Measured(0.5, 3, {}, [1.0, 1.0, 0.0]), "says 0.5, and its scores have the mean 0.66"),
        (Measured(0.5, 3, {}, [1.0, 0.0]), "has 2 scores of 3 images; fix"),
        (Measured(0.5, 3, {}, [1.0, 0.0, 0.5], ["dark"]), "has 1 reasons for 3 scores; fix"),
    ],
)
def test_anything_else_is_refused_with_the_metrics_name(found: Any, reason: str) -> None:
    with pytest.raises(UserError, match=f"metric 'mine' {reason}"):
        plain("mine", found, 3, (0.0, 1.0))
