"""Baselines of flow transformers: what is declared, and the samplers that diffusers' pipelines do not have."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flux_networks import SIDE, save_flux
from sana_pipelines import tiny_sprint
from torch import Tensor

from bench.models.backbones.sana import sprint_times
from bench.models.backbones.text import TextPipeline
from bench.models.samplers import SampleNoise, few_step
from bench.models.text.pipelines import load_pipeline
from tasks.flow_text import TEACHER, TEACHERS
from tasks.text.baselines import HubWeights
from tasks.text.flow_baselines import FLUX, SANA, SD35_LARGE, FlowBaseline
from tasks.text.sampling import load_baseline, sample

EVERY = [baseline for teacher in TEACHERS for baseline in teacher.baselines.values()]
PROMPTS, SEEDS = ["a red cat", "a dog"], [11, 12]


def latents(pipeline: TextPipeline, baseline: FlowBaseline, resolution: int) -> Tensor:
    baseline = replace(baseline, resolution=resolution)
    noise = SampleNoise(SEEDS, pipeline.latents.shape(resolution))
    encoder = pipeline.encoder
    return sample(pipeline, baseline, noise, encoder.encode(PROMPTS), encoder.null_condition())


@pytest.mark.parametrize("baseline", EVERY, ids=lambda one: one.name)
def test_each_says_where_its_settings_and_its_weights_are_from(baseline: FlowBaseline) -> None:
    assert baseline.source and baseline.resolution == 1024
    assert (baseline.weights is None) == baseline.name.startswith(TEACHER)
    if baseline.weights is not None:
        assert baseline.weights.licence and baseline.weights.repository.count("/") >= 1
    if baseline.sigmas is not None:
        assert len(baseline.sigmas) == baseline.steps and baseline.sigmas[0] == 1


def test_forward_passes_of_each() -> None:
    """Two for a step with guidance; a scale that the network takes as an input costs none."""
    counted = {
        teacher.key: {name: one.network_evaluations for name, one in teacher.baselines.items()}
        for teacher in TEACHERS
    }
    assert counted["sd35"] == {"teacher": 80}
    assert counted["sd35-large"] == {"teacher": 80, "turbo-4": 4, "senseflow-4": 4, "senseflow-4-euler": 4}
    assert counted["sana"] == {"teacher": 40, "sprint-2-1.6b": 2, "sprint-2-0.6b": 2}
    flux = {"teacher": 50, "teacher-25": 25, "schnell-4": 4, "hyper-8": 8, "hyper-16": 16}
    flux |= {"turbo-alpha-8": 8, "turbo-alpha-4": 4, "senseflow-4": 4, "senseflow-4-euler": 4}
    assert counted["flux"] == flux


def test_senseflow_s_students_are_sampled_as_ours_are(tmp_path: Path) -> None:
    """Each step adds fresh noise to the predicted image, at the shifted times 1, 3/4, 1/2 and 1/4.

    Its network has no input for guidance, though its teacher's has one.
    """
    student = save_flux(tmp_path / "student", guidance_embeds=False) / "transformer"
    teacher = load_pipeline(save_flux(tmp_path / "dev"))
    pipeline = load_baseline(FLUX["senseflow-4"], teacher, student)
    noise = SampleNoise(SEEDS, pipeline.latents.shape(2 * SIDE))
    with torch.no_grad():
        condition = pipeline.encoder.encode(PROMPTS)
        ours = few_step(pipeline.denoiser(2 * SIDE), noise, condition, [999, 749, 499, 249])
    torch.testing.assert_close(latents(pipeline, FLUX["senseflow-4"], 2 * SIDE), ours, rtol=1e-4, atol=1e-4)


def test_sana_sprint_takes_its_own_times_and_scale(tmp_path: Path) -> None:
    tiny_sprint().save_pretrained(tmp_path)
    pipeline, baseline = load_pipeline(tmp_path), SANA["sprint-2-1.6b"]
    assert baseline.sigmas == pytest.approx(sprint_times(2), abs=1e-6)
    denoiser, noise = pipeline.denoiser(32), SampleNoise(SEEDS, pipeline.latents.shape(32))
    with torch.no_grad():
        condition = pipeline.encoder.encode(PROMPTS)
        first, second = (torch.full((2,), time) for time in sprint_times(2))
        x0 = denoiser(noise.draw(), first, condition)
        ours = denoiser(denoiser.schedule.add_noise(x0, noise.draw(), second), second, condition)
    torch.testing.assert_close(latents(pipeline, baseline, 32), ours, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["senseflow-4", "senseflow-4-euler"])
def test_a_sample_does_not_depend_on_its_batch(name: str, tmp_path: Path) -> None:
    baseline = replace(FLUX[name], weights=None, resolution=2 * SIDE)
    pipeline = load_pipeline(save_flux(tmp_path / "student", guidance_embeds=False))
    together = latents(pipeline, baseline, 2 * SIDE)
    noise = SampleNoise(SEEDS[1:], pipeline.latents.shape(2 * SIDE))
    null = pipeline.encoder.null_condition()
    alone = sample(pipeline, baseline, noise, pipeline.encoder.encode(PROMPTS[1:]), null)
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)


def test_weights_may_lie_in_a_folder_of_their_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *place: asked.append(place))
    weights = SD35_LARGE["senseflow-4"].weights
    assert weights is not None and weights.cached() is None
    assert asked == [("domiso/SenseFlow", "SenseFlow-SD35L/transformer/config.json")]
    assert HubWeights("pipeline", "stabilityai/sdxl-turbo").place == ("stabilityai/sdxl-turbo", "")


def test_the_tasks_import_no_torch() -> None:
    code = "import sys, tasks.flow_text; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
