"""Whether a record says by what, when and at what cost it was made, and whether it is a result at all."""

from __future__ import annotations

from typing import Any

import pytest
from example_records import SAMPLER, Found

FAILURE = {"type": "OutOfMemoryError", "message": "no memory", "traceback": "", "log_tail": []}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"provenance.packages": {}},
            "error: no version of distillation-bench, torch, diffusers, accelerate and 4",
        ),
        ({"provenance.packages.scipy": ""}, "warning: no version of scipy"),
        ({"provenance.python": " "}, "error: Python is not named"),
        ({"provenance.cpu": ""}, "error: the processor is not named"),
        ({"provenance.argv": []}, "error: no command line, so that nobody can repeat the run"),
        ({"provenance.git_commit": None}, "warning: no git commit of the code"),
        ({"provenance.git_commit": "main"}, "error: the git commit is 'main', which is no commit's hash"),
        ({"provenance.git_dirty": None}, "warning: it does not say whether the code differed from its commit"),
        ({"provenance.git_dirty": True}, "warning: the code differed from its commit"),
        ({"provenance.created": "yesterday"}, "error: created is 'yesterday', which is no time of ISO 8601"),
        (
            {"provenance.created": "2026-11-01T00:00:00"},
            "error: created is '2026-11-01T00:00:00', without a time zone",
        ),
        (
            {"provenance.created": "2026-12-01T02:00:00+00:00"},
            "error: created is '2026-12-01T02:00:00+00:00', which is in the future",
        ),
        ({"protocol.smoke": True}, "warning: its protocol is a smoke test's"),
        ({"cost.train_seconds": 0}, "error: 0 seconds of training"),
        ({"cost.train_seconds": -3.0}, "error: train_seconds is -3"),
        ({"cost.evaluate_seconds": 1e300}, "error: evaluate_seconds is 1e+300"),
        ({"cost.network_evaluations": 0}, "error: 0 network evaluations made its images"),
        ({"cost.network_evaluations": 4}, "error: 4 network evaluations, but 1 steps of the sampler"),
        ({"cost.iterations": 0}, "error: 0 iterations of training"),
        ({"cost.iterations": 1000}, "error: 1000 iterations, but the recipe has 1500"),
        ({"cost.generated_images": 1}, "error: 1 images in 1500 iterations of batch 32"),
        ({"cost.gpu_hours": 9.0}, "error: 9 GPU hours, but all processes trained for"),
        ({"provenance.gpu": "H100"}, "note: a GPU is named, but no GPU hours"),
        ({"status": "failed", "error": FAILURE}, "warning: the run failed, 'OutOfMemoryError: no memory'"),
    ],
)
def test_what_is_left_out_or_cannot_be(found_in: Found, values: dict[str, Any], said: str) -> None:
    assert any(line.startswith(said) for line in found_in(values)), found_in(values)


def test_a_clock_that_is_minutes_ahead_is_accepted(found_in: Found) -> None:
    assert found_in({"provenance.created": "2026-12-01T00:30:00+00:00"}) == []


def test_a_sampler_costs_no_training(found_in: Found) -> None:
    assert any(
        line.startswith("error: 0 iterations of training in 5 s of a sampler")
        for line in found_in({"cost.train_seconds": 5}, SAMPLER)
    )
