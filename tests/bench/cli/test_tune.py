"""`bench tune`: a grid is run once, its record is written, and `bench reproduce` uses the chosen values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs_here import run_jobs_here
from tests_support import TINY_PLUGIN

from bench.cli.parsing import parse_grid

SUITE = """\
title = "Mine"
[scales.micro]
task = "tiny"
seeds = [0]
columns = ["fd"]
budget = { passes = 400 }
[[rows]]
method = "dmd-ttur"
label = "tuned"
set = { batch_size = 4, warmup = 1 }
tune = { lr = [1e-6, 1e-3] }
[[rows]]
method = "regression"
label = "fixed"
set = { batch_size = 4, pairs = 8 }
"""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Let there be one suite, and call workers in this process; return the labels of those that were."""
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "mine.toml").write_text(SUITE)
    monkeypatch.setattr("bench.runs.result_files.RESULTS", tmp_path)
    monkeypatch.setattr("bench.runs.suites.settled.RESULTS", tmp_path)
    return run_jobs_here(monkeypatch)


def test_a_suite_is_tuned_and_then_reproduced(bench: Callable[..., Any], here: list[str], tmp_path: Path) -> None:
    plugin = ("--plugin", str(TINY_PLUGIN))
    early = bench("reproduce", "mine", *plugin)
    assert early.code == 2 and "not tuned yet on tiny: dmd-ttur; fix: bench tune --suite mine" in early.text

    shown = bench("tune", "--suite", "mine", *plugin, "--dry-run").text
    assert shown.count(" passes   new") == 2 and "  lr=1e-06 " in shown and not here
    tuned = bench("tune", "--suite", "mine", *plugin)
    assert tuned.code == 0 and here == ["dmd-ttur on tiny, seed 100"] * 2, tuned.text
    assert "dmd-ttur on tiny, seed 100: 2 points, 400 passes each, best by fd" in tuned.text
    (path,) = (tmp_path / "runs" / "tuning" / "tiny").iterdir()
    found = json.loads(path.read_text())
    assert found["chosen"] == min(found["points"], key=lambda point: point["value"])["values"]
    assert tuned.text.endswith(f"next: bench reproduce mine --scale micro --plugin {TINY_PLUGIN}\n")
    assert bench("tune", "--suite", "mine", *plugin).text.count("finished before") == 2 and len(here) == 2

    made = bench("reproduce", "mine", *plugin, "--method", "dmd-ttur")
    assert made.code == 0 and here[2:] == ["dmd-ttur on tiny, seed 0"], made.text
    (run,) = (tmp_path / "runs" / "tiny").glob("dmd-ttur-s0-*")
    passed = json.loads((run / "record.json").read_text())["method"]["passed"]
    assert passed["lr"] == found["chosen"]["lr"] and "iterations" in passed
    assert "Equal budget: each training takes at most 400 passes." in made.text
    assert "best of 2 recipes on seed 100 by fd" in made.text and "missing" not in made.text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("", "bench tune takes methods or a suite; fix: --method NAME --grid"),
        ("--method dmd2", "there is nothing to tune; fix: --grid lr=3e-4,1e-3"),
        ("--method dmd2 --grid lr", "--grid takes key=value,value, not 'lr'"),
        ("--method dmd2 --grid lr=1 --grid lr=2", "--grid gives 'lr' twice"),
        ("--method dmd2 --grid lr=1 --set lr=2", "lr is in --set and in --grid; fix: give it once"),
        ("--method dmd2 --grid lr=1 --scale micro", "--scale needs a suite"),
        ("--method dmd2 --grid lr=1 --budget passes", "--budget takes passes=N, images=N .* not 'passes'"),
        ("--method dmd2 --grid lr=1 --budget passes=0", "not 'passes=0': bad budget of passes 0"),
        (
            f"--method dmd2 --grid lr=1 --budget passes={'[' * 9999}",
            r"--budget takes .* not 'passes=\[\[",
        ),
        ("--method dmd2 --grid iterations=1,2 --budget passes=9", "iterations contradict --budget passes=9"),
        ("--suite mine --grid lr=1", "--grid does not go with --suite, whose file says it"),
        ("--suite mine --seed 3", "--seed does not go with --suite"),
        ("--suite mine --method regression", "the rows of regression of suite mine have nothing to tune"),
    ],
)
def test_a_bad_request_is_named(bench: Callable[..., Any], here: list[str], arguments: str, problem: str) -> None:
    found = bench("tune", *arguments.split(), "--plugin", str(TINY_PLUGIN))
    assert found.code == 2 and not here
    assert re.search(problem, found.text)


def test_a_damaged_answer_is_named_before_anything_is_trained(
    bench: Callable[..., Any], here: list[str], tmp_path: Path
) -> None:
    asked = ("tune", "--suite", "mine", "--plugin", str(TINY_PLUGIN))
    path = Path(bench(*asked, "--dry-run").text.partition("400 passes each; ")[2].splitlines()[0])
    path.parent.mkdir(parents=True)
    path.write_text("{")
    found = bench(*asked)
    assert found.code == 2 and "not a complete and valid record of a tuning" in found.text and not here
    assert path.is_relative_to(tmp_path)


@pytest.mark.usefixtures("here")
def test_the_last_line_is_the_command_that_trains_the_chosen_recipe(bench: Callable[..., Any]) -> None:
    options = "--seed 1 --budget passes=400 --set batch_size=4 --set warmup=1 --plugin"
    asked = "--method dmd-ttur --task tiny --grid lr=1e-3"
    last = bench("tune", *asked.split(), *options.split(), str(TINY_PLUGIN)).text.splitlines()[-1]
    assert last.startswith(f"run: bench run --method dmd-ttur --task tiny --plugin {TINY_PLUGIN} --seed 0,2,3 ")


def test_a_protocol_may_be_one_that_is_made_from_the_tasks_own(bench: Callable[..., Any], here: list[str]) -> None:
    asked = "tune --method dmd2 --task digits --grid lr=1e-3 --protocol digits.bf16 --dry-run"
    found = bench(*asked.split())
    assert found.code == 0 and "dmd2 on digits, seed 100: 1 point" in found.text and not here


def test_a_suite_on_another_task_is_tuned_there(bench: Callable[..., Any], here: list[str]) -> None:
    plugin = ("--plugin", str(TINY_PLUGIN))
    given = f"--scale micro --task digits --plugin {TINY_PLUGIN}"
    named = f"bench tune --suite mine {given} --method dmd-ttur"
    assert f"fix: {named}" in bench("reproduce", "mine", "--task", "digits", *plugin).text
    assert f"`{named}`, then `bench reproduce mine {given}`" in (
        bench("report", "--suite", "mine", "--task", "digits", *plugin).text
    )
    assert "dmd-ttur on digits" in bench(*named.split()[1:], "--dry-run").text and not here


def test_a_grid_is_read_like_set() -> None:
    found = parse_grid(
        ["lr=3e-4, 1e-3,1e-3", "dm-range=[0,1],[0.2,0.5]", "regression_distance=mse,lpips", "x=none"]
    )
    assert found == {
        "lr": [3e-4, 1e-3],
        "dm_range": [[0, 1], [0.2, 0.5]],
        "regression_distance": ["mse", "lpips"],
        "x": [None],
    }
