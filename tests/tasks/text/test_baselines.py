"""Baselines: what is declared, every file format they come in, and the stock pipelines' own latents."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from text_pipelines import SIDE, normal, save_sd15, save_sdxl
from torch import Tensor

from bench.core.errors import UserError
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.backbones.text import TextPipeline
from bench.models.samplers import SampleNoise, few_step
from bench.models.text.lora import LoRASpec, add_lora, lora_state
from bench.models.text.pipelines import load_pipeline
from tasks.text.baselines import SD15_BASELINES, SDXL_BASELINES, TextBaseline
from tasks.text.sampling import load_baseline, make_scheduler, sample

PROMPTS = ["a red cat", "the dog of a shoe", "a photo"]
SEEDS = [11, 12, 13]
EVERY = [("sd15", name) for name in SD15_BASELINES] + [("sdxl", name) for name in SDXL_BASELINES]
STOCK = [pair for pair in EVERY if pair[1] != "instaflow-1"]
"""The baselines whose sampler is in diffusers."""


def declared(kind: str, name: str) -> TextBaseline:
    """A baseline as it is declared, but for images of the tiny pipelines' size, in ten steps at most."""
    baseline = (SD15_BASELINES if kind == "sd15" else SDXL_BASELINES)[name]
    resolution = SIDE * baseline.resolution // (512 if kind == "sd15" else 1024)
    return replace(baseline, resolution=resolution, steps=min(baseline.steps, 10))


@pytest.fixture(scope="module")
def teachers(sd15_folder: Path, sdxl_folder: Path) -> dict[str, TextPipeline]:
    return {"sd15": load_pipeline(sd15_folder), "sdxl": load_pipeline(sdxl_folder)}


def other_unet(like: UNet2DConditionModel, **settings: Any) -> UNet2DConditionModel:
    """Other weights in a UNet like this one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return UNet2DConditionModel.from_config({**like.config, **settings})


@pytest.fixture(scope="module")
def weights(teachers: dict[str, TextPipeline], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny stand-in for the weights of every baseline, in their published format."""
    folder = tmp_path_factory.mktemp("weights")
    found = {}
    for kind, name in EVERY:
        published, unet = declared(kind, name).weights, teachers[kind].network
        if published is None:
            continue
        path = folder / f"{name}-{published.file or 'folder'}"
        if published.kind == "pipeline":
            (save_sd15 if kind == "sd15" else save_sdxl)(path)
        elif published.kind == "folder":
            other_unet(unet, time_cond_proj_dim=16).save_pretrained(path)
        elif "lora" in (published.file or ""):
            adapted = other_unet(unet)
            adapted.load_state_dict(unet.state_dict())
            add_lora(adapted, LoRASpec(rank=2), StableDiffusionDenoiser.lora_targets)
            with torch.no_grad():
                for seed, (key, parameter) in enumerate(adapted.named_parameters()):
                    if "lora_B" in key:
                        parameter += 0.1 * normal(seed, *parameter.shape)
            save_file(lora_state(adapted), path)
        elif path.suffix == ".bin":
            torch.save(other_unet(unet).half().state_dict(), path)
        else:
            save_file(other_unet(unet).state_dict(), path)
        found[name] = path
    return found


def latents(
    pipeline: TextPipeline, baseline: TextBaseline, seeds: list[int] = SEEDS, prompts: list[str] = PROMPTS
) -> Tensor:
    noise = SampleNoise(seeds, pipeline.latents.shape(baseline.resolution))
    encoder = pipeline.encoder
    return sample(pipeline, baseline, noise, encoder.encode(prompts), encoder.null_condition())


def stock_latents(folder: Path, pipeline: TextPipeline, baseline: TextBaseline) -> Tensor:
    """Return the images of diffusers' own pipeline with this network and scheduler, for the same noise."""
    kind = StableDiffusionXLPipeline if pipeline.encoder.layout.pooled else StableDiffusionPipeline
    stock = kind.from_pretrained(folder, unet=pipeline.network, local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    scheduler = getattr(diffusers, baseline.scheduler)
    stock.scheduler = scheduler.from_config(stock.scheduler.config, **baseline.settings)
    noise = SampleNoise(SEEDS, pipeline.latents.shape(baseline.resolution))
    steps: dict[str, Any] = {"num_inference_steps": baseline.steps}
    if baseline.timesteps:
        steps["timesteps"] = list(baseline.timesteps)
    return stock(
        PROMPTS,
        latents=noise.draw(),
        generator=noise.generators,
        guidance_scale=baseline.guidance_scale,
        height=baseline.resolution,
        width=baseline.resolution,
        output_type="latent",
        **steps,
    ).images


CHANGED = {
    "use_karras_sigmas": True,
    "thresholding": True,
    "clip_sample": True,
    "timestep_spacing": "trailing",
    "steps_offset": 7,
    "set_alpha_to_one": True,
    "final_sigmas_type": "sigma_min",
    "interpolation_type": "log_linear",
    "sigma_max": 3.0,
    "algorithm_type": "sde-dpmsolver++",
    "original_inference_steps": 20,
}
"""Options that a tool may have left in the scheduler file of a teacher's folder."""


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_scheduler_takes_no_option_of_the_teacher_s_folder(
    kind: str, name: str, teachers: dict[str, TextPipeline]
) -> None:
    baseline, own = declared(kind, name), teachers[kind].scheduler
    pipelines = [replace(teachers[kind], scheduler=config) for config in (own, {**own, **CHANGED})]
    schedulers = [make_scheduler(baseline, pipeline) for pipeline in pipelines]
    if baseline.scheduler == "RectifiedFlowScheduler":
        return
    assert dict(schedulers[0].config) == dict(schedulers[1].config)
    assert schedulers[0].config.beta_end == 0.012
    for scheduler in schedulers:
        scheduler.set_timesteps(
            **({"timesteps": [*baseline.timesteps]} if baseline.timesteps else {"num_inference_steps": 4})
        )
    assert torch.equal(schedulers[0].timesteps, schedulers[1].timesteps)


@pytest.mark.parametrize(("kind", "name"), STOCK)
def test_latents_are_the_stock_pipeline_s(
    kind: str,
    name: str,
    teachers: dict[str, TextPipeline],
    weights: dict[str, Path],
    sd15_folder: Path,
    sdxl_folder: Path,
) -> None:
    baseline = declared(kind, name)
    pipeline = load_baseline(baseline, teachers[kind], weights.get(name))
    found = latents(pipeline, baseline)
    expected = stock_latents(sd15_folder if kind == "sd15" else sdxl_folder, pipeline, baseline)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-5)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_sample_does_not_depend_on_its_batch(
    kind: str, name: str, teachers: dict[str, TextPipeline], weights: dict[str, Path]
) -> None:
    baseline = declared(kind, name)
    pipeline = load_baseline(baseline, teachers[kind], weights.get(name))
    together, alone = latents(pipeline, baseline), latents(pipeline, baseline, SEEDS[1:2], PROMPTS[1:2])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-4)
    assert (together[0] - together[1]).abs().max() > 0.1


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_evaluations_are_those_counted(
    kind: str, name: str, teachers: dict[str, TextPipeline], weights: dict[str, Path]
) -> None:
    baseline = declared(kind, name)
    pipeline = load_baseline(baseline, teachers[kind], weights.get(name))
    rows: list[int] = []
    with pipeline.network.register_forward_pre_hook(lambda _, args: rows.append(len(args[0]))):
        latents(pipeline, baseline, SEEDS[:1], PROMPTS[:1])
    assert sum(rows) == baseline.network_evaluations


def test_instaflow_is_one_step_along_the_velocity(
    teachers: dict[str, TextPipeline], weights: dict[str, Path]
) -> None:
    baseline = declared("sd15", "instaflow-1")
    pipeline = load_baseline(baseline, teachers["sd15"], weights["instaflow-1"])
    noise = SampleNoise(SEEDS, (4, 8, 8)).draw()
    embeddings = pipeline.encoder.layout.unpack(pipeline.encoder.encode(PROMPTS))[0]
    with torch.no_grad():
        velocity = pipeline.network(noise, 1000, encoder_hidden_states=embeddings).sample
    torch.testing.assert_close(latents(pipeline, baseline), noise + velocity, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["dmd2-1", "dmd2-4", "dmd2-4-lora"])
def test_dmd2_s_students_are_sampled_as_ours_are(
    name: str, teachers: dict[str, TextPipeline], weights: dict[str, Path]
) -> None:
    """diffusers' LCMScheduler at DMD2's times is denoising and adding fresh noise (DMD2, Sec. 4.4)."""
    baseline = declared("sdxl", name)
    pipeline = load_baseline(baseline, teachers["sdxl"], weights[name])
    with torch.no_grad():
        ours = few_step(
            pipeline.denoiser(),
            SampleNoise(SEEDS, (4, 8, 8)),
            pipeline.encoder.encode(PROMPTS),
            baseline.timesteps or (),
        )
    torch.testing.assert_close(latents(pipeline, baseline), ours, rtol=1e-4, atol=1e-4)


def test_variants_of_the_official_evaluation_differ_in_one_thing() -> None:
    for steps in (1, 4):
        lcm, official = SDXL_BASELINES[f"lcm-{steps}"], SDXL_BASELINES[f"lcm-{steps}-official"]
        assert (lcm.guidance_scale, official.guidance_scale) == (8, 0)
        same = {"name": lcm.name, "summary": lcm.summary, "source": lcm.source}
        assert replace(official, guidance_scale=8.0, **same) == lcm
        turbo, official = SDXL_BASELINES[f"turbo-{steps}"], SDXL_BASELINES[f"turbo-{steps}-official"]
        assert (turbo.resolution, official.resolution) == (512, 1024)
        same = {"name": turbo.name, "summary": turbo.summary, "source": turbo.source}
        assert replace(official, resolution=512, **same) == turbo


def test_forward_passes_of_the_paper_s_tables() -> None:
    """Table 2 counts 100 for the SDXL teacher and the students' steps."""
    counted = {name: baseline.network_evaluations for name, baseline in SDXL_BASELINES.items()}
    assert counted["teacher-cfg6"] == counted["teacher-cfg8"] == 100
    assert counted["lcm-4"] == counted["turbo-4"] == counted["lightning-4"] == counted["dmd2-4"] == 4
    assert counted["lcm-1"] == counted["turbo-1"] == counted["lightning-1"] == counted["dmd2-1"] == 1
    assert SD15_BASELINES["teacher-sde"].network_evaluations == 400
    assert SD15_BASELINES["teacher-ode"].network_evaluations == 102


class TestWhatIsWrong:
    def test_nothing_is_downloaded_unasked(self, teachers: dict[str, TextPipeline]) -> None:
        for name in ("lcm-4", "turbo-1", "lightning-4", "dmd2-4-lora"):
            with pytest.raises(UserError, match=r"is not in the hub's cache.*--download"):
                load_baseline(SDXL_BASELINES[name], teachers["sdxl"])

    def test_a_unet_that_is_told_no_guidance(self, teachers: dict[str, TextPipeline], tmp_path: Path) -> None:
        teachers["sdxl"].network.save_pretrained(tmp_path)
        with pytest.raises(UserError, match=r"'lcm-4' passes a guidance scale .* takes none"):
            load_baseline(SDXL_BASELINES["lcm-4"], teachers["sdxl"], tmp_path)

    def test_a_pipeline_of_the_other_kind(self, teachers: dict[str, TextPipeline], sd15_folder: Path) -> None:
        with pytest.raises(UserError, match="'turbo-1' and the teacher are of different kinds"):
            load_baseline(SDXL_BASELINES["turbo-1"], teachers["sdxl"], sd15_folder)


def test_the_registry_imports_no_torch() -> None:
    code = "import sys, tasks.text.baselines; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
