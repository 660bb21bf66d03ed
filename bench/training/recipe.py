"""Recipes: the values that configure one method on one task. They are data, not code. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, pi
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.core.errors import UserError, hint
from bench.models.grid import student_indices
from bench.training.cost import BYTES, HALF, Cost, Passes

Share = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""


class Recipe(BaseModel):
    """The values that configure the training of every method. A method adds its own values in a subclass."""

    # A process imports many models and validates one, so each is built when it is first used.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    added_later: ClassVar[frozenset[str]] = frozenset(
        {"one_base", "tf32", "deterministic", "compile_units", "compile_graphs"}
    )
    """Keys that a class got after runs of it were published; their defaults leave the names of runs alone. A
    subclass names its own, which are added to these."""

    iterations: int = Field(200_000, ge=1)
    """Training iterations. As in the paper, an iteration is one critic update in methods with a critic."""
    batch_size: int = Field(280, ge=1)
    """Images per iteration, over all processes."""
    lr: float = Field(2e-6, gt=0)
    """Learning rate of the generator."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """AdamW's betas for all networks."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's weight decay for all networks."""
    warmup: int = Field(500, ge=0)
    """Iterations over which learning rates rise linearly to their full values."""
    warmup_from_zero: bool = False
    """True: the first iteration has rate 0, as in the official schedule; iteration i, from 0, has i / warmup of
    the full rate. False: it has (i + 1) / warmup, as in micro recipes."""
    lr_decay: float = Field(0.0, ge=0, le=1)
    """Last fraction of training over which learning rates fall to 0 along a cosine; 0: constant."""
    clip_norm: float = Field(10.0, gt=0)
    """Largest gradient norm of each network."""
    ema_decay: float | None = Field(None, gt=0, lt=1)
    """Decay per generator update of the EMA of the student's weights, which is then evaluated; none: the last
    weights are evaluated, as in the paper."""
    precision: Literal["fp32", "bf16", "bf16-weights"] = "fp32"
    """bf16: autocast around the training step, in which normalisations stay float32, and float32 weights are
    rounded in every pass. bf16-weights: the networks run in bf16 throughout, with weights that are rounded once,
    after each step of their float32 masters."""
    tf32: bool = True
    """Whether a GPU may round the inputs of float32 convolutions and matrix products to TF32 (10 bits), as in the
    official runs."""
    deterministic: bool = False
    """True: a GPU computes the same bits every time, in training and evaluation, more slowly. False: it draws the
    same random numbers, and sums may be rounded in another order. A CPU always computes the same bits."""
    teacher_precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: the frozen teacher's weights are bf16 too, which requires precision bf16."""
    lora_rank: int = Field(0, ge=0)
    """Rank of a LoRA to train on the student (text-to-image only); 0: the whole student is trained."""
    lora_alpha: float = Field(8.0, gt=0)
    """The LoRA's scale is alpha / rank."""
    one_base: bool = False
    """True: every network of the method is a LoRA on the teacher's own weights, which are there once, in the
    teacher's precision; the critic needs a critic_lora_rank. False: each network has a copy of them."""
    gradient_accumulation: int = Field(1, ge=1)
    """Micro-batches of an iteration in each process. The result is the same, with less memory, except in
    methods that say otherwise (TDM, the divergences of f-distill, `ida_share`)."""
    gradient_checkpointing: bool = False
    """True: the backward pass computes the networks' blocks again, with less memory and about a quarter slower."""
    compile_backend: Literal["none", "inductor", "aot_eager"] = "none"
    """Backend of torch.compile for every network of the method."""
    compile_units: Literal["network", "blocks"] = "network"
    """What is compiled: each network whole, or its repeated blocks, which takes less time, since blocks of one
    class and shape have one graph."""
    compile_graphs: int = Field(32, ge=1)
    """Most graphs of one piece of code: that of a network, or of a class of blocks. Each shape has one, with
    gradients and without; calls that would need more of them run uncompiled, and the log says so. EDM's blocks on
    ImageNet-64 need 140 of them."""
    sharding: Literal["none", "fsdp2"] = "none"
    """fsdp2: processes shard each network's weights, gradients and Adam moments, and gather a block when it runs;
    none: each process has a whole copy (DDP)."""
    init_from: Path | None = None
    """Folder of a finished run, or its `best` folder, from whose last checkpoint the networks start, with new
    optimisers. Weights that are not in it (the head of a discriminator) start at random. None: all start as the
    teacher."""
    keep_best: bool = False
    """True: the networks with the lowest FD during training are kept too, in the run's folder `best`. The run's
    result is still that of the last ones."""
    best_every: int = Field(0, ge=0)
    """Iterations between two measurements of FD for keep_best; 0: a tenth of training."""
    best_samples: int = Field(1000, ge=2)
    """Generated images of each measurement, at most the protocol's. The official selection for ImageNet-64 uses
    50,000 images every 500 iterations."""
    student_steps: int = Field(1, ge=1, le=1000)
    """Denoising steps of the student, at evenly spaced positions of the noise schedule's grid."""
    student_start: float = Field(1.0, gt=0, le=1)
    """Position on the noise grid at which the student starts from pure noise: 1 is the grid's last time. At a
    lower one (399 of 1000 for one-step SDXL, sigma 2.5 in SiD) an untrained student already generates varied
    images."""
    alarms: Literal["note", "stop", "off"] = "note"
    """Signs that training goes wrong. note: they are logged and noted in the record; stop: the first one also ends
    the run as diverged."""
    alarm_window: int = Field(100, ge=1)
    """Iterations whose mean is compared with each threshold below. The first window is not judged."""
    alarm_brightness: float = Field(0.3, ge=0)
    """Distance of the mean of the student's output from that of real images, in standard deviations of these.
    0 turns this alarm off, as it does each one below."""
    alarm_colour: float = Field(0.2, ge=0)
    """Distance of the student's colour cast, the standard deviation over its channels' means, from that of real
    images, in standard deviations of these."""
    alarm_saturation: float = Field(1.1, ge=0)
    """Standard deviation of the student's output, as a multiple of that of real images."""
    alarm_collapse: float = Field(0.4, ge=0)
    """Distance of generated images to the nearest one of their batch, over that of real images; the alarm is for
    values below."""
    alarm_discriminator: float = Field(6.0, ge=0)
    """Distance of the discriminator's mean logits of real and generated images."""
    alarm_critic: float = Field(0.7, ge=0)
    """The critic's denoising loss on generated images; 1 is that of a network that has learnt nothing."""

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        student_indices(self.student_steps, start=self.student_start)
        return self

    @model_validator(mode="after")
    def _precisions_fit(self) -> Self:
        if self.teacher_precision == "bf16" and self.precision == "fp32":
            raise ValueError(
                "teacher_precision=bf16 requires precision=bf16 or bf16-weights: a float32 student would learn "
                "the rounding; fix: --set teacher_precision=fp32"
            )
        if self.precision == "bf16-weights" and self.sharding != "none":
            raise ValueError(
                f"sharding={self.sharding} keeps float32 shards and gathers them in bf16 itself; "
                "fix: --set precision=bf16"
            )
        if self.precision == "bf16-weights" and self.one_base and self.teacher_precision != "bf16":
            raise ValueError(
                "one_base=true with precision=bf16-weights runs bf16 LoRAs on the teacher's weights, which are "
                "float32; fix: --set teacher_precision=bf16"
            )
        return self

    @model_validator(mode="after")
    def _base_fits(self) -> Self:
        if self.one_base and not self.lora_rank:
            raise ValueError(
                "one_base=true trains LoRAs on the teacher's weights, and lora_rank is 0: the whole student would "
                "be trained; fix: --set lora_rank=64"
            )
        return self

    @property
    def roles(self) -> frozenset[str]:
        """Roles of the optional assets of a task that this recipe uses. They are part of its runs' names."""
        return frozenset()

    @property
    def teacher_pairs(self) -> int:
        """Number of teacher noise-image pairs that training uses. On a cluster one job makes them beforehand."""
        return 0

    @model_validator(mode="after")
    def _sharding_fits(self) -> Self:
        if self.sharding != "none" and self.compile_backend != "none":
            raise ValueError(f"sharding={self.sharding} runs uncompiled networks; fix: --set compile_backend=none")
        return self

    def idle(self) -> dict[str, str]:
        """Return the keys that have no effect with the other values, each with the reason."""
        found = {} if self.lora_rank else {"lora_alpha": "lora_rank is 0: the whole student is trained"}
        if not self.keep_best:
            found |= dict.fromkeys(("best_every", "best_samples"), "keep_best is off")
        if not self.warmup:
            found["warmup_from_zero"] = "warmup is 0"
        if self.compile_backend == "none":
            found |= dict.fromkeys(("compile_units", "compile_graphs"), "compile_backend is none")
        if self.alarms == "off":
            found |= dict.fromkeys(ALARM_KEYS - {"alarms"}, "alarms is off")
        elif self.iterations < 2 * self.alarm_window:  # the first window is not judged
            acting = {"alarms", "alarm_window"} if self.alarm_window <= self.iterations else {"alarms"}
            why = f"there is no second window of {self.alarm_window} in {self.iterations} iterations"
            found |= dict.fromkeys(ALARM_KEYS - acting, why)
        return found

    def unreached(self) -> dict[str, str]:
        """Return the keys whose interval the training is too short for, each with what follows."""
        found, risen = {}, self.risen_at(self.least_span - 1)
        if risen < 1:
            found["warmup"] = (
                f"learning rates rise to {risen:.0%} of their full values in {self.least_span} iterations"
            )
        if self.keep_best and self.best_every > self.iterations:
            found["best_every"] = f"FD is measured once, at the end, in {self.iterations} iterations"
        if self.alarms != "off" and self.iterations < 2 * self.alarm_window:  # the first window is not judged
            found["alarm_window"] = f"there is no second window in {self.iterations} iterations, and no alarm"
        return found

    @property
    def least_span(self) -> int:
        """Iterations of the shortest part of the training that has a warm-up of its own."""
        return self.iterations

    def identity(self) -> dict[str, Any]:
        """Return the values that are part of a run's identity: all but paths, since files may be anywhere.

        Alarms are part of it only if they may end the run, since they do not change its result otherwise. A key
        that was added later is part of it only with another value than its default, which is what runs did before.
        """
        fields = type(self).model_fields
        left_out = set(self.path_keys())
        left_out |= {key for key in self.all_added_later() if getattr(self, key) == fields[key].default}
        if self.alarms != "stop":
            left_out |= ALARM_KEYS
        return self.model_dump(mode="json", exclude=left_out)

    @classmethod
    def path_keys(cls) -> frozenset[str]:
        """Return the keys whose values are paths of files."""
        fields = cls.model_fields.items()
        return frozenset(key for key, field in fields if Path in (field.annotation, *get_args(field.annotation)))

    @classmethod
    def all_added_later(cls) -> frozenset[str]:
        """Return the keys that this class and those that it extends got later."""
        return frozenset().union(*(vars(one).get("added_later", ()) for one in cls.__mro__))

    def least_memory(self, parameters: int) -> int:
        """Return the bytes that networks with this number of parameters take in training, without activations.

        Of networks on one base it is the base alone, since the size of a LoRA depends on the network's layers.
        """
        if self.one_base:
            return parameters * (HALF if self.teacher_precision == "bf16" else BYTES)
        cost = self.cost()
        halves = cost.trained * HALF * parameters if self.precision == "bf16-weights" else 0
        return cost.least_memory(parameters) + halves

    def cost(self) -> Cost:
        """Return the cost of a training, in passes and networks of the teacher's size.

        The default is the cost of a method with one trained network that calls the teacher once an iteration.
        """
        passes = {"student": Passes(self.iterations, self.iterations), "teacher": Passes(self.iterations, 0)}
        return Cost(passes, generator_updates=self.iterations, averages=int(self.ema_decay is not None))

    def risen_at(self, iteration: int) -> float:
        """Return the factor of the linear warm-up alone, from 0 to 1."""
        risen = iteration if self.warmup_from_zero else iteration + 1
        return min(1.0, risen / self.warmup) if self.warmup else 1.0

    def rate_at(self, iteration: int) -> float:
        """Return the factor on all learning rates at an iteration, from 0: linear warm-up, then cosine decay."""
        warm = self.risen_at(iteration)
        tail = self.lr_decay * self.iterations
        into = iteration - (self.iterations - tail)
        if into <= 0:
            return warm
        return warm * 0.5 * (1 + cos(pi * into / tail))


ALARM_KEYS = frozenset(key for key in Recipe.model_fields if key.startswith("alarm"))
"""The keys of alarms (bench/training/alarms.py), which every recipe has."""


def build_recipe(model: type[Recipe], values: Mapping[str, Any], who: str) -> Recipe:
    """Validate `values` as a recipe of class `model`. Texts are parsed as the values of `--set key=value`.

    Raises UserError with the key, its value and the nearest valid keys.
    """
    for key, value in values.items():
        if key not in model.model_fields:
            raise UserError(f"unknown recipe key {key!r} of {who}; {hint(key, sorted(model.model_fields))}")
        if not _takes_bool(model.model_fields[key].annotation) and _contains_bool(value):
            raise UserError(
                f"bad value {str(value).lower()!r} for recipe key {key!r} of {who}: it cannot be true or false; "
                f"fix: bench describe shows its values"
            )
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        said, fix = first["msg"].removeprefix("Value error, "), "fix: bench describe shows its values"
        if not first["loc"]:  # each value is valid, but not all together
            raise UserError(f"recipe of {who}: {said if 'fix: ' in said else f'{said}; {fix}'}") from None
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "tuple_type" and key in model.model_fields:
            default = list(model.model_fields[key].get_default())
            raise UserError(
                f"bad value {first['input']!r} for recipe key {key!r} of {who}: it is a list in brackets; "
                f"fix: write it as --set '{key}={default}'"
            ) from None
        raise UserError(f"bad value {first['input']!r} for recipe key {key!r} of {who}: {said}; {fix}") from None


def _takes_bool(annotation: Any) -> bool:
    """Return whether a field accepts true and false, which pydantic reads as 1 and 0 in other fields."""
    return annotation in (bool, Any) or any(_takes_bool(part) for part in get_args(annotation))


def _contains_bool(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_contains_bool, value)))
