"""`bench sweep`: points are measured once on seeds of their own, one is chosen, and it alone is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import bare
from tests_support import TINY_PLUGIN

from bench.runs.runner import Runner

PLUGIN = ("--task", "tiny", "--plugin", str(TINY_PLUGIN))


def found(runs: Path) -> dict[str, Any]:
    """Read the record of the only sweep."""
    (path,) = (runs / "sweeps").glob("*.json")
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def test_a_sweep_goes_on_where_it_stopped_and_its_choice_is_reported(
    bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, measured = tmp_path / "runs", list[str]()
    whole = Runner.baseline

    def stopped_once(runner: Runner, run: Any) -> Any:
        measured.append(run.id)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return whole(runner, run)

    monkeypatch.setattr(Runner, "baseline", stopped_once)
    command = ("sweep", *PLUGIN, "--steps", "1,2", "--churn", "0,10", "--metric", "fd,recall")
    dry = bench(*command, "--dry-run")
    assert dry.code == 0 and dry.text.count(" new") == 4 and not runs.exists()
    assert "seeds 240 to 359, which no reported number uses (tiny: 0 to 239)" in dry.text
    assert bench(*command).code == 130
    assert bench(*command, "--dry-run").text.count(" done") == 1
    done = bench(*command)
    assert done.code == 0 and len(measured) == 5 and measured[1] == measured[2]
    sweep = found(runs)
    assert sweep["protocol"]["name"] == "tiny.fd+recall.sweep-120" and sweep["reported"] is None
    assert sweep["selection_seeds"] == [240, 359] and sweep["reported_seeds"] == [0, 239]
    records = [json.loads((runs / point["record"]).read_text()) for point in sweep["points"]]
    assert all(record["protocol"]["first_seed"] == 240 for record in records)
    best = min(sweep["points"], key=lambda point: (point["metrics"]["fd"], point["evaluations"]))
    assert sweep["points"][sweep["chosen"]] == best and f"chosen: {best['name']}" in done.text
    assert f"next: bench eval --task tiny --plugin {TINY_PLUGIN}" in done.text
    assert f"next: bench eval --task tiny --sampler {best['name']}" in bare(done.text)

    reported = bench(*command, "--report")
    assert len(measured) == 6 and "reported under tiny: fd" in reported.text
    record = json.loads((runs / found(runs)["reported"]["record"]).read_text())
    assert record["protocol"]["name"] == "tiny" and record["protocol"]["first_seed"] == 0
    assert record["run_id"] in bench("eval", *PLUGIN, "--sampler", best["name"]).text
    again = bench(*command, "--report")
    assert again.code == 0 and len(measured) == 7  # the last was that of bench eval


def test_a_point_can_be_repeated_by_the_names_of_its_protocol_and_its_sampler(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    assert bench("sweep", *PLUGIN, "--steps", "1,2", "--metric", "fd").code == 0
    sweep = found(tmp_path / "runs")
    point = sweep["points"][0]
    again = bench("eval", *PLUGIN, "--protocol", "tiny.fd.sweep-120", "--sampler", point["name"])
    assert again.code == 0 and f"record: {tmp_path / 'runs' / point['record']}" in again.text


def test_students_are_points_with_records_beside_their_runs(bench: Callable[..., Any], tmp_path: Path) -> None:
    values = [part for one in ("iterations=2", "batch_size=4", "warmup=1", "pairs=8") for part in ("--set", one)]
    ran = bench("run", "--method", "regression", *PLUGIN, *values)
    assert ran.code == 0, ran.text
    (run,) = (tmp_path / "runs" / "tiny").glob("regression-*")
    command = ("sweep", *PLUGIN, "--checkpoint", str(run), "--steps", "1", "--report")
    done = bench(*command)
    assert done.code == 0, done.text
    sweep = found(tmp_path / "runs")
    (point,) = sweep["points"]
    assert point["values"] == {"checkpoint": str(run), "steps": 1} and point["evaluations"] == 1
    assert point["record"].startswith(f"tiny/{run.name}/protocols/tiny.sweep-120-")
    assert sweep["reported"]["record"] == f"tiny/{run.name}/record.json"  # the run's own, which was there
    assert bench(*command, "--dry-run").text.count(" done") == 1
    assert "--guidance is for samplers of the teacher" in bench(*command, "--guidance", "1,2").text
    more = bench("sweep", *PLUGIN, "--checkpoint", str(run), "--steps", "2")
    assert more.code == 2 and "takes 1 step and no others; fix: --steps 1" in more.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "there is nothing to vary; fix: --steps 4,8,16"),
        (("--steps", "8:1:1"), "--steps 8:1:1 is empty"),
        (("--steps", "1", "--solver", "heum"), "'heum'; did you mean 'heun'"),
        (("--steps", "1", "--sampler", "teacher"), "unknown sampler 'teacher'"),
        (("--steps", "1", "--choose", "highest fd"), "takes the worst point"),
        (("--steps", "1", "--choose", "lowest patch-fd"), "unknown quantity in --choose 'patch-fd'"),
        (("--steps", "1", "--samples", "121"), "--samples 121 is more than the 120"),
        (("--steps", "1", "--student-start", "80"), "--student-start goes with --checkpoint"),
        (("--steps", "1", "--protocol", "tny"), "unknown protocol of task 'tiny'"),
        (("--guidance", "1,2"), "has no null condition, so that it has no guidance"),
    ],
)
def test_what_cannot_be_swept_is_refused(bench: Callable[..., Any], options: tuple[str, ...], said: str) -> None:
    done = bench("sweep", *PLUGIN, *options)
    assert done.code == 2 and said in done.text, done.text


def test_a_rule_that_no_point_meets_is_an_error_after_the_results(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    rule = "lowest fd with fd<=0"
    done = bench("sweep", *PLUGIN, "--steps", "1,2", "--metric", "fd", "--choose", rule)
    assert done.code == 2 and f"no point meets the rule {rule!r}" in done.text
    assert found(tmp_path / "runs")["chosen"] is None


def test_a_report_reads_a_sweep_back(bench: Callable[..., Any], tmp_path: Path) -> None:
    done = bench("sweep", *PLUGIN, "--steps", "1,2", "--metric", "fd")
    (path,) = (tmp_path / "runs" / "sweeps").glob("*.json")
    shown = bench("report", "--sweep", path, "--figure", tmp_path / "frontier.png")
    table = shown.text.partition("figure:")[0]
    assert shown.code == 0 and table in bare(done.text) and (tmp_path / "frontier.png").is_file()
    assert bench("report", "--sweep", path, "--format", "csv").text == path.with_suffix(".csv").read_text()
    assert json.loads(bench("report", "--sweep", path, "--json").text) == json.loads(path.read_text())
    assert "--task does not go with --sweep" in bench("report", "--sweep", path, "--task", "tiny").text
    assert "the table of a sweep is md or csv" in bench("report", "--sweep", path, "--format", "tex").text
