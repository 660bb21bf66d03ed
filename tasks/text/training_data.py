"""The data on which a text-to-image task's students are trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import digest
from bench.data.text.packed import PackedLatents, open_latents
from bench.models.backbones.text import TextPipeline
from bench.models.text.conditions import PromptConditions
from bench.task.assets import PreparedAsset
from bench.task.verified import verified
from tasks.text.prompts import kept_prompts
from tasks.text.sampling import weights_sha256
from tasks.text.task import LATENTS, TRAINING_PROMPTS, TextTask


@dataclass(frozen=True)
class TrainingData:
    """The training data of a text-to-image task's students."""

    latents: PackedLatents
    """The latents of real images."""
    captions: PromptConditions
    """The captions of the real images."""
    prompts: PromptConditions
    """The prompts to generate images for: a separate list, or the captions, as in the official multi-step runs."""
    prompts_sha256: str


def open_training(task: TextTask, pipeline: TextPipeline, used: list[PreparedAsset]) -> TrainingData:
    """Open the pinned training data, and add its assets to `used`.

    Raises UserError if it has changed since it was pinned, or if another VAE than the teacher's made the latents.
    """
    pinned = task.pinned
    latents = open_latents(Path(pinned[LATENTS].path))
    manifest = latents.manifest
    used.append(verified(LATENTS, pinned[LATENTS], digest(manifest.sha256), manifest.altered))
    _check_vae(task, pipeline, latents)
    captions = PromptConditions(pipeline.encoder, latents.captions)
    if TRAINING_PROMPTS not in pinned:
        return TrainingData(latents, captions, captions, pinned[LATENTS].sha256)
    own, _ = kept_prompts(Path(pinned[TRAINING_PROMPTS].path))
    used.append(verified(TRAINING_PROMPTS, pinned[TRAINING_PROMPTS], own.sha256))
    return TrainingData(latents, captions, PromptConditions(pipeline.encoder, own.prompts), own.sha256)


def _check_vae(task: TextTask, pipeline: TextPipeline, latents: PackedLatents) -> None:
    """Raise UserError unless the teacher's VAE made the latents; the teacher may have been pinned later."""
    space, manifest, encoding = pipeline.latents, latents.manifest, latents.manifest.encoding
    scaling = float(space.vae.config.scaling_factor)
    own: dict[str, object] = {
        "shape": space.shape(task.rules.resolution),
        "scaling": scaling,
        "shift": space.shift,
    }
    found: dict[str, object] = {"shape": manifest.shape, "scaling": encoding.scaling, "shift": encoding.shift}
    if encoding.vae_sha256 is not None:  # unknown for the official LMDB
        own["weights"], found["weights"] = weights_sha256(space.vae), encoding.vae_sha256
    if other := [what for what in own if own[what] != found[what]]:
        raise UserError(
            f"another VAE than that of the teacher {task.pinned['teacher'].name} made the latents of "
            f"{manifest.source.name} (different {', '.join(other)}); fix: bench prepare {task.called} --data PATH"
        )
