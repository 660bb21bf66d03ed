"""A sweep's points are ordinary records, which are not repeated; its own record holds what chose one of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recorded_notes import RecordedNotes
from swept_runs import METRICS, planned, write_point

from bench.core.errors import UserError
from bench.core.stopping import DivergedError
from bench.runs.plan import BaselineRun
from bench.runs.records import write_model
from bench.runs.registry import Catalogue
from bench.runs.suites.plan import SuitePlan
from bench.runs.suites.suite import SuiteBaseline, SuiteScale
from bench.runs.sweeps.choice import parse_rule
from bench.runs.sweeps.plan import SweepPlan, choice_lines
from bench.runs.sweeps.points import SamplerPoint, student_points
from bench.runs.sweeps.record import read_sweep

DIRECTIONS = {one.name: one.direction for one in METRICS}
RESULTS = [(30.0, 0.2), (20.0, 0.3), (10.0, 0.6), (28.0, 0.7), (12.0, 0.5), (10.0, 0.9)]
"""FD and recall at 2, 4 and 8 steps, each without and with guidance."""


def measured(
    catalogue: Catalogue, root: Path, results: Sequence[tuple[float, float] | None] = RESULTS
) -> SweepPlan:
    """Return a plan whose points have these results; None: the point is not measured."""
    plan = planned(catalogue, root)
    for point, result in zip(plan.points, results, strict=True):
        if result is not None:
            write_point(point, *result)
    return plan


def test_the_points_are_all_combinations_under_a_protocol_of_their_own(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    plan = planned(catalogue, tmp_path)
    assert [point.name for point in plan.points[:2]] == ["teacher-ode+steps2", "teacher-ode+steps2+guidance2"]
    assert [point.values for point in plan.points[:2]] == [
        {"steps": 2, "guidance": 1.0},
        {"steps": 2, "guidance": 2.0},
    ]
    assert [point.evaluations for point in plan.points] == [3, 6, 7, 14, 15, 30]
    assert len({point.key for point in plan.points}) == 6
    assert plan.task.protocol.name == "fashion.sweep-500" and plan.reported.protocol.name == "fashion"


def test_a_dry_run_shows_cost_and_state_of_each_point(catalogue: Catalogue, tmp_path: Path) -> None:
    plan = measured(catalogue, tmp_path, [*RESULTS[:2], None, None, None, None])
    lines = list(plan.lines())
    assert "on seeds 30,000 to 30,499, which no reported number uses (fashion: 0 to 29,999)" in lines[1]
    assert "3 x 500 = 1,500 network evaluations" in lines[2]
    assert [line.rpartition(" ")[2] for line in lines[2:8]] == ["done", "done", "new", "new", "new", "new"]
    assert lines[-1] == f"left: {500 * (7 + 14 + 15 + 30):,} network evaluations"


def test_the_rule_chooses_and_the_record_says_on_which_seeds(catalogue: Catalogue, tmp_path: Path) -> None:
    plan = measured(catalogue, tmp_path)
    found = plan.answer()
    assert (found.chosen, found.rule) == (2, "lowest fd")  # FD 10 twice: with 7 network evaluations, and with 30
    assert found.selection_seeds == (30_000, 30_499) and found.reported_seeds == (0, 29_999)
    assert found.points[2].record == f"fashion-flow/{found.points[2].run_id}/record.json"
    guided = replace(plan, rule=parse_rule("lowest fd with recall>=0.8", DIRECTIONS)).answer()
    assert guided.chosen == 5 and guided.edges() == ["steps"]
    none = replace(plan, rule=parse_rule("lowest fd with recall>=0.95", DIRECTIONS)).answer()
    assert none.choice is None and "no point, since none meets" in next(choice_lines(none))


def test_a_point_without_a_result_is_not_chosen(catalogue: Catalogue, tmp_path: Path) -> None:
    found = measured(catalogue, tmp_path, [*RESULTS[:5], None]).answer()
    assert found.points[5].metrics == {"fd": None, "recall": None} and found.points[5].run_id is None
    assert found.chosen == 2


def test_the_record_is_written_once_and_read_back(catalogue: Catalogue, tmp_path: Path) -> None:
    plan = measured(catalogue, tmp_path)
    found = plan.answer()
    write_model(plan.path, found, read_sweep)
    assert plan.path.parent == tmp_path / "sweeps" and plan.path.name.startswith("fashion-flow-teacher-ode-")
    assert read_sweep(plan.path) == found
    before = plan.path.stat().st_mtime_ns
    write_model(plan.path, plan.answer(), read_sweep)
    assert plan.path.stat().st_mtime_ns == before
    assert replace(plan, rule=parse_rule("highest recall", DIRECTIONS)).path != plan.path


def test_the_chosen_point_is_reported_once_it_is_measured_under_the_tasks_protocol(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    plan = measured(catalogue, tmp_path)
    found = plan.answer()
    assert found.reported is None
    command = "bench eval --task fashion-flow --protocol fashion --sampler teacher-ode+steps4"
    assert list(choice_lines(found))[-1].startswith(f"next: {command} ")
    write_point(plan.points[2].on(plan.reported), 11.0, 0.55)
    found = plan.answer()
    assert found.reported is not None and found.reported.metrics == {"fd": 11.0, "recall": 0.55}
    assert found.points[2].metrics == {"fd": 10.0, "recall": 0.6}
    assert "reported under fashion: fd 11, recall 0.55" in list(choice_lines(found))[-1]


def test_a_point_that_is_given_twice_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    path, content = tmp_path / "twice.json", json.loads(measured(catalogue, tmp_path).answer().model_dump_json())
    path.write_text(json.dumps(content | {"points": [*content["points"], content["points"][0]]}))
    with pytest.raises(UserError, match=r"valid record of a sweep \(a point is given twice\); fix: .*mv "):
        read_sweep(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chosen": 5}, "the chosen point is not the one that the rule chooses"),
        ({"selection_seeds": [100, 599]}, "the seeds of the choice are among the reported ones"),
        ({"rule": "lowest beauty"}, "the rule cannot be applied: unknown quantity"),
        ({"protocol_sha256": "0" * 64}, "protocol_sha256 is not the digest of protocol"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(
    catalogue: Catalogue, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = tmp_path / "changed.json"
    found = measured(catalogue, tmp_path).answer()
    path.write_text(json.dumps(json.loads(found.model_dump_json()) | changes))
    with pytest.raises(UserError, match="not a complete and valid record of a sweep") as error:
        read_sweep(path)
    assert said in str(error.value) and "bench sweep again" in str(error.value)


def test_guidance_is_refused_before_anything_runs_if_the_teacher_has_none(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    runner: Any = SimpleNamespace(prepared=SimpleNamespace(null_condition=None))
    progress: Any = None
    with pytest.raises(UserError, match=r"has no null condition.*teacher-ode\+steps2\+guidance2 would have"):
        planned(catalogue, tmp_path).measure(runner, progress)


def test_a_point_whose_images_are_not_finite_does_not_end_the_sweep(catalogue: Catalogue, tmp_path: Path) -> None:
    plan = planned(catalogue, tmp_path)
    points = {point.name: point for point in plan.points}

    def baseline(run: BaselineRun) -> None:
        if run.name == "teacher-ode+steps4":
            raise DivergedError("images that are not finite")
        write_point(points[run.name], 5.0, 0.5)

    progress = RecordedNotes()
    runner: Any = SimpleNamespace(prepared=SimpleNamespace(null_condition=0), baseline=baseline)
    plan.measure(runner, progress)
    assert progress.notes[1:3] == [
        "2/6 teacher-ode+steps2+guidance2: fd 5",
        "3/6 teacher-ode+steps4: no result: images that are not finite",
    ]
    assert len(progress.notes) == 6 and [point.run_id is None for point in plan.answer().points].index(True) == 2


def student(run: Path, steps: int, finished: bool = True) -> Path:
    """Write what a sweep reads of a run's student."""
    (run / "student").mkdir(parents=True)
    indices = [1000 - 100 * step for step in range(steps)]
    (run / "student" / "denoiser.json").write_text(json.dumps({"student_indices": indices}))
    if finished:
        (run / "record.json").write_text("{}")
    return run


def test_students_take_the_steps_that_they_have(catalogue: Catalogue, tmp_path: Path) -> None:
    task = catalogue.tasks.get("digits")
    one, four = student(tmp_path / "one", 1), student(tmp_path / "four", 4)
    points, notes = student_points(task, tmp_path, [one, four], None, None)
    assert [(point.name, point.steps) for point in points] == [("one", 1), ("four", 4)] and notes == []
    points, notes = student_points(task, tmp_path, [one, four / "student"], [1, 4], None)
    assert [(point.name, point.evaluations) for point in points] == [("one", 1), ("four", 4)]
    assert [note.partition(", ")[0] for note in notes] == [f"{one} takes 1 step", f"{four}/student takes 4 steps"]


def test_steps_and_students_that_cannot_be_measured_are_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    task = catalogue.tasks.get("digits")
    one, four = student(tmp_path / "one", 1), student(tmp_path / "four", 4)
    with pytest.raises(UserError, match="no student takes 2 steps; they take 1 and 4; fix: --steps 1,4"):
        student_points(task, tmp_path, [one, four], [1, 2, 4], None)
    with pytest.raises(UserError, match="one takes 1 step and no others; fix: --steps 1"):
        student_points(task, tmp_path, [one, four], [4], None)
    with pytest.raises(UserError, match="a student without a finished run"):
        student_points(task, tmp_path, [student(tmp_path / "unfinished", 1, finished=False)], None, None)
    with pytest.raises(UserError, match=r"no folder or file .*; fix: bench status lists"):
        student_points(task, tmp_path, [tmp_path / "nowhere"], None, None)


def test_a_point_is_the_same_run_in_every_sweep(catalogue: Catalogue, tmp_path: Path) -> None:
    first, again = planned(catalogue, tmp_path), planned(catalogue, tmp_path)
    point, same = first.points[0], again.points[0]
    assert isinstance(point, SamplerPoint) and isinstance(same, SamplerPoint)
    assert point.run.id == same.run.id != point.on(first.reported).key


def test_a_suite_takes_points_of_a_sweep_by_their_names(catalogue: Catalogue, tmp_path: Path) -> None:
    task = catalogue.tasks.get("fashion-flow")
    named = (SuiteBaseline("teacher-ode+steps8"), SuiteBaseline("teacher-cfg"))
    scale = SuiteScale("mine", "micro", "fashion-flow", (0,), ("fd",), (), baselines=named)
    runs = SuitePlan(catalogue, scale, task, task, {}, tmp_path).baselines()
    assert runs == [BaselineRun(task, tmp_path, task.baseline(one.sampler)) for one in named]
    assert [run.baseline.network_evaluations for run in runs] == [15, 70]
