"""`bench study`: from two runs to a page, and from raters' files to a line of a table."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import Printed
from PIL import Image
from study_support import Study
from tests_support import TINY_PLUGIN

from bench.core.progress import SilentProgress
from bench.evaluation.image_source import generate
from bench.report.study.images import chosen_samples
from bench.runs.plan import BaselineRun
from bench.runs.planning import plan_run
from bench.runs.registry import Catalogue
from bench.runs.runner import Runner
from bench.task.base import PreparedTask

Bench = Callable[..., Printed]
RECIPE = {"iterations": 10, "batch_size": 4, "warmup": 2}


@pytest.fixture(scope="module")
def made_once(
    catalogue: Catalogue, tiny: PreparedTask, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The folders of a student's run and of a teacher's sampler's, made once."""
    root, runner = tmp_path_factory.mktemp("made") / "runs", Runner(catalogue, tiny, SilentProgress())
    trained = plan_run(catalogue, "dmd2", tiny.task, RECIPE, 0, root)
    runner.run(trained)
    name, baseline = next(iter(tiny.task.baselines.items()))
    sampled = BaselineRun(tiny.task, root, baseline)
    runner.baseline(sampled)
    return {"dmd2": trained.folder, name: sampled.folder}


@pytest.fixture
def runs(made_once: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Both folders, for one test to change."""
    root = tmp_path / "runs"
    shutil.copytree(made_once["dmd2"].parent.parent, root)
    return {name: root / folder.parent.name / folder.name for name, folder in made_once.items()}


def made(bench: Bench, runs: dict[str, Path], out: Path, *more: object) -> Study:
    """Make a study of the two runs."""
    a, b = runs.values()
    printed = bench("study", "make", "--a", a, "--b", b, "--plugin", TINY_PLUGIN, "--out", out, *more)
    assert printed.code == 0, printed.text
    return Study(out, out.with_name(f"{out.name}.key.json"), a.parent.parent)


def test_a_study_from_its_making_to_the_table(bench: Bench, runs: dict[str, Path], tmp_path: Path) -> None:
    study = made(bench, runs, tmp_path / "out", "--prompts", 12)
    paths = [study.sent(name, study.answers(name, range(9))) for name in ("anna", "ben", "cleo")]
    printed = bench("study", "read", *paths, "--key", study.key_path)
    assert printed.code == 0
    assert "9 of 12: 75.0 % [42.8, 94.5], exact" in printed.text
    assert "Fleiss' kappa 1.00" in printed.text
    assert "The paper's studies had 5 raters and 128 pairs; this one has 3 and 12." in printed.text
    assert "preference over teacher-ode ↑" in bench("report", "--task", "tiny", "--no-committed").text
    fewer = bench("study", "read", *paths[:1], "--key", study.key_path)
    assert fewer.text.count("is of the same study with other raters") == 1
    data = json.loads(bench("study", "read", *paths, "--key", study.key_path, "--json").text)
    assert data["questions"][0]["pairs"]["count"] == 9


def test_the_page_shows_what_the_runs_make_of_the_protocols_samples(
    bench: Bench, runs: dict[str, Path], tiny: PreparedTask, tmp_path: Path
) -> None:
    study = made(bench, runs, tmp_path / "out", "--prompts", 12)
    sampler = tiny.sampled(next(iter(tiny.task.baselines.values()))).sampler
    expected = generate(sampler, tiny, tiny.task.protocol, 0, 0, 12).images.numpy()
    shown = re.findall(r'"name": "(\w+)", "prompt": "(\d)", "picture": "([^"]+)"', study.page.read_text("utf-8"))
    assert len(shown) == 12
    for (name, prompt, picture), pair in zip(shown, study.key.pairs, strict=True):
        halves = np.split(np.asarray(Image.open(io.BytesIO(base64.b64decode(picture)))), 2, axis=1)
        assert (name, prompt) == (pair.name, str(pair.sample % 10))
        assert np.array_equal(halves[int(pair.a == "first")], expected[pair.sample, 0])


def test_sheets_serve_without_weights(bench: Bench, runs: dict[str, Path], tmp_path: Path) -> None:
    generated = made(bench, runs, tmp_path / "generated", "--prompts", 12, "--seed", 2**90)
    (runs["dmd2"] / "student").rename(tmp_path / "away")
    taken = made(bench, runs, tmp_path / "taken", "--prompts", 12, "--seed", 2**90, "--sheets")
    assert taken.key.source == "sheets"
    pictures = [re.findall(r'"picture": "([^"]+)"', one.page.read_text("utf-8")) for one in (generated, taken)]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--prompts", "121"], "has 120 samples, not 121; fix: --prompts 120"),
        (["--prompts", "51", "--sheets"], "has 50 images, not 51; fix: --prompts 50"),
        (["--seed", "1"], "could be guessed"),
    ],
)
def test_mistakes_are_told(
    bench: Bench, runs: dict[str, Path], tmp_path: Path, more: list[str], expected: str
) -> None:
    a, b = (folder.name for folder in runs.values())
    printed = bench("study", "make", "--a", a, "--b", b, "--plugin", TINY_PLUGIN, "--out", tmp_path / "out", *more)
    assert printed.code == 2
    assert expected in printed.text
    assert not (tmp_path / "out").exists()


def test_a_run_may_be_named_by_the_beginning_of_its_id(
    bench: Bench, runs: dict[str, Path], tmp_path: Path
) -> None:
    """As in bench compare; what the command prints can be pasted into a shell."""
    options = ["--plugin", TINY_PLUGIN, "--sheets", "--prompts", 5]
    run, sampler = runs.values()
    begun = run.name[:-4]
    printed = bench("study", "make", "--a", begun, "--b", sampler.name, "--out", tmp_path / "my study", *options)
    assert printed.code == 0 and f"page for raters: {tmp_path / 'my study' / 'study.html'}" in printed.text
    assert f"--key '{tmp_path / 'my study.key.json'}'" in printed.text
    printed = bench("study", "make", "--a", run.name, "--b", "teacher-odd", "--out", tmp_path / "out", *options)
    assert "there is no run teacher-odd" in printed.text and f"which has {sampler.name}" in printed.text
    shutil.copytree(run, run.with_name(f"{run.name}-copy"))
    printed = bench("study", "make", "--a", begun, "--b", sampler.name, "--out", tmp_path / "out", *options)
    assert f"{begun} is the beginning of tiny/{run.name}, tiny/{run.name}-copy; fix:" in printed.text


def test_a_run_is_not_compared_with_itself(bench: Bench, runs: dict[str, Path], tmp_path: Path) -> None:
    run = runs["dmd2"]
    assert "are the same run" in bench("study", "make", "--a", run, "--b", run, "--out", tmp_path / "out").text


def test_other_weights_than_those_of_the_record_are_refused(
    bench: Bench, runs: dict[str, Path], tmp_path: Path
) -> None:
    (runs["dmd2"] / "student" / "note.txt").write_text("another file")
    a, b = runs.values()
    where = ("--plugin", TINY_PLUGIN, "--out", tmp_path / "out")
    printed = bench("study", "make", "--a", a, "--b", b, "--prompts", 4, *where)
    assert "are not those that its record is of" in printed.text


def test_distinct_prompts_come_first(tiny: PreparedTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images of each prompt: the first of each prompt, then the second of each."""
    monkeypatch.setattr(tiny, "prompts_of", lambda indices: [f"prompt {i // 4}" for i in indices.tolist()])
    assert chosen_samples(tiny, 30) == list(range(0, 120, 4))
    assert chosen_samples(tiny, 32) == sorted([*range(0, 120, 4), 1, 5])
