"""ImageNet-256 as users run it, on tiny files of SiT and DiT: from `bench prepare` to `bench report`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from class_transformers import official_weights, tiny_pipeline, tiny_transformer, tiny_vae
from command import output
from diffusers import FlowMatchEulerDiscreteScheduler
from imagenet_forms import class_folders
from imagenet_photos import cut
from inception_files import random_inception
from processes import started
from text_pipelines import save_sd15

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.features.files import PORT
from bench.models.backbones.dit import DiTDenoiser, SiTDenoiser
from bench.models.saved import load_denoiser
from bench.models.weights.class_transformers import load_class_transformer
from bench.runs.planning import plan_run
from bench.runs.records import load_records
from bench.runs.registry import load_catalogue
from bench.runs.runner import Runner
from bench.runs.students import training as engine
from bench.runs.task_sources import pinned_task
from bench.task.declaration import Sources
from bench.training.checkpoint import checkpoints
from bench.training.log import read_lines

PLUGIN = Path(__file__).parents[2] / "plugins" / "standin_imagenet256.py"
TASKS = {"sit": "standin-sit", "dit": "standin-dit"}
RECIPE = {"iterations": 20, "batch_size": 2, "warmup": 2, "lr": 1e-5, "guidance_scale": 1.5}
SETTINGS = [part for key, value in RECIPE.items() for part in ("--set", f"{key}={value}")]
pytestmark = pytest.mark.usefixtures("quick_jobs")


def bench(command: str, *arguments: object) -> str:
    """Call a command, with the plug-in where it takes one; a user's mistake is raised."""
    plugin = () if command in ("refs", "report") else ("--plugin", PLUGIN)
    return output(command, *arguments, *plugin)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user downloads: images, an official SiT, DiT's pipeline, SD's VAE, the Inception, ADM's reference."""
    root = tmp_path_factory.mktemp("files")
    class_folders(root / "images", cut([(40, 48), (32, 32)], "png", per_class=7))
    torch.save(official_weights(classes=3, width=384, layers=1), root / "SiT.pt")
    pipeline = tiny_pipeline()
    pipeline.register_modules(transformer=tiny_transformer(classes=3))
    pipeline.save_pretrained(root / "DiT")
    tiny_vae().save_pretrained(root / "vae")
    torch.save(random_inception(16), root / PORT.name)
    return root


def weights(files: Path) -> tuple[object, ...]:
    return ("--weights", f"inception={files / PORT.name}", "--own-weights")


@pytest.fixture(scope="module")
def where(files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Both tasks prepared: options that name their cache and their runs."""
    root = tmp_path_factory.mktemp("standin256")
    cache = ("--cache", root / "cache")
    build = ("refs", "build", files / "images", "--size", "32", "--name", "reals", "--extractor", "inception")
    bench(*build, *weights(files), *cache)
    own = {
        "sit": ("--teacher", files / "SiT.pt", "--weights", f"vae={files / 'vae'}"),
        "dit": ("--teacher", files / "DiT"),
    }
    for kind, task in TASKS.items():
        printed = bench(
            "prepare", "--task", task, "--data", files / "images", "--reference", "reals", *own[kind],
            *weights(files), *cache,
        )  # fmt: skip
        assert {"teacher", "vae", "features", "data", "reference"} <= {
            line.split()[0] for line in printed.splitlines() if line.strip()
        }
    return (*cache, "--runs", root / "runs")


def run_folder(where: tuple[object, ...], task: str) -> Path:
    (found,) = Path(str(where[-1]), task).glob("dmd2-s0-*")
    return found


def test_latents_are_those_of_the_vae_and_labels_those_of_the_folders(where: tuple[object, ...]) -> None:
    cache = Path(str(where[1]))
    one, other = (path.parent for path in (cache / "data").glob("*/latents.npy"))
    latents = np.load(one / "latents.npy")
    assert latents.shape == (21, 4, 8, 8) and latents.dtype == np.float16
    assert (one / "captions.jsonl").read_text().split() == [f'"{i // 7}"' for i in range(21)]
    manifest = json.loads((one / "manifest.json").read_text())
    assert "ADM" in manifest["encoding"]["images"]["crop"] and manifest["encoding"]["scaling"] == 0.18215
    assert np.array_equal(latents, np.load(other / "latents.npy")), "both VAEs have the same weights"


def test_a_run_is_killed_and_resumed(where: tuple[object, ...]) -> None:
    """What a job does, in a process of its own; the second is the command's own."""
    cache, runs = Path(str(where[1])), Path(str(where[-1]))

    def work() -> None:
        engine.CHECKPOINTS_PER_RUN = 10
        torch.set_num_threads(1)
        catalogue = load_catalogue([PLUGIN])
        task = pinned_task(catalogue, TASKS["sit"], cache)
        runner = Runner(catalogue, task.prepare(Sources(cache), SilentProgress()), SilentProgress())
        runner.run(plan_run(catalogue, "dmd2", task, RECIPE, 0, runs))

    with started(1, work) as killed:
        deadline = time.monotonic() + 300
        while killed[0].is_alive() and time.monotonic() < deadline:
            found = list((runs / TASKS["sit"]).glob("dmd2-*/checkpoints"))
            if found and len(checkpoints(found[0])) > 1:
                break
            time.sleep(0.02)
        assert killed[0].is_alive()
    bench("run", "--task", TASKS["sit"], "--method", "dmd2", "--no-baselines", *SETTINGS, *where)
    lines = read_lines(run_folder(where, TASKS["sit"]) / "metrics.jsonl")
    trained = [line["iteration"] for line in lines if "lr" in line]
    assert trained[-1] == 20 and trained[0] > 1, "it continued after its last checkpoint"


@pytest.mark.parametrize("kind", TASKS)
def test_a_student_and_the_teacher_are_measured_and_shown(kind: str, where: tuple[object, ...]) -> None:
    task = TASKS[kind]
    bench("run", "--task", task, "--method", "dmd2", *SETTINGS, *where)
    folder = run_folder(where, task)
    family = {"sit": SiTDenoiser, "dit": DiTDenoiser}[kind]
    student = load_denoiser(folder / "student", family).denoiser
    assert student.sample_shape == (4, 8, 8)
    assert student.frequencies == {"sit": "official", "dit": "diffusers"}[kind]
    printed = bench("eval", "--task", task, "--checkpoint", folder, "--protocol", "imagenet256-adm", *where)
    assert "FD (inception-own-" in printed
    report = bench("report", "--task", task, *where[2:])
    for name in ("dmd2", *load_catalogue([PLUGIN]).tasks.get(task).baselines):
        assert name in report
    records = load_records([Path(str(where[-1]))]).records
    found = {one.method.name: one for one in records if one.kind == "baseline" and one.task == task}
    assert {metric.name for metric in found["teacher-unguided"].metrics} >= {"fd", "is", "precision", "recall"}
    if kind == "sit":
        interval = found["teacher-interval"]
        assert (interval.sampler["guidance_scale"], interval.sampler["guidance_levels"]) == (1.8, [0.0, 0.7])
        # Times 1, 0.5 and 0.5: two of three evaluations have guidance.
        assert interval.cost.network_evaluations == 5


def test_a_task_that_misses_its_vae_says_so(files: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none is pinned; fix: .*--weights vae=FOLDER .*, before --data"):
        bench("prepare", "--task", TASKS["sit"], "--data", files / "images", "--cache", tmp_path)
    with pytest.raises(UserError, match=r"missing:\n  vae: bench prepare .*\n  data: .*\n  features"):
        bench("prepare", "--task", TASKS["sit"], "--teacher", files / "SiT.pt", "--cache", tmp_path)


@pytest.mark.parametrize("kind", TASKS)
def test_latency_needs_the_teacher_and_its_vae_alone(kind: str, files: Path, tmp_path: Path) -> None:
    named = ("--task", TASKS[kind], "--cache", tmp_path)
    sampler = next(iter(load_catalogue([PLUGIN]).tasks.get(TASKS[kind]).baselines))
    timed = ("latency", *named, "--sampler", sampler, "--repetitions", 2, "--warm-up", 0)
    with pytest.raises(UserError) as missing:
        bench(*timed)
    assert [line.split()[0] for line in str(missing.value).splitlines()[1:]] == ["vae:", "teacher:"]
    own = ("--teacher", files / "DiT")
    if kind == "sit":
        own = ("--teacher", files / "SiT.pt", "--weights", f"vae={files / 'vae'}")
    with pytest.raises(UserError, match="not prepared; missing:\n  data: "):
        bench("prepare", *named, *own)
    assert "2 images after 0 untimed ones" in bench(*timed)


def test_nothing_of_a_pipeline_that_is_refused_is_pinned(files: Path, tmp_path: Path) -> None:
    """A pipeline brings its VAE."""
    others = {"is a pipeline of DiT": files / "DiT", "sd15 is a StableDiff": save_sd15(tmp_path / "sd15")}
    for said, other in others.items():
        with pytest.raises(UserError, match=said):
            bench("prepare", "--task", TASKS["sit"], "--teacher", other, "--cache", tmp_path)
        assert not load_catalogue([PLUGIN]).tasks.get(TASKS["sit"]).pinned_path(tmp_path).exists()


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    torch.save(official_weights(classes=4, width=384, layers=1), tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt is a network for 4 classes, but task 'standin-sit' has 3"):
        bench("prepare", "--task", TASKS["sit"], "--teacher", tmp_path / "other.pt", "--cache", tmp_path)


def test_a_pipeline_of_the_other_family_is_refused(files: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a pipeline of DiT, variance preserving, by its scheduler DDIM"):
        load_class_transformer(files / "DiT", "sit")
    pipeline = tiny_pipeline()
    pipeline.register_modules(scheduler=FlowMatchEulerDiscreteScheduler())
    pipeline.save_pretrained(tmp_path / "SiT")
    assert isinstance(load_class_transformer(tmp_path / "SiT", "sit").denoiser, SiTDenoiser)
    with pytest.raises(UserError, match="is a pipeline of SiT, a rectified flow, by its scheduler FlowMatch"):
        load_class_transformer(tmp_path / "SiT", "dit")


def test_the_published_folder_names_the_former_class(tmp_path: Path) -> None:
    tiny_transformer(classes=3).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "_class_name": "Transformer2DModel", "num_vector_embeds": None}))
    assert load_class_transformer(tmp_path, "dit").denoiser.classes == 3
