"""The report of a sweep: its planes, the points that no other beats, its table and its figure."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from swept_runs import planned, write_point

from bench.report.sweeps.files import write_files
from bench.report.sweeps.frontier import panels
from bench.report.sweeps.table import to_csv, to_lines
from bench.runs.registry import Catalogue
from bench.runs.sweeps.record import Sweep, SweptMetric

RESULTS = [(30.0, 0.2), (28.0, 0.7), (20.0, 0.3), (12.0, 0.5), (11.0, 0.4), (10.0, 0.6)]
"""FD and recall at 2, 4 and 8 steps, each without and with guidance."""


@pytest.fixture
def swept(catalogue: Catalogue, tmp_path: Path) -> Sweep:
    """A sweep whose points are measured."""
    plan = planned(catalogue, tmp_path)
    for point, result in zip(plan.points, RESULTS, strict=True):
        write_point(point, *result)
    return plan.answer()


def test_quality_is_drawn_against_cost_along_steps_and_against_diversity_along_guidance(swept: Sweep) -> None:
    cost, diversity = panels(swept)
    assert (cost.x.name, cost.y.name, cost.along) == ("evaluations", "fd", "steps")
    assert cost.lines(swept.points) == {"guidance 1": [0, 2, 4], "guidance 2": [1, 3, 5]}
    assert (diversity.x.name, diversity.y.name, diversity.along) == ("recall", "fd", "guidance")
    assert diversity.lines(swept.points) == {"steps 2": [0, 1], "steps 4": [2, 3], "steps 8": [4, 5]}


def test_fidelity_has_a_plane_with_diversity_and_without_diversity_there_is_one_plane(swept: Sweep) -> None:
    precise = SweptMetric(name="precision", title="Precision", direction="higher")
    points = [point.model_copy(update={"metrics": {**point.metrics, "precision": 0.5}}) for point in swept.points]
    more = swept.model_copy(update={"metrics": [*swept.metrics, precise], "points": points})
    assert [(one.x.name, one.y.name) for one in panels(more)] == [
        ("evaluations", "fd"),
        ("recall", "fd"),
        ("recall", "precision"),
    ]
    alone = swept.model_copy(update={"metrics": swept.metrics[:1]})
    assert [(one.x.name, one.y.name) for one in panels(alone)] == [("evaluations", "fd")]


def test_points_that_no_other_beats_in_both_are_on_the_frontier(swept: Sweep) -> None:
    cost, diversity = panels(swept)
    # 3, 6, 7, 14, 15 and 30 evaluations with FD 30, 28, 20, 12, 11 and 10: what costs more is better.
    assert cost.optimal(swept.points) == [0, 1, 2, 3, 4, 5]
    assert sorted(diversity.optimal(swept.points)) == [1, 5]
    worse = swept.points[0].model_copy(update={"evaluations": 64})
    lost = swept.points[1].model_copy(update={"metrics": {"fd": None, "recall": None}})
    assert cost.optimal([worse, lost, *swept.points[2:]]) == [2, 3, 4, 5]


def test_the_table_marks_the_frontier_and_the_choice(swept: Sweep) -> None:
    lines = list(to_lines(swept))
    headings = [heading.strip() for heading in lines[0].split("|")[1:-1]]
    assert headings == ["", "steps", "guidance", "NFE", "FD (fashion-cnn64) ↓", "Recall ↑", "Pareto-optimal in"]
    assert len(lines) == 8 and len({len(line) for line in lines}) == 1
    assert [line.startswith("| chosen") for line in lines[2:]] == [False] * 5 + [True]
    assert "fd, evaluations; fd, recall" in lines[-1]


def test_the_chosen_point_is_never_shown_as_equal_to_another(swept: Sweep) -> None:
    """Only the column of the rule has more decimals."""
    close = swept.points[0].model_copy(update={"metrics": {"fd": 10.0004, "recall": 0.6004}})
    lines = list(to_lines(swept.model_copy(update={"points": [close, *swept.points[1:]]})))
    assert "| 10.0000 " in lines[-1]
    assert "| 10.0004 " in lines[2] and "| 0.600 " in lines[2] and "| 0.600 " in lines[-1]


def test_programs_read_plain_values_and_the_run_of_each_point(swept: Sweep) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(swept))))
    assert [float(row["fd"]) for row in rows] == [fd for fd, _ in RESULTS]
    assert [row["chosen"] for row in rows] == ["0"] * 5 + ["1"]
    assert [row["pareto: fd, recall"] for row in rows] == ["0", "1", "0", "0", "0", "1"]
    assert rows[0]["run_id"] == swept.points[0].run_id and rows[0]["steps"] == "2"


def test_the_files_are_written_and_have_the_same_bytes_again(swept: Sweep, tmp_path: Path) -> None:
    record = tmp_path / "sweep.json"
    written = write_files(swept, record)
    assert [path.suffix for path in written] == [".md", ".csv", ".png", ".svg"]
    assert written[2].read_bytes().startswith(b"\x89PNG") and b"chosen: lowest fd" in written[3].read_bytes()
    before = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in write_files(swept, record)] == before


def test_a_figure_is_drawn_although_points_have_no_values(swept: Sweep, tmp_path: Path) -> None:
    empty = [point.model_copy(update={"metrics": {"fd": None, "recall": None}}) for point in swept.points]
    write_files(swept.model_copy(update={"points": empty, "chosen": None}), tmp_path / "sweep.json")
    assert "no point, since none meets the rule" in (tmp_path / "sweep.md").read_text(encoding="utf-8")
