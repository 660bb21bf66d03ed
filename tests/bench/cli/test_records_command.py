"""`bench records check` and `pack` as a contributor meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Printed
from example_records import COMMITTED, EXAMPLE, changed

COMMAND = {"provenance.argv": ["bench", "run", "--runs", "/home/alice/\x1b[31mruns"]}


def run_folder(tmp_path: Path, values: dict[str, object]) -> Path:
    """Make the folder of a finished run in this test's runs."""
    folder = tmp_path / "runs" / "digits" / EXAMPLE["run_id"]
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    (folder / "record.json").write_text(json.dumps(changed(EXAMPLE, values)))
    return folder


def test_the_committed_records_pass(bench: Callable[..., Printed]) -> None:
    done = bench("records", "check", COMMITTED / "digits")
    assert done.code == 0
    assert "14 records: 0 errors, 0 warnings" in done.text
    assert "protocol 'digits', as task 'digits' declares it here" in done.text


def test_a_finding_is_a_line_with_file_level_value_and_fix(bench: Callable[..., Printed], tmp_path: Path) -> None:
    folder = run_folder(tmp_path, COMMAND)
    done = bench("records", "check", tmp_path / "runs")
    assert done.code == 1
    line = next(line for line in done.text.splitlines() if "error" in line)
    assert line.startswith(f"{folder}/record.json: error: provenance.argv.3 has control characters")
    assert "; fix: " in line and "\x1b" not in done.text
    assert "1 record: 2 errors" in done.text


def test_json_has_every_finding(bench: Callable[..., Printed], tmp_path: Path) -> None:
    folder = run_folder(tmp_path, COMMAND)
    done = bench("records", "check", "--json", folder)
    (one,) = json.loads(done.text)["records"]
    assert done.code == 1 and not one["accepted"] and one["protocol_known"]
    assert (one["run_id"], one["task"]) == (EXAMPLE["run_id"], "digits")
    assert [finding["level"] for finding in one["findings"]] == ["error", "error", "note"]


def test_pack_then_check_the_bundle(bench: Callable[..., Printed], tmp_path: Path) -> None:
    run_folder(tmp_path, {})
    bundle = tmp_path / "mine.zip"
    done = bench("records", "pack", "dmd2", "--task", "digits", "--out", bundle)
    assert done.code == 0, done.text
    assert f"{bundle}: 1 record, 0 sample sheets, 0 with curves, 0 with scores" in done.text
    checked = bench("records", "check", bundle)
    assert checked.code == 0 and f"{bundle}/digits/{EXAMPLE['run_id']}.json: note: " in checked.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pack", "gan"], "no run or method 'gan'"),
        (["pack", "dmd2"], "these are not packed:"),
        (["pack", "dmd2", "--allow", "smoky"], "unknown state for --allow 'smoky'; did you mean 'smoke'?"),
        (["check", "nowhere.zip"], "no file or folder nowhere.zip"),
    ],
)
def test_a_mistake_is_an_error_with_its_fix(
    bench: Callable[..., Printed], tmp_path: Path, arguments: list[str], message: str
) -> None:
    run_folder(tmp_path, COMMAND)
    done = bench("records", *arguments)
    assert done.code == 2 and message in done.text
