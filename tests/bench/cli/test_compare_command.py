"""`bench compare` from the command line, on the committed records."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Printed

from bench.runs.plan import Run
from bench.runs.states.lock import locked

Bench = Callable[..., Printed]


def test_two_methods_as_markdown(bench: Bench) -> None:
    shown = bench("compare", "dmd2#4e6674", "gan#2f74e7", "--task", "fashion", "--metric", "fd,recall").text
    assert "### FD (fashion-cnn64): difference" in shown
    assert "| 1 − 2 | −7.4 | [−9.5, −5.3] | .0043 | differ at 95 % |" in shown
    assert "| gan_generator_weight | 0.03 | 1.0 |" in shown
    assert "Welch's t over training seeds" in shown and "n = 3 and 3." in shown


def test_json_is_one_object(bench: Bench) -> None:
    data, note = bench("compare", "--suite", "table3", "--json").text.split("\n}\n")
    about, values = note.splitlines()
    assert about.startswith("DMD's regression uses") and "Equal budget: each training takes at most" in about
    assert values.startswith("Left out, by values that the suite sets: dmd2, 3 records: iterations is 1157 and")
    found = json.loads(data + "}")
    assert len(found["sides"]) == 8
    assert [metric["name"] for metric in found["metrics"]] == ["fd", "precision", "recall", "accuracy"]


def test_a_run_without_a_result_is_named_with_its_state_and_the_command_that_goes_on(
    bench: Bench, plan: Callable[..., Run], tmp_path: Path
) -> None:
    run = plan()
    run.begin()
    again = rf"error: tiny/{run.id} has no result yet \(stopped.*\); fix: bench run .*--task tiny"
    for name in (run.id, run.id[:-3], str(run.folder), run.method.name):
        for command in (["compare", name, "gan"], ["scores", name]):
            assert re.search(again, bench(*command, "--task", "tiny", "--runs", str(tmp_path)).text)
    with locked(run.folder):
        said = bench("compare", run.id, "gan", "--runs", str(tmp_path)).text
    assert f"(running); fix: bench wait tiny/{run.id}" in said
    assert "unknown run, method or sampler" in bench("compare", "dmd3", "gan", "--runs", str(tmp_path)).text


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["dmd2"], "takes two or more results; fix:"),
        (["dmd2", "gan"], "fix: choose one: --task digits"),
        (["dmd-ttur", "gam", "--task", "fashion"], "did you mean 'gan'"),
        (
            ["dmd2", "gan", "--task", "fashion"],
            "dmd2 has results of 2 recipes; fix: name one: dmd2#075f52",
        ),
        (["dmd2", "--suite", "table3"], "fix: leave out dmd2, or --suite"),
        (["--suite", "table7"], "unknown suite 'table7'"),
        (["dmd2", "gan", "--scale", "micro"], "--scale needs a suite"),
        (["dmd2", "gan", "--task", "fashion", "--sheet", "a.jpg"], "--sheet takes a .png file"),
        (["dmd-ttur", "gan-ttur", "--task", "fashion", "--level", "95"], "fix: --level 0.95"),
        (["dmd2-s0-b743712f82", "dmd2-s0-dffe68e20e"], "numbers of two protocols are never compared"),
        (["dmd2", "gan", "--no-committed"], "there are no records"),
        (
            ["dmd2", "gan", "--protocol", "fashon"],
            "unknown protocol with records: 'fashon'; did you mean 'fashion'",
        ),
    ],
)
def test_bad_input_is_explained(bench: Bench, words: list[str], problem: str, tmp_path: Path) -> None:
    found = bench("compare", *words, "--runs", str(tmp_path))
    assert found.code == 2
    assert problem in found.text
