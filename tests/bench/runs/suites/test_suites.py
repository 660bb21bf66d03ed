"""Suites name registered things only; the paper's tables, as data, are those of its text."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.core.errors import UserError
from bench.report.lines import suite_lines
from bench.runs.plan import Run
from bench.runs.planning import refuse_idle_overrides
from bench.runs.record import Record
from bench.runs.records import write_record
from bench.runs.registry import Catalogue, load_catalogue
from bench.runs.suites.paper_tables import load_paper_table
from bench.runs.suites.plan import SuitePlan
from bench.runs.suites.reading import load_suite, suite_names
from bench.runs.suites.suite import SuiteRow, SuiteScale


@pytest.mark.parametrize(
    ("table", "rows"),
    [("table1", 18), ("table2", 10), ("table3", 6), ("table4", 4), ("table5", 24), ("table6", 6)],
)
def test_each_table_of_the_paper_is_complete(table: str, rows: int) -> None:
    paper = load_paper_table(table)
    columns = [column.name for column in paper.columns]
    assert len(paper.rows) == rows == len({row.key for row in paper.rows})
    assert paper.title
    assert paper.source
    assert paper.note
    for row in paper.rows:
        assert row.source
        missing = {"latency"} if row.key in {"dalle", "dalle2", "parti-750m"} else set()
        assert set(row.values) == set(columns) - missing


def printed() -> dict[str, list[tuple[str, list[float]]]]:
    """The tables as the paper's text has them: of each row its label, perhaps empty, and its numbers."""
    tables: dict[str, list[tuple[str, list[float]]]] = {}
    for line in (Path(__file__).parent / "paper_tables.tsv").read_text(encoding="utf-8").splitlines():
        if line.startswith("Table "):
            rows = tables.setdefault(line.replace("Table ", "table"), [])
            continue
        label, *cells = line.split("\t")
        rows.append((label, [float(cell.removesuffix("s")) for cell in cells if cell != "-"]))
    return tables


@pytest.mark.parametrize("table", [f"table{n}" for n in range(1, 7)])
def test_values_are_the_papers(table: str) -> None:
    paper, text = load_paper_table(table), printed()[table]
    assert [[row.values[c.name] for c in paper.columns if c.name in row.values] for row in paper.rows] == [
        numbers for _, numbers in text
    ]
    for row, (label, _) in zip(paper.rows, text, strict=True):
        assert row.label.startswith(label)


def test_the_ablation_table_and_its_suite_agree_row_by_row() -> None:
    suite, paper = load_suite("table3"), load_paper_table("table3")
    values = {row.method: paper.row(row.paper_row or "").values["fid"] for row in suite.scale("paper").rows}
    assert values == {
        "dmd": 2.62,
        "dmd-no-regression": 3.48,
        "dmd-ttur": 2.61,
        "dmd2": 1.51,
        "gan": 2.56,
        "gan-ttur": 2.52,
    }


def test_every_table_and_figure_has_a_suite_at_both_scales() -> None:
    ours = {"multistep", "table4-constant", "tournament", "tournament-4step", "tournament-scenes"}
    flows = {"flow-sd35", "flow-sd35-large", "flow-flux", "flow-sana"}
    both = {"figure8", "figure9", "imagenet256"} | {f"table{n}" for n in range(1, 7)}
    assert set(suite_names()) == ours | flows | both
    for name in suite_names():
        scales = {"micro"} if name in ours else {"paper"} if name in flows else {"micro", "paper"}
        assert set(load_suite(name).scales) == scales


def test_what_a_scale_does_not_say_it_takes_from_its_suite() -> None:
    suite = load_suite("table4")
    micro, paper = suite.scale("micro"), suite.scale("paper")
    assert [replace(row, overrides={}) for row in micro.rows] == list(paper.rows) and len(paper.rows) == 4
    assert (micro.task, paper.task) == ("scenes", "coco10k")
    assert (micro.columns, paper.columns) == (
        ("fd", "patch-fd", "alignment", "kinds", "colours", "diversity"),
        ("fd", "patch-fd", "clip"),
    )
    assert [entry.sampler for entry in micro.baselines] == ["teacher-cfg3", "teacher-cfg1"]
    assert (len(micro.seeds), len(paper.seeds)) == (3, 1)


EVERY_SCALE = [
    pytest.param(scale, id=f"{name}-{scale.name}")
    for name in suite_names()
    for scale in load_suite(name).scales.values()
]
ON_A_FLOW = [
    pytest.param(load_suite(name).scale("micro").on("scenes-flow"), id=f"{name}-scenes-flow")
    for name in ("table4", "table6", "tournament-scenes")
]
"""The same runs on the transformer of `scenes`: --task scenes-flow."""


@pytest.mark.parametrize("scale", EVERY_SCALE + ON_A_FLOW)
def test_a_suite_names_what_there_is(scale: SuiteScale) -> None:
    """All tasks, protocols, methods, recipes, samplers and metrics of a suite are registered."""
    catalogue = load_catalogue()
    task = catalogue.tasks.get(scale.task)
    task = task.under(scale.protocol or task.protocol.name)
    trained_on = catalogue.tasks.get(scale.trained_on or scale.task)
    assert task.scale == trained_on.scale == scale.name
    assert (task.recipes or task.name) == (trained_on.recipes or trained_on.name)
    assert set(scale.columns) <= set(task.protocol.metrics) <= set(catalogue.metrics.entries)
    plan = SuitePlan(catalogue, scale, task, trained_on, {}, Path("runs"))
    assert len(plan.baselines()) == len(scale.baselines)
    first, (later, waiting) = plan.first(), plan.later()
    assert not later
    assert len(first) + len(waiting) == len(scale.rows) * len(scale.seeds)
    refuse_idle_overrides(first, {key for row in scale.rows if row.starts_from is None for key in row.overrides})


@pytest.mark.parametrize("scale", EVERY_SCALE)
def test_a_suite_names_rows_that_its_paper_table_has(scale: SuiteScale) -> None:
    suite = load_suite(scale.suite)
    answered = {one.paper_row for one in (*scale.rows, *scale.baselines, *scale.published)} - {None}
    assert answered <= ({row.key for row in load_paper_table(suite.paper).rows} if suite.paper else set())
    if scale.name == "paper" and suite.paper:
        assert scale.all_paper_rows or len(answered) == len(load_paper_table(suite.paper).rows)


@pytest.mark.parametrize(
    ("baseline", "row"),
    [
        ("lcm-1-official", "lcm-sdxl-1step"),
        ("turbo-4-official", "sdxl-turbo-4step"),
        ("lightning-1", "sdxl-lightning-1step"),
        ("dmd2-1", "dmd2-1step"),
        ("teacher-cfg8", "sdxl-cfg8"),
    ],
)
def test_baselines_answer_rows_of_the_paper(baseline: str, row: str) -> None:
    """Rivals are sampled as in the official evaluation of the paper."""
    found = {entry.sampler: entry.paper_row for entry in load_suite("table2").scale("paper").baselines}
    assert found[baseline] == row


@pytest.mark.parametrize("scale", EVERY_SCALE)
def test_a_baseline_takes_the_passes_that_the_paper_prints(scale: SuiteScale) -> None:
    paper, samplers = load_suite(scale.suite).paper, load_catalogue().tasks.get(scale.task).baselines
    rows = {row.key: row.values for row in load_paper_table(paper).rows} if paper else {}
    for entry in scale.baselines:
        printed = rows.get(entry.paper_row or "", {}).get("nfe")
        assert printed in (None, samplers[entry.sampler].network_evaluations)


def test_a_row_starts_from_one_other_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    scale = "[scales.micro]\ntask='digits'\nseeds=[0]\ncolumns=['fd']\n"
    rows = "[[rows]]\nmethod='dmd2'\nlabel='longer'\nstarts_from='dmd'\n"
    (tmp_path / "suites" / "mine.toml").write_text(f"title='mine'\n{scale}{rows}")
    monkeypatch.setattr("bench.runs.result_files.RESULTS", tmp_path)
    with pytest.raises(
        UserError, match=r"suite 'mine' cannot be read: .*'longer' starts from 'dmd', which is not"
    ):
        load_suite("mine")


def test_a_later_run_starts_from_the_student_of_the_first(catalogue: Catalogue, tmp_path: Path) -> None:
    """It has no name until that student is there; its name is then that student's hash, wherever it lies."""
    task = catalogue.tasks.get("tiny")
    rows = (
        SuiteRow("dmd-ttur", "first", overrides={"iterations": 4, "warmup": 1}),
        SuiteRow("dmd2", "second", overrides={"iterations": 2}, starts_from="dmd-ttur"),
    )
    scale = SuiteScale("mine", "micro", "tiny", (0, 1), ("fd",), rows)
    plan = SuitePlan(catalogue, scale, task, task, {"batch_size": 4}, tmp_path)
    runs, waiting = plan.later()
    assert not runs and [str(one).partition(":")[0] for one in waiting] == [
        "dmd2, seed 0 (second)",
        "dmd2, seed 1 (second)",
    ]
    first = plan.first()[1]
    assert (first.seed, first.recipe.iterations, first.recipe.batch_size) == (1, 4, 4)
    write_record(first.record, finished(first))
    (later,), (still,) = plan.later()
    assert (later.seed, later.recipe.init_from, still.seed) == (1, first.folder, 0)
    assert later.recipe.iterations == 2
    assert later.id != replace(later, recipe=later.recipe.model_copy(update={"init_from": None})).id


def finished(run: Run) -> Record:
    """Return a record of this run as if it were finished."""
    cost = dict.fromkeys(
        ("iterations", "generator_updates", "generated_images", "network_evaluations", "threads"), 1
    ) | dict.fromkeys(("train_seconds", "evaluate_seconds", "peak_memory_bytes", "parameters", "gpu_hours"), 0)
    provenance = dict.fromkeys(("created", "python", "platform", "cpu", "precision"), "-")
    provenance |= {"git_commit": None, "git_dirty": None, "packages": {}, "gpu": None, "threads": 1}
    return Record.model_validate(
        {
            "run_id": run.id,
            "kind": "method",
            "status": "ok",
            "method": run.method_info,
            "task": run.task.name,
            "protocol": run.task.protocol.as_dict(),
            "protocol_sha256": run.task.protocol.digest(),
            "train_seed": run.seed,
            "metrics": [],
            "checkpoint": {"iteration": 4, "selection": "last", "sha256": "ab" * 32, "weights": "raw"},
            "cost": cost,
            "weights": [],
            "data": [],
            "provenance": provenance | {"argv": [], "tf32": False},
            "sampler": {},
            "error": None,
        }
    )


def test_tables_that_share_models_print_the_same_numbers() -> None:
    """Table 6 repeats Table 2's four-step rows, and Table 3 repeats two of Table 1's."""
    diversity, quality = load_paper_table("table6"), load_paper_table("table2")
    for row in diversity.rows:
        assert quality.row(row.key).values.items() <= row.values.items()
    ablation, imagenet = load_paper_table("table3"), load_paper_table("table1")
    for key in ("dmd", "dmd2"):
        assert ablation.row(key).values["fid"] == imagenet.row(key).values["fid"]


def test_a_wrong_name_answers_with_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown suite 'tabel3'; did you mean 'table3'"):
        load_suite("tabel3")
    with pytest.raises(UserError, match="unknown paper table"):
        load_paper_table("table33")
    with pytest.raises(UserError, match="scale of suite table3"):
        load_suite("table3").scale("mikro")
    with pytest.raises(UserError, match="row of table3"):
        load_paper_table("table3").row("dmd3")


SUITE = {
    "title": "A suite",
    "columns": ["fd"],
    "seeds": [0],
    "rows": [{"method": "dmd2", "label": "DMD2"}],
    "scales": {"micro": {"task": "digits"}},
}
PAPER = {
    "title": "A table",
    "source": "the paper",
    "note": "",
    "columns": [{"name": "fid", "title": "FID", "direction": "lower"}],
    "rows": [{"key": "a", "label": "A", "values": {"fid": 1.0}, "source": "it"}],
}
VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**40), 2**40), st.floats(), st.sampled_from(["", "x", "a|b"])),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2),
    max_leaves=3,
)


def toml(value: Any) -> str:
    """Return a value in TOML, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")


def written(folder: Path, data: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "odd.toml").write_text("".join(f"{key} = {toml(value)}\n" for key, value in data.items()))


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(["paper", "curves", "note", "protocol", *SUITE]), value=VALUES)
def test_a_suite_of_any_values_is_read_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: Any
) -> None:
    monkeypatch.setattr("bench.runs.result_files.RESULTS", tmp_path)
    written(tmp_path / "suites", SUITE)
    assert load_suite("odd").scale("micro").rows[0].label == "DMD2"
    written(tmp_path / "suites", SUITE | {field: value})
    try:
        for part in load_suite("odd").scales.values():
            assert suite_lines(part, None) is not None
    except UserError as error:
        assert str(tmp_path / "suites" / "odd.toml") in str(error)


ROW = SUITE["rows"][0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seeds": [True, False]}, r"seeds is \[True, False\]; fix: make it a list of whole numbers from 0"),
        ({"seeds": [0, 1, 0]}, "seeds: 0 and 0 are the same; fix: give it once"),
        ({"seeds": []}, r"seeds is an empty list; fix: seeds = \[0, 1, 2\]"),
        ({"seeds": "01"}, "seeds is '01'; fix: make it a list of whole numbers"),
        ({"rows": 3}, r"rows is 3; fix: make it tables, such as \[\[rows\]\]"),
        ({"scales": {"micro": 3}}, r"scales is \{'micro': 3\}; fix: make it tables, such as \[scales.micro\]"),
        ({"set": 3}, "set is 3; fix: make it a table of recipe values"),
        ({"extends": 3}, "extends is 3; fix: make it a text, the name of a suite"),
        ({"columns": "fd"}, "columns is 'fd'; fix: make it a list of texts"),
        ({"columns": ["fd", "fd"]}, "columns: 'fd' and 'fd' are the same"),
        ({"tuning_seed": -5}, "tuning_seed is -5; fix: make it a whole number from 0"),
        ({"tuning_seed": True}, "tuning_seed is True; fix: make it a whole number from 0"),
        ({"budget": 8000}, "bad budget 8000; fix: give it a unit, as in { passes = 300_000 }"),
        ({"sedes": [0]}, "scale 'micro' has an unknown key 'sedes'; did you mean 'seeds'"),
        ({"suite": "other"}, "scale 'micro' has an unknown key 'suite'"),
        ({"baselines": ["teacher-ode"]}, "a baseline is 'teacher-ode', which is no table"),
        ({"baselines": [{"smapler": "x"}]}, "a baseline has an unknown key 'smapler'; did you mean 'sampler'?"),
        ({"rows": [{**ROW, "labl": "x"}]}, "a row has an unknown key 'labl'; did you mean 'label'?"),
        ({"rows": [{"method": "dmd2"}]}, "a row has no 'label'; its keys: method"),
        ({"rows": [ROW, {**ROW, "label": "again"}]}, "rows: 'DMD2' and 'again' are the same"),
        ({"rows": [{**ROW, "tune": {"lr": [1e-3, 1e-3]}}]}, "lr to tune of 'DMD2': 0.001 and 0.001 are the same"),
        (
            {"rows": [{**ROW, "tune": {"lr": [1e-3, float("nan")]}}]},
            "tune is .*nan.*; fix: make it a table of lists",
        ),
        ({"rows": [{**ROW, "set": {"lr": float("inf")}}]}, "set is .*inf.*; fix: make it a table of recipe"),
    ],
)
def test_a_mistake_in_a_suite_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], problem: str
) -> None:
    monkeypatch.setattr("bench.runs.result_files.RESULTS", tmp_path)
    written(tmp_path / "suites", SUITE | change)
    with pytest.raises(UserError, match=f"suite 'odd' cannot be read: .*{problem}"):
        load_suite("odd")


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(list(PAPER)), value=VALUES)
def test_a_table_of_the_paper_of_any_values_is_read_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: Any
) -> None:
    monkeypatch.setattr("bench.runs.result_files.RESULTS", tmp_path)
    written(tmp_path / "paper", PAPER | {field: value})
    try:
        assert load_paper_table("odd").rows is not None
    except UserError as error:
        assert str(tmp_path / "paper" / "odd.toml") in str(error)


@pytest.mark.parametrize("content", [b"\xff", b"title = ", b"x = " + b"[" * 5000, None])
def test_a_suite_that_is_no_toml_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    monkeypatch.setattr("bench.runs.result_files.RESULTS", tmp_path)
    (tmp_path / "suites").mkdir()
    path = tmp_path / "suites" / "odd.toml"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        load_suite("odd")
