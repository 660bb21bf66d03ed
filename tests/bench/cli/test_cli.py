"""The command line as a user meets it: its output, its refusals and its messages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from command import bare
from tests_support import EXAMPLE, TINY_PLUGIN

from bench.runs.plan import Run
from bench.runs.result_files import RESULTS
from bench.runs.runner import Runner
from bench.task.pinned import PinnedAsset
from tasks.imagenet.task import PinnedImageNet
from tasks.imagenet64 import TASK as IMAGENET64

SMALL = ["--set", "iterations=10", "--set", "batch_size=4", "--set", "warmup=2"]


def on_tiny(*more: str) -> list[str]:
    """Arguments of a small run on the tiny task."""
    return ["--task", "tiny", "--plugin", str(TINY_PLUGIN), *more]


@pytest.mark.parametrize("command", [["list"], ["describe", "dmd2", "--task", "fashion"], ["describe", "digits"]])
def test_browsing_does_not_import_torch(command: list[str]) -> None:
    code = (
        "import sys, bench.cli\n"
        f"sys.argv = ['bench', *{command!r}]\n"
        "try: bench.cli.main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'diffusers', 'pandas', 'scipy', 'sklearn'} | {'bench.features.networks.preference'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_list_shows_all_that_is_registered(bench: Callable[..., Any]) -> None:
    found = bench("list").text
    for name in ("dmd2", "dmd-ttur", "gan-ttur", "regression", "digits", "fashion", "kid", "recall", "table3"):
        assert f"  {name} " in found
    assert "dmd2" not in bench("list", "tasks").text


def test_describe_resolves_the_recipe_on_a_task(bench: Callable[..., Any]) -> None:
    at_paper_scale, on_digits = (
        bench("describe", "dmd2").text,
        bench("describe", "dmd2", "--task", "digits").text,
    )
    assert "2e-06" in at_paper_scale and "280" in at_paper_scale
    assert "iterations                          1500" in on_digits


def test_describe_a_task_shows_requirements_and_licences(bench: Callable[..., Any]) -> None:
    found = bench("describe", "digits").text
    for part in (
        "protocol",
        "reference",
        "requirements",
        "licences",
        "CC BY 4.0",
        "teacher-ode",
        "35 network evaluations",
    ):
        assert part in found


def test_names_of_licences_stand_apart_from_them(bench: Callable[..., Any]) -> None:
    assert "  mask2former-coco  MIT" in bench("describe", "geneval").text


def test_doctor_shows_what_is_missing_and_the_fix(bench: Callable[..., Any], tmp_path: Path) -> None:
    found = bench("doctor", "--cache", str(tmp_path / "empty"))
    assert found.code == 0
    assert "MISSING; fix: bench prepare --task digits" in found.text
    assert "  of one task alone: bench describe TASK\n" in found.text


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        (141 << 30, "76.5 GiB and activations, which leaves 64.5 GiB for these"),
        (40 << 30, "too much for it; fix: --processes 2 --set sharding=fsdp2, or a LoRA (dmd2-4step-lora)"),
    ],
)
def test_doctor_tells_what_a_gpu_can_do(
    memory: int, words: str, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    properties = SimpleNamespace(name="A100", total_memory=memory, major=8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 27, 5))
    found = bench("doctor", "--cache", tmp_path / "empty").text
    assert "bf16 and TF32" in found and "dmd2-4step on coco10k" in found and words in found
    assert "cuDNN         91002" in found and "NCCL" in found


def test_doctor_finds_pinned_assets(bench: Callable[..., Any], tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.touch()
    PinnedImageNet.pin(IMAGENET64.pinned_path(tmp_path), teacher=PinnedAsset(str(weights), "0" * 64, "mine"))
    found = bench("doctor", "--cache", tmp_path).text
    assert f"EDM denoiser (mine): {weights}" in found
    assert "training images, packed: MISSING; fix: bench prepare --task imagenet64 --data PATH" in bare(found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--method", "dmd3"], "unknown method 'dmd3'; did you mean 'dmd"),
        (
            ["run", "--method", "mine"],
            "; fix: bench list methods shows what there is; what a plug-in file defines needs",
        ),
        (
            ["describe", "mine"],
            "; fix: bench list shows what there is; what a plug-in file defines needs --plugin FILE",
        ),
        (["run", "--task", "fashon"], "unknown task 'fashon'; did you mean 'fashion' or 'fashion-flow'?"),
        (
            ["run", "--set", "iteration=5"],
            "unknown recipe key 'iteration' of method 'dmd2'; did you mean 'iterations'",
        ),
        (["run", "--set", "iterations=many"], "bad value 'many' for recipe key 'iterations'"),
        (["run", "--method", "dmd-ttur", "--set", "gan_range=[0,1]"], "--set gan_range has no effect"),
        (["run", "--method", ","], "--method takes at least one name"),
        (["run", "--set", "lr=Infinity"], "bad value inf for recipe key 'lr'"),
        (["run", "--set", "iterations=0"], "bad value 0 for recipe key 'iterations'"),
        (["run", "--set", "iterations"], "--set takes key=value"),
        (["run", "--seed", "one"], "--seed takes whole numbers with commas, not 'one'; fix: --seed 0,1,2"),
        (["run", "--seed", "-1"], "--seed takes numbers from 0 to 2147483647, not '-1'; fix: --seed 0,1,2"),
        (["run", "--config", "no.toml"], "no.toml: cannot be read: it is missing; fix: name a file that is there"),
        (["run", "--set", "betas=3"], "it is a list in brackets; fix: write it as --set 'betas=[0.9, 0.999]'"),
        (["refs", "import", __file__], "is neither an .npz file nor a pickle"),
        (["run", "--plugin", "nowhere.py"], "no plug-in file nowhere.py"),
        (["describe", "dmd22"], "did you mean 'dmd2'"),
        (["describe", "dmd22", "--task", "digits"], "unknown name 'dmd22'; did you mean 'dmd2'"),
        (["describe", "fd", "--task", "digits"], "--task needs a method, and 'fd' is not one"),
        (["report", "--suite", "table33"], "unknown suite 'table33'; did you mean 'table3'"),
        (["reproduce", "table3", "--scale", "huge"], "huge"),
        (["eval", "--task", "digits"], "bench eval takes one of --checkpoint PATH, --sampler NAME,"),
        (["eval", "--task", "digits", "--sampler", "teacher-od"], "did you mean 'teacher-ode'"),
        (["eval", "--task", "digits", "--checkpoint", "nowhere"], "student's; fix: bench status lists the runs"),
        (["prepare", "--task", "digits", "--weights", "hps"], "--weights takes NAME=PATH, not 'hps'"),
        (["prepare", "--task", "digits", "--weights", "clpi=a"], "unknown weights 'clpi'; did you mean"),
        (
            ["prepare", "--task", "digits", "--teacher", "a"],
            "'digits' does not use --teacher; fix: leave it",
        ),
        (["prepare", "--task", "coco10k", "--reference", "a", "--crop", "adm"], "not use --reference, --crop;"),
        (["prepare", "--task", "imagenet64", "--training-prompts", "a"], "does not use --training-prompts;"),
        (["prepare", "--task", "digits", *["--weights", "hps=a"] * 2], "--weights gives 'hps' twice"),
        (["report"], "no records in"),
        (["report", "--scale", "paper"], "--scale needs a suite"),
        (["report", "--suite", "table3", "--task", "fashon"], "'fashon'; did you mean 'fashion'"),
    ],
)
def test_a_mistake_is_one_line_with_its_fix(bench: Callable[..., Any], arguments: list[str], message: str) -> None:
    if arguments == ["report"]:
        arguments = ["report", "--no-committed"]
    done = bench(*arguments)
    assert done.code == 2
    error = next(line for line in done.text.splitlines() if line.startswith("error: "))
    assert message in error
    assert any(way in error for way in ("; fix: ", "; did you mean ", "; valid: "))


def test_dry_run_shows_the_plan_and_does_nothing(bench: Callable[..., Any], tmp_path: Path) -> None:
    done = bench("run", *on_tiny("--method", "dmd2,gan", "--seed", "0,1", "--dry-run", *SMALL))
    assert done.code == 0
    planned = [line for line in done.text.splitlines() if line.split()[1:3] == ["10", "iterations"]]
    assert len(planned) == 4 and "teacher-ode" in done.text
    assert not (tmp_path / "runs").exists()


def test_run_trains_evaluates_and_prints_a_table(bench: Callable[..., Any]) -> None:
    command = ["run", *on_tiny("--method", "dmd2", "--jobs", "2", *SMALL)]
    done = bench(*command)
    assert done.code == 0, done.text
    for part in ("dmd2", "teacher-ode", "teacher-sde", "FD (digits-cnn32)", "samples of dmd2 on tiny, seed 0:"):
        assert part in done.text
    picture = next(line.split(": ")[-1] for line in done.text.splitlines() if line.startswith("samples of"))
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    again = bench(*command)
    assert "finished before" in again.text

    student = Path(picture).parent
    evaluated = bench("eval", *on_tiny("--checkpoint", str(student)))
    record = json.loads((student / "record.json").read_text())
    fd = next(metric for metric in record["metrics"] if metric["name"] == "fd")
    assert f"{fd['value']:.6g}" in evaluated.text  # a saved student evaluates to what its record says

    csv = bench("report", "--task", "tiny", "--format", "csv", "--no-committed").text
    assert repr(fd["value"]) in csv  # full precision


def test_an_outside_distiller_runs_and_appears_in_the_table(bench: Callable[..., Any]) -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60
    done = bench(
        "run",
        *on_tiny(
            "--plugin", str(EXAMPLE), "--method", "my-consistency", "--no-baselines", "--set", "iterations=4"
        ),
    )
    assert done.code == 0, done.text
    assert "my-consistency" in bench("report", "--task", "tiny", "--no-committed").text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise RuntimeError('my fault')", "RuntimeError: my fault"),
        ("def broken(:", "SyntaxError"),
        ("x = 1", "defines nothing to register"),
        (
            "from bench.training.distiller import Distiller\nclass Half(Distiller): pass",
            "does not define training_step",
        ),
        ("import no_such_package", "No module named 'no_such_package'"),
    ],
)
def test_a_broken_plugin_is_named(bench: Callable[..., Any], tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    done = bench("list", "--plugin", str(path))
    assert done.code == 2 and str(path) in done.text and message in done.text


def test_a_failing_run_does_not_take_others_with_it(bench: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from bench.training.distiller import Distiller\n"
        "class Failing(Distiller):\n"
        "    name = 'failing'\n"
        "    def __init__(self, recipe, context):\n"
        "        super().__init__(recipe, context)\n"
        "        self.add_student()\n"
        "    def training_step(self, batch):\n"
        "        raise RuntimeError('out of luck')\n"
    )
    arguments = ["--plugin", str(path), "--method", "failing,gan", "--no-baselines", "--set", "iterations=4"]
    done = bench("run", *on_tiny(*arguments, "--set", "batch_size=4"))
    assert "out of luck" in done.text
    table = bench("report", "--task", "tiny", "--no-committed").text
    assert "failed: RuntimeError" in table
    assert any(line.startswith("| gan") and "failed" not in line for line in table.splitlines())


def test_report_names_a_damaged_record_and_goes_on(
    bench: Callable[..., Any], plan: Callable[..., Run], runner: Runner, tmp_path: Path
) -> None:
    good, bad = plan("dmd2", root=tmp_path / "runs"), plan("gan", root=tmp_path / "runs")
    runner.run(good)
    bad.folder.mkdir(parents=True)
    bad.record.write_text("{")
    done = bench("report", "--task", "tiny", "--no-committed", "--figure", str(tmp_path / "figure.png"))
    assert f"warning: {bad.record}" in done.text
    assert "dmd2" in done.text
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_draws_the_committed_logs_too(bench: Callable[..., Any], tmp_path: Path) -> None:
    figure = tmp_path / "figure.png"
    bench("report", "--suite", "table3", "--runs", str(tmp_path / "none"), "--figure", str(figure))
    assert figure.read_bytes().startswith(b"\x89PNG")
    (sampler,) = (RESULTS / "records" / "digits").glob("teacher-ode-*.json")
    (tmp_path / "runs" / "digits" / sampler.stem).mkdir(parents=True)
    shutil.copy(sampler, tmp_path / "runs" / "digits" / sampler.stem / "record.json")
    own = ("--runs", str(tmp_path / "runs"), "--no-committed")
    done = bench("report", "--task", "digits", *own, "--figure", str(figure))
    assert done.code == 2 and "have a training log to draw; fix: leave out --figure" in done.text


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--task", "imagenet64", "--dry-run"],
        ["reproduce", "table3", "--scale", "paper"],
        ["eval", "--task", "imagenet64", "--sampler", "teacher-ode"],
    ],
)
def test_what_a_run_is_made_from_is_chosen_before_it_is_planned(
    bench: Callable[..., Any], command: list[str], tmp_path: Path
) -> None:
    found = bench(*command, "--data", str(tmp_path / "images"), "--download")
    assert found.code == 2
    assert f"fix: bench prepare --task imagenet64 --data {tmp_path / 'images'} --download" in found.text
    assert not (tmp_path / "runs").exists()
