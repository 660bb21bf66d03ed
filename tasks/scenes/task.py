"""Tasks `scenes` and `scenes-flow`: text-to-image at 16x16, two coloured items of Fashion-MNIST; minutes on a CPU.

They share images, captions and protocol, and differ in the network and its training. `scenes` has the classes of
SD1.5 and SDXL: a UNet with cross-attention over token embeddings, and a VP schedule. `scenes-flow` has those of
SD3.5: a transformer that reads the tokens of image and text together, and a rectified flow. Both have
classifier-free guidance. A classifier reads from each image whether its caption is true.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.core.imports import load_class
from bench.core.progress import Progress
from bench.task.declaration import Baseline, SolverBaseline, Sources
from bench.task.protocol import Protocol
from tasks.micro.task import ClassifierRecipe, TrainedTask, TrainingRecipe
from tasks.scenes.dataset import SCENES

if TYPE_CHECKING:
    from bench.task.base import PreparedTask


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """What both kinds of network have in common: the size of the text encoder, and the scale of the images."""

    text_width: int
    text_layers: int
    mean: float = -0.878
    """Mean of the pixels in [-1, 1]. Networks read (pixel - mean) / std, because most of a scene is black, and
    noise schedules are made for data of variance 1, as in latent diffusion."""
    std: float = 0.298
    tokens: int = 8
    heads: int = 2
    """Heads of each attention layer, in the denoiser's network and in the text encoder."""

    pooled: ClassVar[bool]
    """Whether the denoiser reads the mean of the token embeddings beside them."""


@dataclass(frozen=True, kw_only=True)
class UNetSpec(TextSpec):
    """Stable Diffusion's kind: a UNet whose coarsest level attends to the text, variance preserving."""

    channels: tuple[int, ...]
    patch_size: int
    norm_groups: int = 8
    prediction: Literal["epsilon", "v"] = "v"
    beta_end: float = 0.02
    """Last beta of the schedule, at which the noise is 65 times the image. With Stable Diffusion's 0.012 (14.6
    times) the noisy image still shows how bright a scene is; from pure noise, that teacher made scenes too dark
    (standard deviation of pixels 0.23 instead of 0.28)."""

    pooled: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class MMDiTSpec(TextSpec):
    """Stable Diffusion 3's kind: a transformer over the tokens of image and text (MMDiT), a rectified flow."""

    width: int
    """Size of a token in the transformer."""
    layers: int
    patch_size: int

    pooled: ClassVar[bool] = True


PainterSpec = UNetSpec | MMDiTSpec


@dataclass(frozen=True)
class PainterRecipe(TrainingRecipe):
    """The training of the teacher and its text encoder."""

    caption_dropout: float = 0.1
    """Share of training captions that are replaced by the empty one, for classifier-free guidance."""


@dataclass(frozen=True)
class SceneClassifierRecipe:
    """The training of the classifier's two networks."""

    scene: ClassifierRecipe
    """The network for whole scenes, which gives the features of FD."""
    item: ClassifierRecipe
    """The network for one item, which gives the features of patch FD and the answers about the caption."""


@dataclass(frozen=True)
class ScenesTask(TrainedTask[PainterSpec, PainterRecipe, SceneClassifierRecipe]):
    """A micro task with captions."""

    modules: ClassVar[Collection[str]] = ("tasks.scenes.prepared",)
    teacher_kind: ClassVar[str] = "text-conditioned denoiser and its text encoder"

    def prepare(self, sources: Sources, progress: Progress) -> PreparedTask:
        prepared: PreparedTask = load_class("tasks.scenes.prepared:PreparedScenes")(self, sources, progress)
        return prepared


GUIDANCE = {"teacher-cfg3": 3, "teacher-cfg1": 1}
"""Scales of guidance, by the names of the teachers' samplers; the first is the one that students distil."""
STEPS = 18


TASK = ScenesTask(
    name="scenes",
    summary="two coloured Fashion-MNIST items at 16x16 with exact captions: the paper's Table 4 on a laptop CPU",
    scale="micro",
    image_shape=(3, 16, 16),
    protocol=Protocol(
        name="scenes",
        samples=2_500,
        repetitions=3,
        first_seed=0,
        labels="balanced",
        uint8="round",
        reference="10,000 held-out scenes, of Fashion-MNIST's test images",
        features="scenes-judge64",
        metrics=("fd", "patch-fd", "alignment", "kinds", "colours", "diversity"),
        images_per_prompt=2,
        extractors={"patch": "scenes-item64", "lpips": "convolutions of scenes-judge64, weights 1"},
    ),
    baselines={
        name: Baseline(
            name, f"the teacher, guidance {scale}, Heun ODE sampler, {STEPS} steps", STEPS, guidance_scale=scale
        )
        for name, scale in GUIDANCE.items()
    },
    licences={"fashion": "MIT (Zalando Research, Fashion-MNIST)"},
    data=SCENES,
    train_sha256="2ea8e06fc608322a438d7f0e3ceb0a0aad8d5aa03795b05a0111d87384e29f43",
    held_out_sha256="63950545bda7f509a45ee68c18b1967de472a550571f4be32a4e8ff600a08459",
    network=UNetSpec(channels=(32, 64), patch_size=2, text_width=48, text_layers=2),
    teacher=PainterRecipe(iterations=4000, batch_size=64, lr=1e-3, warmup=100, ema_decay=0.998),
    classifier=SceneClassifierRecipe(
        scene=ClassifierRecipe(epochs=4, width=24, features=64),
        item=ClassifierRecipe(epochs=5, width=24, features=64),
    ),
)

TASK_FLOW = replace(
    TASK,
    name="scenes-flow",
    summary="scenes with a small transformer of SD3.5's class, a rectified flow, in place of the UNet",
    baselines={
        name: SolverBaseline(
            name,
            f"the teacher, guidance {scale}, Heun's method at even times of the flow, {STEPS} steps",
            STEPS,
            guidance_scale=scale,
            solver="flow-heun",
        )
        for name, scale in GUIDANCE.items()
    },
    network=MMDiTSpec(width=96, layers=6, heads=4, patch_size=4, text_width=48, text_layers=2),
    teacher=PainterRecipe(iterations=8000, batch_size=32, lr=1e-3, warmup=200, ema_decay=0.998),
)
