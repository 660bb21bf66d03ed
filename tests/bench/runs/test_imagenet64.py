"""ImageNet-64 as users run it, with a small network in EDM's format and few real images."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command import output
from diffusers import CMStochasticIterativeScheduler
from edm_files import write_official
from edm_reference import Sizes, random_weights
from given_forms import write_folder
from imagenet_forms import WNIDS, class_folders, edm_zip, official_lmdb, parquet_file
from imagenet_photos import cut
from inception_files import random_inception
from processes import in_processes, started
from tests_support import STANDIN_PLUGIN

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.evaluation import picture as pictures
from bench.features.files import PORT
from bench.models.weights.convert import infer_network, to_diffusers
from bench.models.weights.edm_unet import edm_unet_with
from bench.runs.plan import BaselineRun, Run
from bench.runs.planning import plan_run
from bench.runs.records import load_records, read_record
from bench.runs.registry import load_catalogue
from bench.runs.runner import Runner
from bench.runs.students import training as engine
from bench.runs.task_sources import pinned_task
from bench.task.declaration import Sources
from bench.training.checkpoint import checkpoints
from bench.training.log import read_lines
from tasks.imagenet.task import ImageNetTask

NETWORK = Sizes(side=64, width=128, mult=(1, 1, 1, 1), blocks=1, attention=(8,), classes=3)
ROWS = ("dmd", "dmd2", "gan")
"""Rows of Table 3 that have all its terms between them; the others are switched on or off on the micro tasks."""
RECIPE = {"iterations": 2, "batch_size": 2, "warmup": 2, "lr": 1e-5, "pairs": 4}
"""The least in which both turns come: the student's and the critic's, and the critic's alone."""
KILLED = {name: value for name, value in RECIPE.items() if name != "pairs"} | {"iterations": 12}


def common(recipe: dict[str, float] = RECIPE) -> tuple[str, ...]:
    """Return options of a run that is measured quickly."""
    settings = [part for key, value in recipe.items() for part in ("--set", f"{key}={value}")]
    return ("--task", "standin64", "--protocol", "quick", *settings)


PLUGIN = ("--plugin", str(STANDIN_PLUGIN))
pytestmark = pytest.mark.usefixtures("quick_jobs")
FORMS = {"folders": class_folders, "zip": edm_zip, "lmdb": official_lmdb, "parquet": parquet_file}


def bench(command: str, *arguments: str) -> str:
    """Call a command, with the plug-in where it takes one; a user's mistake is raised."""
    return output(command, *arguments, *(() if command in ("refs", "report") else PLUGIN))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user downloads: images in four forms, EDM's pickle, the Inception."""
    root = tmp_path_factory.mktemp("files")
    samples = cut([(64, 64)], "png", per_class=70)
    for form, write in FORMS.items():
        write(root / form, samples)
    write_official(root / "edm.pkl", random_weights(NETWORK))
    torch.save(random_inception(16), root / PORT.name)
    return root


@pytest.fixture(scope="module")
def where(files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A prepared task: options that name its cache and its runs."""
    root = tmp_path_factory.mktemp("standin")
    cache = ("--cache", str(root / "cache"))
    inception = ("--weights", f"inception={files / PORT.name}", "--own-weights")
    with pytest.raises(UserError, match="not prepared; missing:\n  reference: bench prepare"):
        bench(
            "prepare", "--task", "standin64", "--data", str(files / "folders"), "--teacher",
            str(files / "edm.pkl"), *inception, *cache,
        )  # fmt: skip
    images = root / "cache" / "data" / "standin64-edm" / "images.npy"
    bench(
        "refs",
        "build",
        str(images),
        "--name",
        "reals",
        "--extractor",
        "inception,spatial",
        "--weights",
        f"inception={files / PORT.name}",
        "--own-weights",
        *cache,
    )
    output = bench(
        "prepare", "--task", "standin64", "--reference", "reals", "--reference", "reals-spatial", *cache
    )
    assert {"teacher", "features", "data", "reference", "spatial"} <= {
        line.split()[0] for line in output.splitlines()
    }
    return (*cache, "--runs", str(root / "runs"))


def test_images_need_neither_training_data_nor_a_teacher(where: tuple[str, ...], tmp_path: Path) -> None:
    """Their record is the same where both are pinned, and the plan for students says what they lack."""
    task = pinned_task(load_catalogue([STANDIN_PLUGIN]), "standin64", Path(where[1]), "quick")
    noise = np.random.default_rng(0).integers(0, 256, (task.protocol.samples, 3, 64, 64), dtype=np.uint8)
    images = write_folder(tmp_path / "noise", noise)
    shutil.copytree(where[1], tmp_path / "cache")
    assert isinstance(task, ImageNetTask)
    pinned = task.pinned_path(tmp_path / "cache")
    roles = json.loads(pinned.read_text())
    pinned.write_text(json.dumps(roles | {"data": None, "teacher": None}))
    named = ["--task", "standin64", "--protocol", "quick", "--images", str(images)]
    quick = (*named, "--runs", str(tmp_path / "runs"))
    bench("eval", *quick, "--cache", where[1])
    (record,) = load_records([tmp_path / "runs"]).records
    (tmp_path / "runs").rename(tmp_path / "before")
    bench("eval", *quick, "--cache", str(tmp_path / "cache"))
    (other,) = load_records([tmp_path / "runs"]).records
    assert (record.run_id, record.metrics, record.weights) == (other.run_id, other.metrics, other.weights)
    with pytest.raises(UserError, match=r"enough to measure images: bench eval --task standin64 .* --images PATH"):
        bench("prepare", "--task", "standin64", "--cache", str(tmp_path / "cache"))


def folder(where: tuple[str, ...], stem: str) -> Path:
    """The folder of the one run whose name begins so."""
    (found,) = (Path(where[-1]) / "standin64").glob(f"{stem}-*")
    return found


def test_the_four_forms_of_the_data_give_the_same_images(files: Path, tmp_path: Path) -> None:
    hashes = set()
    for form in FORMS:
        path = files / form if form == "folders" else next((files / form).iterdir())
        cache = tmp_path / form
        with pytest.raises(UserError, match="missing"):  # of all else: the data is packed before
            bench("prepare", "--task", "standin64", "--data", str(path), "--cache", str(cache))
        chosen = json.loads((cache / "chosen" / "standin64.json").read_text())
        hashes.add(chosen["data"]["sha256"])
    assert len(hashes) == 1


def runner_of(where: tuple[str, ...]) -> tuple[Runner, Callable[..., Run]]:
    """A runner of the prepared task in one process of a group, on one thread, and what plans its runs."""
    torch.set_num_threads(1)
    cache, catalogue = Path(where[1]), load_catalogue([STANDIN_PLUGIN])
    task = pinned_task(catalogue, "standin64", cache, "quick")

    def plan(method: str, recipe: dict[str, float]) -> Run:
        return plan_run(catalogue, method, task, recipe, 0, Path(where[-1]))

    return Runner(catalogue, task.prepare(Sources(cache), SilentProgress()), SilentProgress()), plan


@pytest.fixture(scope="module")
def rows(where: tuple[str, ...]) -> None:
    """Rows of Table 3, and the samplers of the teacher: one group of two processes for all."""

    def work() -> None:
        # In these processes alone: a checkpoint has 250 MB, and the teacher's picture takes as long as training.
        engine.CHECKPOINTS_PER_RUN = 1
        pictures.COLUMNS, pictures.ROWS = 2, 1
        runner, plan = runner_of(where)
        for method in ROWS:
            assert runner.run(plan(method, RECIPE)).error is None
        task = plan(ROWS[0], RECIPE).task
        for baseline in task.baselines.values():
            runner.baseline(BaselineRun(task, Path(where[-1]), baseline))

    in_processes(2, work, seconds=1200)


def test_a_run_on_two_processes_is_killed_and_resumed(where: tuple[str, ...], tmp_path: Path) -> None:
    elsewhere = (*where[:2], "--runs", str(tmp_path / "runs"))

    def work() -> None:
        engine.CHECKPOINTS_PER_RUN = 4
        runner, plan = runner_of(elsewhere)
        runner.run(plan("dmd2", KILLED))

    with started(2, work) as killed:
        deadline = time.monotonic() + 300
        while all(process.is_alive() for process in killed) and time.monotonic() < deadline:
            found = list((tmp_path / "runs" / "standin64").glob("dmd2-*/checkpoints"))
            if found and len(checkpoints(found[0])) > 1:
                break
            time.sleep(0.1)
        assert all(process.is_alive() for process in killed)

    bench("run", *common(KILLED), *elsewhere, "--method", "dmd2", "--no-baselines", "--processes", "2")
    lines = read_lines(folder(elsewhere, "dmd2-s0") / "metrics.jsonl")
    assert [line["iteration"] for line in lines if "lr" in line] == [10, 11, 12]  # 11 is a turn of the generator
    assert "UNet2DModel.from_pretrained" in (folder(elsewhere, "dmd2-s0") / "student" / "README.md").read_text()


@pytest.mark.usefixtures("rows")
def test_rows_of_table3_on_two_processes(where: tuple[str, ...]) -> None:
    output = bench("run", *common(), *where, "--method", "dmd", "--no-baselines", "--processes", "2")
    assert f"samples of dmd on standin64, seed 0: {folder(where, 'dmd-s0')}" in output  # trained before
    rows = ("--method", ",".join(ROWS), "--seed", "0", "--processes", "2")
    output = bench("reproduce", "table3", "--scale", "paper", *common(), *rows, *where)
    for method in ROWS:
        assert (folder(where, f"{method}-s0") / "record.json").exists()
    assert "DMD, no regression, TTUR, GAN (DMD2)" in output
    records = [record for record in load_records([Path(where[-1])]).records if record.kind == "method"]
    assert {record.method.name for record in records} == set(ROWS)
    assert {(record.cost.processes, record.cost.iterations) for record in records} == {(2, 2)}


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("protocol", ["imagenet64", "imagenet64-edm", "imagenet64-dmd2-script"])
def test_a_student_is_evaluated_under_the_three_protocols(where: tuple[str, ...], protocol: str) -> None:
    run = folder(where, "dmd2-s0")
    output = bench("eval", "--task", "standin64", "--checkpoint", str(run), "--protocol", protocol, *where)
    assert "FD (inception-own-" in output
    assert ("min of 2" in output) == (protocol == "imagenet64-edm")
    report = bench("report", "--task", "standin64", *where[2:])
    assert f"Protocol {protocol}" in report


def test_published_students_are_measured_in_every_view(where: tuple[str, ...], tmp_path: Path) -> None:
    """The official file format; with spatial statistics chosen, in a cache of its own, sFID comes with it."""
    published = tmp_path / "published"
    published.mkdir()
    torch.save(random_weights(NETWORK, seed=1), published / "pytorch_model.bin")
    cache = ("--cache", str(shutil.copytree(where[1], tmp_path / "cache")))
    assert "spatial" in bench("prepare", "--task", "standin64", "--reference", "reals-spatial", *cache)
    evaluate = ("eval", "--task", "standin64", "--checkpoint", str(published), *cache, *where[2:])
    output = bench(*evaluate)
    for title in ("FD (inception-own-", "sFD (inception-own-", "KID", "Precision", "Recall"):
        assert title in output
    with pytest.raises(UserError, match=f"{published} has no sampler of 2 steps; --steps takes 1"):
        bench(*evaluate, "--steps", "2")


def consistency_model(published: Path) -> Path:
    """Write a consistency model as its authors' pipeline."""
    weights = random_weights(NETWORK, seed=2)
    network = infer_network(weights)
    edm_unet_with(network, to_diffusers(weights, network)).save_pretrained(published / "unet")
    CMStochasticIterativeScheduler().save_pretrained(published / "scheduler")
    (published / "model_index.json").write_text('{"_class_name": "ConsistencyModelPipeline"}')
    return published


def test_a_sweep_measures_published_weights_with_each_number_of_steps(
    where: tuple[str, ...], tmp_path: Path
) -> None:
    published, runs = consistency_model(tmp_path / "cd_imagenet64_l2"), tmp_path / "runs"
    about = ("--protocol", "quick", "--checkpoint", str(published), *where[:2], "--runs", str(runs))
    sweep = ("sweep", "--task", "standin64", *about, "--metric", "fd")
    with pytest.raises(UserError, match="has no sampler of 5 steps"):
        bench(*sweep, "--steps", "1,5")
    assert load_records([runs]).records == []  # refused before the first point was measured
    assert bench(*sweep, "--steps", "1,2", "--dry-run").count(" new") == 2
    output = bench(*sweep, "--steps", "1,2")
    records = load_records([runs]).records
    assert {record.cost.network_evaluations for record in records} == {1, 2} and len(records) == 2
    assert "chosen: cd_imagenet64_l2" in output
    assert bench(*sweep, "--steps", "1,2", "--dry-run").count(" done") == 2
    unsaid = "left: 0 network evaluations, and those of 1 point of unknown cost"
    assert unsaid in bench(*sweep, "--dry-run")  # the steps that its file says are not known before it is read
    assert "chosen: cd_imagenet64_l2" in bench(*sweep)
    assert len(load_records([runs]).records) == 2  # the point with these steps, which was there


@pytest.mark.parametrize(("steps", "times"), [(1, [80]), (2, [80, 1.3823680])])
def test_consistency_models_are_baselines(
    where: tuple[str, ...], tmp_path: Path, steps: int, times: list[float]
) -> None:
    published = tmp_path / "cd_imagenet64_l2"
    published.symlink_to(consistency_model(tmp_path / "0123abcd"))  # as in the hub's cache
    evaluate = ("eval", "--task", "standin64", "--protocol", "quick", "--checkpoint", str(published), *where)
    output = bench(*evaluate, "--steps", str(steps))
    (path,) = (line.removeprefix("record: ") for line in output.splitlines() if line.startswith("record: "))
    record = read_record(Path(path))
    assert (record.kind, record.method.name) == ("baseline", "cd_imagenet64_l2")
    assert record.cost.network_evaluations == steps == len(record.sampler["grid_indices"])
    assert record.sampler["times"] == pytest.approx(times)
    assert record.checkpoint is not None and record.checkpoint.weights == "published"
    assert "cd_imagenet64_l2" in bench("report", "--task", "standin64", *where[2:])


def test_classes_of_the_images_are_those_of_the_task(files: Path, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    for name in WNIDS[:2]:
        (tmp_path / "two" / name).symlink_to(files / "folders" / name)
    with pytest.raises(UserError, match="has 2 classes, not 3"):
        bench("prepare", "--task", "standin64", "--data", str(tmp_path / "two"), "--cache", str(tmp_path / "c"))
