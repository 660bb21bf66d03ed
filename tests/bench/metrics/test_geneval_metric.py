"""GenEval's overall score: the mean of its six tasks, and not of its images."""

from dataclasses import replace

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.features.views import Features
from bench.metrics.base import Measured
from bench.metrics.compositional import GENEVAL
from bench.metrics.geneval import GenEval
from bench.task.protocol import Protocol

PROTOCOL = Protocol(
    name="geneval",
    samples=16,
    repetitions=1,
    first_seed=0,
    labels="balanced",
    uint8="round",
    reference="none",
    features="none",
    metrics=("geneval",),
    images_per_prompt=2,
)
INFO = replace(GENEVAL, min_samples=1)


def measured(correct: list[int], tasks: list[int], protocol: Protocol = PROTOCOL) -> Measured:
    metric = GenEval(None, protocol, INFO)
    for start in (0, 4):  # in two batches
        part = slice(start, 4 if start == 0 else None)
        scores = {
            "geneval": np.array(correct[part], dtype=float),
            "geneval_task": np.array(tasks[part], dtype=float),
        }
        words = {"geneval": ["" if one else "expected dog>=1, found 0" for one in correct[part]]}
        metric.update(Features(np.zeros((len(correct[part]), 0)), scores=scores, reasons=words))
    return metric.result()


def test_small_tasks_count_as_much_as_large_ones() -> None:
    tasks = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5]
    found = measured([1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], tasks)
    assert found.value == pytest.approx((1 + 1 + 1 + 1 + 0.5 + 0) / 6)
    assert found.diagnostics["mean_of_images"] == pytest.approx(9 / 14)
    assert {name: found.diagnostics[name] for name in ("counting", "position", "color_attr")} == {
        "counting": 1.0,
        "position": 0.5,
        "color_attr": 0.0,
    }
    assert found.reasons[9] == "expected dog>=1, found 0"
    assert found.reasons[0] == ""


def test_the_interval_is_over_the_prompts_of_each_task() -> None:
    tasks = [task for task in range(6) for _ in range(4)]
    correct = [1, 1, 0, 0] * 6  # two prompts of each task, one wholly right
    found = measured(correct, tasks)
    assert found.diagnostics["standard_error"] == pytest.approx(0.5 / 6**0.5)
    assert found.diagnostics["low"] == pytest.approx(0.5 - 1.959964 * 0.5 / 6**0.5)


def test_a_task_without_images_is_an_error() -> None:
    with pytest.raises(UserError, match="no image is of counting, colors, position, color_attr"):
        measured([1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1])
    smoke = measured([1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1], replace(PROTOCOL, smoke=True))
    assert (smoke.value, smoke.diagnostics["tasks"]) == (0.5, 2)
