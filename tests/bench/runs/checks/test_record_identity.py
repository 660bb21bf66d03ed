"""Whether a record is of the run, the seed, the protocol and the weights that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from example_records import COMMITTED, EXAMPLE, GONE, SAMPLER, Found

from bench.runs.plan import BaselineRun
from bench.runs.registry import load_catalogue


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train_seed": None}, "error: no training seed, which every trained student has"),
        ({"method.recipe": {}}, "error: no recipe, so that nobody can repeat the run"),
        ({"checkpoint": None}, "error: no checkpoint, so that nobody can tell which weights were evaluated"),
        ({"checkpoint.sha256": "latest"}, "error: the hash of the checkpoint is 'latest', which is no SHA-256"),
        ({"checkpoint.sha256": "AB" * 32}, "error: the hash of the checkpoint is"),
        ({"checkpoint.selection": "none"}, "error: the checkpoint of a trained student was selected by nothing"),
        ({"checkpoint.iteration": 900}, "error: the last checkpoint is of iteration 900 of 1500 iterations"),
        (
            {"checkpoint.selection": "best-by-test-metric"},
            "warning: the checkpoint of iteration 1500 was selected",
        ),
        ({"weights.1.sha256": ""}, "error: the hash of the feature network is ''"),
        ({"method.plugin_sha256": "0"}, "error: the hash of the plug-in is '0'"),
        ({"weights": []}, "warning: no hash of a teacher among its weights"),
        ({"run_id": "dmd2-s1-best"}, "error: the run id 'dmd2-s1-best' is not dmd2-s1-HASH"),
        ({"run_id": "dmd2-s2-e03abe5945"}, "error: the run id 'dmd2-s2-e03abe5945' is not dmd2-s1-HASH"),
        ({"train_seed": 2}, "error: the run id 'dmd2-s1-e03abe5945' is not dmd2-s2-HASH"),
        (
            {"run_id": "dmd2-s1-0000000000"},
            "warning: the run id is dmd2-s1-0000000000, but this content has the id",
        ),
        ({"method.recipe.lr": 1.0}, "warning: the run id is dmd2-s1-e03abe5945, but this content has the id"),
        ({"method.recipe.lr": "fast"}, "note: the run id cannot be computed again: bad value 'fast'"),
        ({"method.recipe.init_from": "runs/x"}, "note: the run id cannot be computed again: the run started from"),
        (
            {"method.name": "mine", "run_id": "mine-s1-0123456789"},
            "note: the run id cannot be computed again: method",
        ),
        (
            {"method.name": "=1+1", "run_id": "dmd2-s1-e03abe5945"},
            "error: the run id 'dmd2-s1-e03abe5945' is not =1+1",
        ),
    ],
)
def test_names_and_hashes(found_in: Found, values: dict[str, Any], said: str) -> None:
    assert any(line.startswith(said) for line in found_in(values)), found_in(values)


def test_a_sampler_has_no_seed(found_in: Found) -> None:
    assert found_in(base=SAMPLER) == []
    (line,) = found_in({"train_seed": 0}, SAMPLER)
    assert line.startswith("error: a training seed, 0, of a sampler that trains nothing")


def test_a_sampler_with_other_settings_keeps_its_name_in_that_of_its_run(found_in: Found) -> None:
    task = load_catalogue().tasks.get("digits")
    run = BaselineRun(task, Path("runs"), task.baseline("teacher-ode+steps8"))
    values = {"method.name": run.name, "run_id": run.id, "sampler": run.sampler(), "cost.network_evaluations": 8}
    assert found_in(values, SAMPLER) == []
    (line,) = found_in({**values, "run_id": "teacher-ode+steps9-0123456789"}, SAMPLER)
    assert "is not teacher-ode-steps8-HASH or teacher-ode+steps8-HASH" in line


def test_a_protocol_that_differs_from_the_one_of_its_name_says_in_what(found_in: Found) -> None:
    found = found_in({"protocol.neighbours": 5, "protocol.aggregate": GONE})
    (line,) = [line for line in found if "protocol" in line]
    assert line.startswith("warning: its protocol is not the 'digits' that task 'digits' declares here")
    assert "aggregate missing (here 'mean'), neighbours 5 (here 3)" in line


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            {"task": "cifar"},
            "the protocol 'digits' is only declared in the record itself: task 'cifar' is not reg",
        ),
        (
            {"protocol.name": "digitz"},
            "the protocol 'digitz' is only declared in the record itself: unknown protocol",
        ),
        (
            {"protocol.name": "digits.fid"},
            "the protocol 'digits.fid' is only declared in the record itself: unknown",
        ),
    ],
)
def test_a_protocol_that_nobody_declares_here_is_a_note(
    found_in: Found, values: dict[str, Any], reason: str
) -> None:
    assert any(
        line.startswith(f"note: {reason}") and "fix: give --plugin FILE" in line for line in found_in(values)
    )


def test_the_id_of_a_version_that_named_runs_by_keys_that_came_later_is_recognised(found_in: Found) -> None:
    """That version had the same keys, and left none of them out of an id; a change still shows."""
    earlier = json.loads((COMMITTED / "fashion" / "dmd-s0-22bf19e774.json").read_text())
    assert found_in(base=earlier) == []
    for key, value in {"lr": 1.0, "r1_noise": 0.2, "deterministic": True}.items():
        (line,) = found_in({f"method.recipe.{key}": value}, earlier)
        assert line.startswith("warning: the run id is dmd-s0-22bf19e774, but this content has the id")


def test_metrics_that_bench_eval_chose_are_a_known_protocol(found_in: Found) -> None:
    """`bench eval --metric fd` measures under a protocol of its own name."""
    (metric,) = [metric for metric in EXAMPLE["metrics"] if metric["name"] == "fd"]
    found = found_in({"protocol.name": "digits.fd", "protocol.metrics": ["fd"], "metrics": [metric]})
    assert not any("protocol" in line for line in found)


def test_a_record_under_another_protocol_or_of_the_best_student_has_its_runs_name(found_in: Found) -> None:
    from bench.core.files import digest

    protocol = {**EXAMPLE["protocol"], "neighbours": 4}
    name = f"{EXAMPLE['run_id']}-{digest([EXAMPLE['run_id'], digest(protocol)])[:6]}"
    assert not any("run id" in line for line in found_in({"run_id": name, "protocol": protocol}))
    best = {"run_id": f"{EXAMPLE['run_id']}-best", "checkpoint.selection": "best-by-test-metric"}
    assert not any("run id" in line for line in found_in(best))
