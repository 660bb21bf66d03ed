"""The examples of plug-in files, run as they describe: a metric with its own network, a data set from a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command import Printed
from PIL import Image
from safetensors.torch import save_file
from stopped_sources import Noted
from tests_support import TINY_PLUGIN
from text_pipelines import SIDE, save_sd15

from bench.core.errors import UserError
from bench.core.files import file_sha256
from bench.core.imports import load_class
from bench.core.progress import SilentProgress
from bench.runs.plugins.kinds import ROWS, Kind
from bench.runs.registry import load_catalogue
from bench.task.declaration import Sources
from bench.task.protocol import MAIN

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXTURE, CIFAR10, TEXT_TASK = (EXAMPLES / f"{name}.py" for name in ("texture", "cifar10", "text_task"))
HTML, ONE_BY_ONE, BACKBONE = (EXAMPLES / f"{name}.py" for name in ("html_report", "one_by_one", "backbone"))
PLUGINS = ("--plugin", TEXTURE, "--plugin", TINY_PLUGIN)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    """Each shows one idea; a method with everything, and a family with a task of its own, are longer."""
    assert len(path.read_text().splitlines()) <= {"moment_matching": 140, "backbone": 110}.get(path.stem, 60)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_registered_in_a_python_that_has_imported_nothing_else(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bench.runs.registry import load_catalogue\n"
        "load_catalogue([Path(sys.argv[1])])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.name)
def test_a_kind_names_its_types_where_they_are_defined(kind: Kind) -> None:
    """A plug-in imports the type from there, and perhaps nothing else."""
    for path in filter(None, (kind.instances, kind.classes)):
        assert path == f"{load_class(path).__module__}:{load_class(path).__qualname__}"


def test_a_metric_brings_its_network_and_is_measured_with_the_protocols_own(
    bench: Callable[..., Printed], tmp_path: Path
) -> None:
    evaluate = ("eval", *PLUGINS, "--task", "tiny", "--sampler", "teacher-ode", "--metric", "fd,texture")
    reason = bench(*evaluate).text
    assert "the weights 'texture', which feature extractor 'texture' reads, are not pinned; fix: bench" in reason
    filters = torch.randn(5, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    save_file({"filters": filters}, tmp_path / "texture.safetensors")
    named = ("--weights", f"texture={tmp_path / 'texture.safetensors'}")
    assert "texture " in bench("prepare", *PLUGINS, "--task", "tiny", *named).text
    reason = bench(*evaluate).text
    assert "Texture distance" in reason and "KID" not in reason
    (path,) = (tmp_path / "runs" / "tiny").glob("*/record.json")
    plugins = json.loads(path.with_name("run.json").read_text())["plugins"]  # bench records pack takes them
    assert plugins == {str(one.absolute()): file_sha256(one) for one in (TEXTURE, TINY_PLUGIN)}
    record = json.loads(path.read_text())
    assert record["protocol"]["name"] == "tiny.fd+texture" and record["protocol"]["metrics"] == ["fd", "texture"]
    network = record["protocol"]["extractors"]["texture"]
    assert network.startswith("texture, plug-in ") and ", weights " in network
    value = next(metric for metric in record["metrics"] if metric["name"] == "texture")
    assert value["value"] > 0 and value["direction"] == "lower"


def test_the_network_of_a_metric_is_listed_with_its_weights_and_licence(bench: Callable[..., Printed]) -> None:
    assert "texture" in bench("list", "extractors", *PLUGINS[:2]).text
    reason = bench("describe", "spatial").text
    assert "2,023 features" in reason and "bench weights get inception" in reason and "Apache-2.0" in reason


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder like CIFAR-10's: ten classes with twelve and four images of 32 pixels each."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for name in load_catalogue([CIFAR10]).tasks.get("cifar10").class_names:
            (tmp_path / "cifar" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "cifar" / split / name / f"{i}.png")
    return tmp_path / "cifar"


def small_cifar(cache: Path):
    """Return the example's task with networks that train in a second, with the images of the cache."""
    task = load_catalogue([CIFAR10]).tasks.get("cifar10")
    return replace(
        task,
        network=replace(task.network, channels=(16,), patch_size=4, attention_head_dim=16),
        teacher=replace(task.teacher, iterations=2, batch_size=4),
        classifier=replace(task.classifier, epochs=1, width=2, batch_size=10),
    ).located(cache)


def test_a_folder_of_images_is_a_class_conditional_task(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(UserError, match=r"no images of the data set 'cifar10'.* fix: bench prepare .*cifar10\.py"):
        small_cifar(cache).prepare(Sources(cache), SilentProgress())
    task = small_cifar(cache).pin(Sources(cache, data=folder), SilentProgress())
    assert task.train_sha256 and small_cifar(cache).train_sha256 == task.train_sha256
    assert [one.role for one in task.requirements(Sources(cache)) if one.path is None] == [
        "teacher",
        "features",
    ]
    prepared = small_cifar(cache).prepare(Sources(cache), SilentProgress())
    assert prepared.real_count == 120 and prepared.references[MAIN].description.samples == 40
    images, labels = prepared.real_batch(torch.tensor([0, 119]), torch.device("cpu"))
    assert labels.tolist() == [0, 9] and images.shape == (2, 3, 32, 32)
    first = np.asarray(Image.open(folder / "train" / "airplane" / "0.png"), np.float32)
    torch.testing.assert_close(images[0], torch.from_numpy(first).permute(2, 0, 1) / 127.5 - 1)


def test_what_is_lost_or_left_out_of_a_folder_is_told(folder: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (30, 40), (9, 9, 9, 100)).save(folder / "train" / "cat" / "0.png")
    for name in ("train/notes.txt", "test/cat/.hidden.png", "train/Thumbs.db"):
        (folder / name).write_bytes(b"")
    (folder / "train" / "__MACOSX").mkdir()
    progress = Noted()
    small_cifar(tmp_path / "cache").pin(Sources(tmp_path / "cache", data=folder), progress)
    assert progress.notes[-2:] == [
        "cifar10: 120 + 40 images of 10 classes packed, "
        "4 skipped (1 .txt files, 1 Thumbs.db, 1 __MACOSX, 1 hidden files)",
        "160 images: 1 smaller than the resolution and enlarged; 1 with transparency, which was dropped",
    ]


def test_a_folder_that_does_not_fit_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def refused() -> str:
        with pytest.raises(UserError) as caught:
            small_cifar(cache).pin(Sources(cache, data=folder), SilentProgress())
        return str(caught.value)

    (folder / "test" / "truck").rename(folder / "test" / "lorry")
    assert "the class 'lorry' is in one split alone; fix: " in refused()
    (folder / "test" / "lorry").rename(folder / "test" / "truck")
    (folder / "train" / "cat" / "0.png").write_bytes(b"no image")
    assert str(folder / "train" / "cat" / "0.png") in refused()
    (folder / "train" / "cat" / "0.png").rename(folder / "train" / "0.png")
    assert "0.png is in no folder of a class; fix: put it at" in refused()
    (folder / "train" / "0.png").unlink()
    for split in ("train", "test"):
        (folder / split / "zebra").mkdir()
        Image.new("RGB", (40, 50)).save(folder / split / "zebra" / "0.png")
    task = small_cifar(cache).pin(Sources(cache, data=folder), SilentProgress())
    with pytest.raises(UserError, match=r"have 11 classes, but task 'cifar10' names 10; fix: "):
        task.prepare(Sources(cache), SilentProgress())


def test_a_text_task_is_prepared_from_a_pipeline_captioned_images_and_prompts(tmp_path: Path) -> None:
    """Its metrics read pixels and no network; images are as small as the tiny teacher's."""
    found = load_catalogue([TEXT_TASK]).tasks.get("my-text")
    text = replace(found.protocol.text, resolution=SIDE, compared_at=SIDE)
    protocol = replace(found.protocol, text=text)
    task = replace(found, image_shape=(3, SIDE, SIDE), protocol=protocol, protocols={protocol.name: protocol})
    sources = Sources(tmp_path / "cache")
    assert [one.role for one in task.missing(sources)] == ["teacher", "latents", "prompts", "reals"]
    (tmp_path / "images").mkdir()
    for i in range(3):
        Image.new("RGB", (40, 30), (80 * i, 0, 0)).save(tmp_path / "images" / f"{i}.png")
        (tmp_path / "images" / f"{i}.txt").write_text(f"red {i}\n")
    (tmp_path / "prompts.txt").write_text("a red dog\na cat\n")
    named = replace(sources, teacher=save_sd15(tmp_path / "sd15"), data=tmp_path / "images")
    named = replace(named, prompts=tmp_path / "prompts.txt", reals=tmp_path / "images")
    prepared = task.pin(named, SilentProgress()).prepare(sources, SilentProgress())
    assert prepared.real_count == prepared.reference_images().count == 3 and not prepared.extractors
    assert prepared.prompts_of(torch.tensor([0, 1, 2])) == ["a red dog", "a cat", "a red dog"]
    assert prepared.task.protocol.reference.startswith("3 images of images, sha256 ")
    prepared.task = replace(prepared.task, published_indices={})
    with pytest.raises(UserError, match=r"'my-text' does not say at which times .*lora; fix: published_indices="):
        prepared.load_student(tmp_path / "lora")


def test_a_renderer_writes_a_page_in_which_text_from_records_is_escaped(bench: Callable[..., Printed]) -> None:
    page = bench("report", "--suite", "table3", "--plugin", HTML, "--format", "plain-html").text
    assert page.startswith("<!doctype html>") and page.count("<table>") == page.count("</table>") == 1
    assert "DMD&#x27;s regression" in page
    # Nothing is bold where a row has one training seed, as in Table 3; in Figure 8 a lead is shown.
    assert "<td><b>" in bench("report", "--suite", "figure8", "--plugin", HTML, "--format", "plain-html").text
    assert (
        "unknown renderer 'htm'; did you mean 'html'" in bench("report", "--plugin", HTML, "--format", "htm").text
    )
    assert "one HTML page" in bench("list", "renderers", "--plugin", HTML).text


def test_an_executor_does_a_run_that_is_then_finished(bench: Callable[..., Printed], tmp_path: Path) -> None:
    plugins = ("--plugin", ONE_BY_ONE, "--plugin", TINY_PLUGIN)
    options = ("--task", "tiny", "--no-baselines", "--set", "iterations=4", "--executor", "one-by-one")
    first = bench("run", *plugins, *options)
    assert first.code == 0 and len(list((tmp_path / "runs" / "tiny").glob("dmd2-s0-*/record.json"))) == 1, (
        first.text
    )
    refused = bench("run", *plugins, *options, "--detach")
    assert refused.code == 2 and "takes no options" in refused.text


ODD_EXECUTOR = """
from bench.jobs.executor import Executor

class Odd(Executor):
    name = "odd"

    @classmethod
    def create(cls, settings, options):
        return cls()

    def execute(self, runs, baselines):
        return {returned}

    def evaluate(self, specs, task): ...
"""


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("None", "'odd' returned NoneType; fix: let execute() return a list"),
        ("[]", "'odd' returned no dmd2 on tiny, seed 0; fix: let execute() return all that it was given"),
        ("[*runs, 1]", "'odd' returned something that it was not given"),
    ],
)
def test_an_executor_that_returns_no_list_of_all_runs_is_named(
    returned: str,
    said: str,
    bench: Callable[..., Printed],
    tmp_path: Path,
    tiny: object,  # noqa: ARG001
) -> None:
    (tmp_path / "odd.py").write_text(ODD_EXECUTOR.format(returned=returned))
    plugins = ("--plugin", tmp_path / "odd.py", "--plugin", TINY_PLUGIN)
    done = bench("run", *plugins, "--task", "tiny", "--no-baselines", "--executor", "odd")
    assert done.code == 2 and said in done.text


def test_an_executor_that_makes_none_is_named(bench: Callable[..., Printed], tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ODD_EXECUTOR.replace("return cls()", "cls()"))
    done = bench("run", "--plugin", tmp_path / "odd.py", "--task", "digits", "--executor", "odd", "--dry-run")
    assert done.code == 2 and "'odd' was made as NoneType; fix: let its create() return an Executor" in done.text


def test_a_renderer_that_returns_no_text_is_named(bench: Callable[..., Printed], tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "from bench.report.renderer import Renderer\nclass Odd(Renderer):\n    name, summary = 'odd', ''\n"
        "    def render(self, tables, layout): ...\n"
    )
    done = bench("report", "--suite", "table3", "--plugin", tmp_path / "odd.py", "--format", "odd")
    assert done.code == 2 and "renderer 'odd' returned NoneType; fix: let render() return a text" in done.text


def test_a_family_of_backbones_comes_from_a_plug_in_file() -> None:
    catalogue = load_catalogue([BACKBONE])
    assert catalogue.registries["backbone"].get("pixel-transformer").name == "pixel-transformer"
