"""Recipes: the numbers of one method on one task. Data, never code; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, pi
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.core.errors import UserError, hint
from bench.models.grid import student_indices
from bench.training.cost import Cost, Passes

Share = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""


class Recipe(BaseModel):
    """The numbers that every method's training has; a method adds its own in a subclass."""

    # Deferred: of the models that a start imports it validates one.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    iterations: int = Field(200_000, ge=1)
    """Training iterations. As in the paper, an iteration is one critic update (where there is a critic)."""
    batch_size: int = Field(280, ge=1)
    """Images per iteration, over all processes."""
    lr: float = Field(2e-6, gt=0)
    """Learning rate of the generator."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """AdamW's betas, all networks."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's weight decay, all networks."""
    warmup: int = Field(500, ge=0)
    """Iterations over which learning rates rise linearly to their full values."""
    warmup_from_zero: bool = False
    """The first iteration has rate 0, as in the official schedule: iteration i, from 0, has i / warmup of the full
    rate. False: (i + 1) / warmup, as micro recipes have it."""
    lr_decay: float = Field(0.0, ge=0, le=1)
    """Last fraction of training over which learning rates fall to 0 along a cosine; 0: constant."""
    clip_norm: float = Field(10.0, gt=0)
    """Largest gradient norm, each network for itself."""
    ema_decay: float | None = Field(None, gt=0, lt=1)
    """Decay per generator update of an average of the student's weights, which is then what is evaluated;
    none: the last weights, as in the paper."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast around the training step; weights stay float32."""
    teacher_precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: the frozen teacher's weights too; needs precision bf16."""
    lora_rank: int = Field(0, ge=0)
    """0: the whole student is trained; else a LoRA of this rank on it (text-to-image alone)."""
    lora_alpha: float = Field(8.0, gt=0)
    """The LoRA's scale is alpha / rank."""
    gradient_accumulation: int = Field(1, ge=1)
    """Micro-batches of an iteration in each process: as many times less memory, the same result."""
    gradient_checkpointing: bool = False
    """Compute the networks' blocks again in the backward pass: less memory, about a quarter slower."""
    compile_backend: Literal["none", "inductor", "aot_eager"] = "none"
    """torch.compile of every network of the method, with that backend."""
    sharding: Literal["none", "fsdp2"] = "none"
    """fsdp2: processes share each network's weights, gradients and Adam moments, and gather a block when it runs;
    none: each has a whole copy (DDP)."""
    init_from: Path | None = None
    """Folder of a finished run from whose last checkpoint the networks start, with fresh optimisers; what that
    run had not (a discriminator's head) starts at random. Its `best` folder: from that one. None: all start as the
    teacher."""
    keep_best: bool = False
    """Also keep the networks that had the lowest FD on the way, in the run's folder `best`; the result stays that
    of the last ones."""
    best_every: int = Field(0, ge=0)
    """Iterations between two measurements of FD from which keep_best chooses; 0: a tenth of training."""
    best_samples: int = Field(1000, ge=2)
    """Generated images of each measurement, at most the protocol's. The official selection for ImageNet-64 takes
    50,000 every 500 iterations."""
    student_steps: int = Field(1, ge=1, le=1000)
    """Denoising steps of the student, at evenly spaced positions of the noise schedule's grid."""
    student_start: float = Field(1.0, gt=0, le=1)
    """Position on the noise grid at which the student takes pure noise: 1, its last time, or lower (399 of
    1000 for one-step SDXL; sigma 2.5 in SiD), where an untrained student already makes varied images."""

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        student_indices(self.student_steps, start=self.student_start)
        return self

    @model_validator(mode="after")
    def _precisions_fit(self) -> Self:
        if self.teacher_precision == "bf16" and self.precision != "bf16":
            raise ValueError(
                "teacher_precision=bf16 needs precision=bf16, since types would mix outside autocast: "
                "use --set teacher_precision=fp32"
            )
        return self

    @property
    def roles(self) -> frozenset[str]:
        """Assets of a task that only some recipes use, and this one does: they are part of its runs' names."""
        return frozenset()

    @property
    def teacher_pairs(self) -> int:
        """Teacher noise-image pairs that training asks for: on a cluster they are made before it, by one job."""
        return 0

    @model_validator(mode="after")
    def _sharding_fits(self) -> Self:
        if self.sharding != "none" and self.compile_backend != "none":
            raise ValueError(f"sharding={self.sharding} runs uncompiled networks: use compile_backend=none")
        return self

    def idle(self) -> dict[str, str]:
        """Keys without effect as the other values stand, and why: overriding one is a mistake."""
        found = {} if self.lora_rank else {"lora_alpha": "lora_rank is 0: the whole student is trained"}
        if not self.keep_best:
            found |= dict.fromkeys(("best_every", "best_samples"), "keep_best is off")
        if not self.warmup:
            found["warmup_from_zero"] = "warmup is 0"
        return found

    def identity(self) -> dict[str, Any]:
        """Return the part of a run's name: all values but paths, since the same bytes may lie anywhere."""
        fields = type(self).model_fields.items()
        paths = {key for key, field in fields if Path in (field.annotation, *get_args(field.annotation))}
        return self.model_dump(mode="json", exclude=paths)

    def cost(self) -> Cost:
        """Return what a training takes, in passes and networks of the teacher's size.

        The default is that of methods with one trained network, which ask the teacher once in each iteration.
        """
        passes = {"student": Passes(self.iterations, self.iterations), "teacher": Passes(self.iterations, 0)}
        return Cost(passes, generator_updates=self.iterations, averages=int(self.ema_decay is not None))

    def rate_at(self, iteration: int) -> float:
        """Factor on every learning rate at an iteration, from 0: linear warm-up, then a cosine tail."""
        risen = iteration if self.warmup_from_zero else iteration + 1
        warm = min(1.0, risen / self.warmup) if self.warmup else 1.0
        tail = self.lr_decay * self.iterations
        into = iteration - (self.iterations - tail)
        if into <= 0:
            return warm
        return warm * 0.5 * (1 + cos(pi * into / tail))


def build_recipe(model: type[Recipe], values: Mapping[str, Any], who: str) -> Recipe:
    """Validate `values` as a recipe of class `model`; strings are parsed as `--set key=value` gives them.

    Raises UserError with the key, its value and the nearest valid keys.
    """
    for key, value in values.items():
        if key not in model.model_fields:
            raise UserError(f"unknown recipe key {key!r} of {who}; {hint(key, sorted(model.model_fields))}")
        if not _takes_bool(model.model_fields[key].annotation) and _holds_bool(value):
            raise UserError(
                f"bad value {str(value).lower()!r} for recipe key {key!r} of {who}: it takes no true or false; "
                f"fix: bench describe shows its values"
            )
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # values that are good one by one
            raise UserError(f"recipe of {who}: {first['msg'].removeprefix('Value error, ')}") from None
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"bad value {first['input']!r} for recipe key {key!r} of {who}: {first['msg']}") from None


def _takes_bool(annotation: Any) -> bool:
    """Whether true and false are values of a field; pydantic takes them for 1 and 0 elsewhere."""
    return annotation in (bool, Any) or any(_takes_bool(part) for part in get_args(annotation))


def _holds_bool(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_holds_bool, value)))
