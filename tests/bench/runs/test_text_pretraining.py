"""SDXL's one-step student as in the paper: pairs of the teacher, regression through a tiny VAE, then DMD2."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny, EulerDiscreteScheduler, StableDiffusionXLPipeline
from processes import in_processes
from text_pipelines import taesd
from text_standin import CATALOGUE, choose_sdxl, declared
from torchvision.models.vgg import cfgs, make_layers

from bench.core.errors import UserError
from bench.core.files import file_sha256
from bench.core.progress import SilentProgress
from bench.models.samplers import SampleNoise
from bench.runs.plan import Run
from bench.runs.planning import plan_run
from bench.runs.record import Record
from bench.runs.runner import Runner
from bench.task.declaration import Sources
from bench.task.pairs import PAIR_SEED
from bench.task.pinned import pin_assets, read_pinned
from methods import perceptual

QUICK = {"iterations": 1, "batch_size": 1, "precision": "fp32", "teacher_precision": "fp32"}


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which a tiny SDXL, three captioned images and prompts were chosen, and no tiny VAE."""
    return choose_sdxl(tmp_path_factory.mktemp("pretraining"))


@pytest.fixture
def cache(chosen: Path, tmp_path: Path) -> Path:
    """A test's own copy of it."""
    return shutil.copytree(chosen, tmp_path / "cache")


def planned(method: str, cache: Path, **recipe: object) -> Run:
    return plan_run(CATALOGUE, method, declared(cache), {**QUICK, **recipe}, 0, cache.parent / "runs")


def trained(run: Run, cache: Path) -> Record:
    world = declared(cache).prepare(Sources(cache), SilentProgress())
    record = Runner(CATALOGUE, world, SilentProgress()).run(run)
    assert record.error is None, record.error
    return record


def test_pretraining_and_then_dmd2(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = tmp_path / "vgg16.pth"
    torch.save(make_layers(cfgs["D"]).state_dict(prefix="features."), trunk)
    monkeypatch.setattr(perceptual, "VGG16", replace(perceptual.VGG16, sha256=file_sha256(trunk)))
    lpips = {"lpips_weights": trunk, "pairs": 3}
    with pytest.raises(UserError, match=r"bench prepare --task standin-sdxl.* --tiny-vae madebyollin/taesdxl"):
        trained(planned("regression", cache, **lpips), cache)
    assert not (cache / "pairs").exists()  # it is said before hours are spent on them
    others = planned("dmd2-4step", cache).id

    choose_tiny_vae(cache, tmp_path / "taesd")
    run = planned("regression", cache, **lpips)
    record = trained(run, cache)
    assert record.sampler["times"] == [399]
    assert {"teacher pairs", "tiny_vae"} <= {asset.role for asset in record.data}
    second = trained(planned("dmd2", cache, init_from=run.folder), cache)
    assert second.sampler["times"] == [399] and second.data[-1].role == "initial weights"
    assert second.method.recipe["init_from"] == second.method.passed["init_from"] == run.folder.name
    assert record.method.recipe["lpips_weights"] == trunk.name  # records name no folder of the machine

    choose_tiny_vae(cache, tmp_path / "another")
    assert planned("regression", cache, **lpips).id != run.id
    assert planned("regression", cache, regression_distance="mse").id == mse_name(cache, tmp_path)
    assert planned("dmd2-4step", cache).id == others  # which has nothing to do with it


def choose_tiny_vae(cache: Path, folder: Path) -> None:
    taesd().save_pretrained(folder)
    declared(cache).pin(Sources(cache, tiny_vae=folder), SilentProgress())


def mse_name(cache: Path, root: Path) -> str:
    """What regression to the latents themselves is called where no tiny VAE was chosen."""
    without = shutil.copytree(cache, root / "without" / "cache")
    choice = declared(without).pinned_path(without)
    roles = read_pinned(choice)
    del roles["tiny_vae"]
    choice.unlink()
    pin_assets(choice, roles)
    return planned("regression", without, regression_distance="mse").id


def test_a_tiny_vae_that_changed_or_does_not_fit_is_refused(cache: Path, tmp_path: Path) -> None:
    choose_tiny_vae(cache, tmp_path / "taesd")
    weights = tmp_path / "taesd" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    world = declared(cache).prepare(Sources(cache), SilentProgress())
    with pytest.raises(
        UserError, match=r"taesd has changed since bench prepare pinned it; fix: run bench prepare"
    ):
        world.pixels()
    AutoencoderTiny(latent_channels=4).save_pretrained(tmp_path / "taesd8")
    declared(cache).pin(Sources(cache, tiny_vae=tmp_path / "taesd8"), SilentProgress())
    world = declared(cache).prepare(Sources(cache), SilentProgress())
    with pytest.raises(UserError, match=r"latents \[4, 2, 2\] of images of 16 pixels, .* \[4, 8, 8\]"):
        world.pixels()


def test_pairs_are_what_the_stock_pipeline_makes_and_go_on_after_a_kill(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Euler's steps with trailing times at guidance 8 (official code), on the captions of the training data."""
    world = declared(cache).prepare(Sources(cache), SilentProgress())
    with monkeypatch.context() as patch:
        patch.setattr(type(world), "pair_batch", 2)
        with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
            killed.setattr("bench.task.pairs._join", stop)
            world.pairs(3)
        patch.setattr("tasks.text.prepared.sample", None)  # all are there: nothing is sampled again
        noise, latents, conditions = world.pairs(3)
    assert torch.equal(noise, SampleNoise([PAIR_SEED + i for i in range(3)], (4, 8, 8)).draw())
    captions = [f"photograph {i}" for i in range(3)]
    torch.testing.assert_close(conditions, world.pipeline.encoder.encode(captions))
    stock = StableDiffusionXLPipeline.from_pretrained(
        declared(cache).pinned["teacher"].path, local_files_only=True
    )
    stock.scheduler = EulerDiscreteScheduler.from_config(stock.scheduler.config, timestep_spacing="trailing")
    stock.set_progress_bar_config(disable=True)
    size = {"height": 16, "width": 16, "num_inference_steps": 2, "guidance_scale": 8.0}
    expected = stock(captions, **size, latents=noise, output_type="latent").images
    torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-4)


def stop(*_arguments: object) -> None:
    raise KeyboardInterrupt


def test_several_processes_make_each_pair_once(cache: Path, tmp_path: Path) -> None:
    world = declared(cache).prepare(Sources(cache), SilentProgress())
    world.pair_batch = 1
    alone = world.pairs(5)
    shutil.rmtree(cache / "pairs")
    made = tmp_path / "made"

    def work() -> None:
        conditions = world.pair_conditions

        def noted(indices: torch.Tensor) -> torch.Tensor:
            with made.open("a") as lines:
                lines.write(f"{indices.tolist()}\n")
            return conditions(indices)

        world.pair_conditions = noted  # type: ignore[method-assign]
        for found, expected in zip(world.pairs(5), alone, strict=True):
            assert torch.equal(found, expected)

    in_processes(2, work)
    assert sorted(made.read_text().split()) == [f"[{i}]" for i in range(5)]
