"""Sampling of text-to-image baselines with their schedulers; each sample has its own noise."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.backbones.text import TextPipeline
from bench.models.samplers import SampleNoise
from bench.models.text.hub import from_hub
from bench.models.text.lora import Note
from bench.models.text.pipelines import load_pipeline, named_pipeline
from bench.models.text.published import load_published
from bench.models.weights.folders import unknown_options
from tasks.text.baselines import HubWeights, TextBaseline
from tasks.text.flow_baselines import FlowBaseline


class RectifiedFlowScheduler:
    """The scheduler of InstaFlow's pipeline: Euler steps of a rectified flow whose sign diffusers does not have.

    The network predicts the velocity from noise to image, at times 1000, 1000 - 1000 / N, ...
    """

    init_noise_sigma = 1.0

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str = "cpu") -> None:
        """Set steps of equal length from noise to image."""
        self.length = 1 / num_inference_steps
        self.timesteps = 1000 * (1 - self.length * torch.arange(num_inference_steps, device=device))

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002 (diffusers' interface)
        """Return the sample unchanged."""
        return sample

    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, return_dict: bool) -> tuple[Tensor]:  # noqa: ARG002
        """Return the sample after one step along the velocity."""
        return (sample + self.length * model_output,)


def make_scheduler(baseline: TextBaseline, pipeline: TextPipeline) -> Any:
    """Make a baseline's scheduler, with the noise schedule and the prediction type of its pipeline's own.

    Every other option is fixed: by the baseline's `settings`, or by the scheduler file of the published model.
    Raises UserError if the schedule is of an unknown kind.
    """
    if baseline.scheduler == RectifiedFlowScheduler.__name__:
        return RectifiedFlowScheduler()
    kind = getattr(diffusers, baseline.scheduler)
    options = pipeline.family.scheduler_options(pipeline, baseline.resolution)
    known = inspect.signature(kind.__init__).parameters
    return kind(**{key: value for key, value in options.items() if key in known} | dict(baseline.settings))


@torch.no_grad()
def sample(
    pipeline: TextPipeline, baseline: TextBaseline, noise: SampleNoise, condition: Tensor, null_condition: Tensor
) -> Tensor:
    """Sample latents [B, C, h, w] (x0, scaled) for conditions [B, K], as diffusers' own pipelines do.

    The first noise and every later draw of a sample come from its own generator in `noise`, whose shape is
    `pipeline.latents.shape(baseline.resolution)`, so that samples do not depend on their batch. Everything runs
    on the device of `pipeline.network` and `condition`. `null_condition` is [1, K].
    """
    scheduler, denoiser = make_scheduler(baseline, pipeline), pipeline.denoiser(baseline.resolution)
    scheduler.set_timesteps(**_steps(baseline, pipeline), device=condition.device)
    renoises = isinstance(baseline, FlowBaseline) and baseline.fresh_noise
    accepted = inspect.signature(scheduler.step).parameters
    random = {"generator": noise.generators} if "generator" in accepted else {}
    conditions = torch.cat([null_condition.expand_as(condition), condition]) if baseline.guided else condition
    # A flow's own scheduler scales neither the noise nor the network's inputs.
    latents = noise.draw().to(condition.device) * getattr(scheduler, "init_noise_sigma", 1.0)
    scaled = getattr(scheduler, "scale_model_input", lambda x, _: x)
    for step, t in enumerate(scheduler.timesteps):
        x = scaled(latents, t)
        predicted = denoiser.predict(
            torch.cat([x, x]) if baseline.guided else x,
            t.expand(len(conditions)),
            conditions,
            baseline.guidance_scale if baseline.embedded_guidance else None,
        ).float()  # draws in half precision would be different numbers
        if baseline.guided:
            unconditional, conditional = predicted.chunk(2)
            predicted = unconditional + baseline.guidance_scale * (conditional - unconditional)
        if renoises:
            now, later = scheduler.sigmas[step : step + 2].tolist()
            x0 = latents - now * predicted
            latents = (1 - later) * x0 + later * noise.draw().to(x0.device) if later else x0
        else:
            latents = scheduler.step(predicted, t, latents, **random, return_dict=False)[0]
    return latents


def _steps(baseline: TextBaseline, pipeline: TextPipeline) -> dict[str, Any]:
    """Return the arguments of the scheduler's `set_timesteps`."""
    steps = pipeline.family.step_options(pipeline, baseline.resolution, baseline.steps)
    if baseline.timesteps is not None:
        return {"timesteps": list(baseline.timesteps)}
    if isinstance(baseline, FlowBaseline) and baseline.sigmas is not None:
        kept = {key: value for key, value in steps.items() if key != "num_inference_steps"}
        return {**kept, "sigmas": list(baseline.sigmas)}
    return steps


def load_baseline(
    baseline: TextBaseline,
    teacher: TextPipeline,
    path: Path | None = None,
    download: bool = False,
    note: Note | None = None,
) -> TextPipeline:
    """Return the pipeline of a baseline: the teacher's with another network, or its own.

    `path` is a local copy of its weights; without it they come from the hub's cache, or with `download` from the
    hub. `note` is called with what its file does not specify. Raises UserError if something is missing or does not
    fit.
    """
    weights = baseline.weights
    if weights is None:
        return teacher
    if weights.kind == "pipeline":
        named = named_pipeline(path or Path(weights.repository), download)
        pipeline = load_pipeline(named, download)
        _say(unknown_options(named), note)
    elif weights.kind == "folder":
        folder = path or _folder(weights, download)
        pipeline = replace(teacher, network=teacher.family.read_network(folder))
        _say(unknown_options(folder), note)
    else:
        file = path or _file(weights, download)
        network = load_published(file, teacher.family, teacher.network, note)
        if isinstance(baseline, FlowBaseline) and baseline.lora_scale != 1:
            _scale_change(network, teacher.network, baseline.lora_scale)
        pipeline = replace(teacher, network=network)
    if _kind(pipeline) != _kind(teacher):
        raise UserError(
            f"the weights of {baseline.name!r} and the teacher are of different kinds: {_kind(pipeline)} and "
            f"{_kind(teacher)}; fix: name the baseline's own weights"
        )
    if pipeline.family.takes_guidance(pipeline.network) != baseline.embedded_guidance:
        passes, takes = ("passes", "none") if baseline.embedded_guidance else ("does not pass", "one")
        raise UserError(
            f"baseline {baseline.name!r} {passes} a guidance scale to the network, but that of "
            f"{path or weights.repository} takes {takes}; fix: name the baseline's own weights"
        )
    return pipeline


def _say(lines: Iterable[str], note: Note | None) -> None:
    if note is not None:
        for line in lines:
            note(line)


@torch.no_grad()
def _scale_change(network: nn.Module, teacher: nn.Module, scale: float) -> None:
    """Multiply by `scale` what a network's weights differ from the teacher's, such as a LoRA that was added."""
    for own, base in zip(network.parameters(), teacher.parameters(), strict=True):
        own.copy_(torch.lerp(base, own, scale))


def weights_sha256(network: nn.Module) -> str:
    """Return the hash of a network's tensors with their names, which does not depend on their file's format."""
    hasher = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        hasher.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        hasher.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def _kind(pipeline: TextPipeline) -> str:
    layout = pipeline.encoder.layout
    return f"family {pipeline.family.name!r} with embeddings of {layout.width} and {layout.pooled} numbers"


def _folder(weights: HubWeights, download: bool) -> Path:
    """Return the folder of a network in the hub's cache: its repository's, or one in it."""
    repository, folder = weights.place
    files = [f"{folder}{name}" for name in ("config.json", "*_model*.safetensors", "*.safetensors.index.json")]
    return from_hub(repository, download, files) / folder


def _file(weights: HubWeights, download: bool) -> Path:
    assert weights.file is not None
    return from_hub(weights.repository, download, [weights.file]) / weights.file
