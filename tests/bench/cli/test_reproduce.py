"""`bench reproduce` and `bench report --suite`: what is missing is said first, then all is done that can be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import bare
from jobs_here import run_jobs_here
from tests_support import TINY_PLUGIN

from bench.runs.registry import Catalogue
from bench.runs.suites.plan import SuitePlan
from bench.runs.suites.suite import SuiteScale, SuiteStudent

MINE = """\
title = "Mine"

[scales.micro]
task = "{task}"
{more}
seeds = [0]
columns = ["fd"]
baselines = [{{ sampler = "teacher-ode", label = "Teacher" }}]

[[rows]]
method = "dmd-ttur"
label = "first"
set = {{ iterations = 6, batch_size = 4, warmup = 1 }}

[[rows]]
method = "dmd2"
label = "second"
starts_from = "dmd-ttur"
set = {{ iterations = 4, batch_size = 4, warmup = 1 }}
"""

ELSEWHERE = """\
from dataclasses import replace
from bench_plugin_tiny_task import TINY

PROTOCOL = replace(TINY.protocol, name="elsewhere", samples=60)
OTHER = replace(TINY, name="elsewhere", recipes="tiny", protocol=PROTOCOL)
"""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return run_jobs_here(monkeypatch)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let there be one suite, on a task."""
    monkeypatch.setattr("bench.runs.result_files.RESULTS", tmp_path)

    def write(task: str = "tiny", more: str = "") -> None:
        (tmp_path / "suites").mkdir()
        (tmp_path / "suites" / "mine.toml").write_text(MINE.format(task=task, more=more))

    return write


def test_a_dry_run_at_paper_scale_shows_what_is_missing(bench: Callable[..., Any], tmp_path: Path) -> None:
    cache = ("--cache", str(tmp_path / "empty"))
    reason = bare(bench("reproduce", "table2", "--scale", "paper", "--dry-run", *cache).text)
    for line in (
        "teacher           pipeline: missing; fix: bench prepare --task coco10k --teacher stabilityai",
        "missing; fix: bench prepare --task coco10k --reals FOLDER",
        "missing; fix: bench eval --task coco10k --sampler lightning-4 --download",
        "dmd2-4step: 76.5 GiB on each GPU, plus activations",
        "20000 iterations     4000 generator updates      2560000 training images    ",
        " passes   new",
    ):
        assert line in reason
    reason = bench("reproduce", "table1", "--scale", "paper", "--dry-run", *cache).text
    assert "dmd2, seed 0 (+longer training): waits for dmd-ttur-s0-" in reason
    assert "*cd_imagenet64_lpips: left out; --published FOLDER measures it (huggingface.co/openai" in reason
    assert not (tmp_path / "runs").exists()


def test_nothing_is_run_where_something_is_missing(bench: Callable[..., Any], tmp_path: Path) -> None:
    found = bench("reproduce", "table6", "--scale", "paper", "--cache", str(tmp_path / "empty"))
    assert found.code == 2 and "nothing was run; missing on this machine, each with its fix:" in found.text
    for line in (
        "coco10k, reference: bench prepare --task coco10k --reals FOLDER",
        "partiprompts, prompts: bench prepare --task partiprompts --prompts FILE",
        "partiprompts, turbo-4: bench eval --task partiprompts --sampler turbo-4 --download",
    ):
        assert line in bare(found.text)
    assert not (tmp_path / "runs").exists()


def test_a_row_that_starts_from_another_comes_after_it(
    bench: Callable[..., Any], here: list[str], mine: Callable[..., None], tmp_path: Path
) -> None:
    mine()
    command = ("reproduce", "mine", "--plugin", str(TINY_PLUGIN))
    reason = bench(*command)
    assert reason.code == 0, reason.text
    assert here == ["dmd-ttur on tiny, seed 0", "teacher-ode on tiny", "dmd2 on tiny, seed 0"]
    for label in ("Teacher", "first", "second"):
        (line,) = (line for line in reason.text.splitlines() if line.startswith(f"| {label} "))
        assert "missing" not in line
    assert "Missing results" not in reason.text
    assert (tmp_path / "runs" / "mine-micro.png").read_bytes().startswith(b"\x89PNG")

    again = bench(*command, "--dry-run").text
    assert again.count("finished") == 3 and "waits" not in again
    assert bench(*command).text.count("finished before") == 2
    assert len(here) == 3
    report = bench("report", "--suite", "mine", "--no-committed", "--figure", str(tmp_path / "mine.png"))
    assert "Missing results" not in report.text and (tmp_path / "mine.png").exists()


def test_rows_of_samplers_that_the_task_does_not_have_are_named_with_what_can_be_run(
    bench: Callable[..., Any], mine: Callable[..., None]
) -> None:
    mine("scenes")
    refused = bare(bench("reproduce", "mine", "--dry-run").text)
    assert "suite mine has rows of samplers that task 'scenes' does not have: Teacher (teacher-ode)" in refused
    assert "it has teacher-cfg3, teacher-cfg1; tasks with all of the suite's: coco30k, digits, " in refused
    assert refused.rstrip().endswith("suites/mine.toml with other baselines") and "bench run" not in refused


def test_rows_without_values_of_their_own_run_on_any_task(bench: Callable[..., Any]) -> None:
    refused = bare(bench("reproduce", "table5", "--task", "coco10k", "--dry-run").text)
    assert "have: Teacher, guidance 1 (teacher-cfg1), Teacher, guidance 3 (teacher-cfg3);" in refused
    assert "tasks with all of the suite's: scenes, scenes-flow; fix:" in refused
    assert "bench run --method dmd,dmd-ttur,dmd2 --task coco10k --seed 0,1,2, with the task's own" in refused


def test_students_of_one_task_are_measured_by_another(
    bench: Callable[..., Any], here: list[str], mine: Callable[..., None], tmp_path: Path
) -> None:
    mine("elsewhere", 'trained_on = "tiny"')
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    command = ("reproduce", "mine", "--plugin", str(TINY_PLUGIN), "--plugin", str(tmp_path / "elsewhere.py"))
    reason = bench(*command)
    assert reason.code == 0, reason.text
    assert "dmd2 on tiny, seed 0, measured on elsewhere" in here and "teacher-ode on elsewhere" in here
    assert "### Protocol elsewhere" in reason.text and "missing" not in reason.text
    (record,) = (tmp_path / "runs" / "tiny").glob("dmd2-*/protocols/elsewhere-*.json")
    found = json.loads(record.read_text())
    assert (found["task"], found["metrics"][0]["samples"]) == ("elsewhere", 60)
    done = len(here)
    assert "measured on elsewhere: finished" in bench(*command, "--dry-run").text
    assert bench(*command).code == 0 and len(here) == done


def test_published_students_are_found_by_their_names(catalogue: Catalogue, tmp_path: Path) -> None:
    task = catalogue.tasks.get("tiny")
    students = (SuiteStudent("*_fid1.51_checkpoint", 1, "one"), SuiteStudent("unet_fp16", 4, "four"))
    scale = SuiteScale("mine", "micro", "tiny", (0,), ("fd",), (), published=students)
    plan = SuitePlan(catalogue, scale, task, task, {}, tmp_path / "runs")
    (tmp_path / "imagenet_fid1.51_checkpoint").mkdir()
    (tmp_path / "unet_fp16.bin").touch()
    found = [(student.label, path.name) for student, path in plan.published(tmp_path)]
    assert found == [("one", "imagenet_fid1.51_checkpoint"), ("four", "unet_fp16.bin")]


def test_weights_of_a_baseline_may_be_downloaded_once_its_task_is_chosen(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    """--download alone is refused only while something is missing that bench prepare has to choose."""
    found = bench("eval", "--task", "coco10k", "--sampler", "lcm-4", "--download", "--cache", str(tmp_path))
    assert "fix: bench prepare --task coco10k --download" in bare(found.text)
