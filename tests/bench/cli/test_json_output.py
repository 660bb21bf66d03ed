"""`--json`: one object on stdout, with stable keys, and the same facts as the text."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests_support import EXAMPLE
from typer.testing import CliRunner

from bench.cli import command_line
from bench.cli.json_output import print_json
from bench.core.run_folder import PLAN


def stdout(*arguments: object) -> dict[str, Any]:
    """Parse the whole of a command's stdout as one JSON object."""
    done = CliRunner().invoke(command_line(), [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_list_has_every_kind_with_name_summary_and_origin() -> None:
    found = stdout("list", "--json")
    assert set(found) >= {"methods", "tasks", "metrics", "suites"}
    for rows in found.values():
        assert rows and all(set(row) == {"name", "summary", "origin", "error"} for row in rows)
    assert list(stdout("list", "tasks", "--json")) == ["tasks"]


def test_list_names_the_origin_of_a_plugin() -> None:
    rows = stdout("list", "methods", "--plugin", EXAMPLE, "--json")["methods"]
    assert [row["origin"] for row in rows if row["origin"].startswith("plug-in")] == [f"plug-in {EXAMPLE.name}"]


KEYS = {
    "method": {"kind", "name", "summary", "class", "origin", "recipe", "cost", "task"},
    "task": {"kind", "name", "summary", "scale", "image_shape", "protocol", "protocol_sha256", "baselines"}
    | {"requirements", "licences"},
    "metric": {"kind", "name", "title", "direction", "min_samples", "summary", "source"},
    "suite": {"kind", "name", "title", "scales"},
}


@pytest.mark.parametrize(
    ("name", "kind"), [("dmd2", "method"), ("digits", "task"), ("fd", "metric"), ("table3", "suite")]
)
def test_describe_has_the_documented_keys(name: str, kind: str) -> None:
    found = stdout("describe", name, "--json")
    assert found["kind"] == kind and found["name"] == name
    assert set(found) >= KEYS[kind]


def test_describe_resolves_the_recipe_on_a_task() -> None:
    found = stdout("describe", "dmd2", "--task", "digits", "--json")
    assert found["recipe"]["iterations"] == 1500
    assert found["task"]["protocol"]["metrics"][0] == "fd"
    assert stdout("describe", "dmd2", "--json")["task"] is None


def test_status_has_a_run_with_its_reason_and_the_next_command(tmp_path: Path) -> None:
    folder = tmp_path / "digits" / "gan-s0-abcdef0123"
    folder.mkdir(parents=True)
    (folder / PLAN).write_text(json.dumps({"name": "gan", "task": "digits", "kind": "method", "seed": 0}))
    (run,) = stdout("status", "--runs", tmp_path, "--json")["runs"]
    assert set(run) == {
        *("name", "folder", "state", "under_way", "stage", "completed", "total", "seconds_left"),
        *("images_per_second", "fd", "job", "node", "requeues", "reason", "next", "problems"),
    }
    assert run["name"] == "digits/gan-s0-abcdef0123" and run["folder"] == str(folder)
    assert run["next"].startswith("bench run --method gan --task digits --seed 0")


def test_status_as_json_is_not_watched(bench: Callable[..., Any], tmp_path: Path) -> None:
    refused = bench("status", "--runs", tmp_path, "--json", "--watch")
    assert refused.code == 2 and "fix: bench wait, then bench status --json" in refused.text


def test_report_has_the_rows_of_the_csv_in_full_precision(bench: Callable[..., Any]) -> None:
    (table,) = stdout("report", "--suite", "table3", "--json")["tables"]
    assert set(table) == {"title", "note", "sections", "rows", "missing"}
    frame = pd.read_csv(
        io.StringIO(bench("report", "--suite", "table3", "--format", "csv").text), float_precision="round_trip"
    )
    assert list(table["rows"][0]) == list(frame.columns)
    assert [row["value"] for row in table["rows"]] == [None if pd.isna(v) else v for v in frame["value"]]


def test_report_prints_warnings_and_the_figures_path_beside_the_json(tmp_path: Path) -> None:
    broken = tmp_path / "digits" / "gan-s0-abcdef0123" / "record.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    done = CliRunner().invoke(command_line(), ["report", "--runs", str(tmp_path), "--task", "digits", "--json"])
    assert json.loads(done.stdout)["tables"]
    assert "warning" in done.stderr and "warning" not in done.stdout


def test_report_refuses_two_formats_at_once(bench: Callable[..., Any]) -> None:
    refused = bench("report", "--suite", "table3", "--json", "--format", "csv")
    assert refused.code == 2 and "fix: leave out --format csv" in refused.text


def test_json_is_ascii_and_has_null_for_a_number_that_is_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": (float("inf"), 1.5), "c": "é\x1b[2J", "d": Path("x")})
    text = capsys.readouterr().out
    assert text.isascii() and "\x1b" not in text
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": "é\x1b[2J", "d": "x"}


def test_report_refuses_wide_for_formats_that_have_every_column(bench: Callable[..., Any]) -> None:
    refused = bench("report", "--suite", "table3", "--wide", "--format", "md")
    assert (
        refused.code == 2 and "--wide is for the terminal, and --format md has every column; fix: " in refused.text
    )
