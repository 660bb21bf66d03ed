"""Denoisers on disk: a folder with the network as its family writes it, and beside it how to use it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from safetensors.torch import save_file

from bench.core.errors import UserError, counted, first_line
from bench.core.escape import printable
from bench.core.files import whole_folder
from bench.models.backbones.base import BackboneFamily, find_family
from bench.models.descriptions import AGAIN, described, indices_of, write_description
from bench.models.weights.state_dicts import read_state_dict

LORA_FILE = "pytorch_lora_weights.safetensors"
"""The name that `load_lora_weights` of diffusers looks for in a folder."""
INTERVAL_FILE = "interval.safetensors"
"""The name of the file with a network's second time input, if it has one."""
F = TypeVar("F", bound=BackboneFamily)


@dataclass(frozen=True)
class SavedDenoiser(Generic[F]):
    """A denoiser read from disk, and the grid positions of its steps if it is a student (else empty)."""

    denoiser: F
    indices: list[int]


def save_denoiser(denoiser: BackboneFamily, folder: Path, indices: Sequence[int] = ()) -> None:
    """Write `folder`/denoiser.json and the network; of a network with adapters, these alone.

    Both are for stock tools too: diffusers reads the network with `from_pretrained`, and the adapters with
    `pipeline.load_lora_weights(folder)`. A second time input has a file of its own, which is for bench alone.
    `indices` are a student's steps. The folder appears whole.
    """
    adapters = denoiser.adapters()
    form = {"weights": denoiser.folder if adapters is None else "lora"} if denoiser.lora_targets else {}
    form |= {} if denoiser.interval is None else {"interval": INTERVAL_FILE}
    description = {"kind": denoiser.name, **form, **denoiser.describe(), "student_indices": list(indices)}
    with whole_folder(folder) as temporary:
        if adapters is None:
            (temporary / denoiser.folder).mkdir()
            denoiser.write_network(temporary / denoiser.folder)
        else:
            save_file(adapters, temporary / LORA_FILE)
        if denoiser.interval is not None:
            save_file(denoiser.interval.state_dict(), temporary / INTERVAL_FILE)
        write_description(temporary, description)


def load_denoiser(folder: Path, family: type[F], teacher: F | None = None) -> SavedDenoiser[F]:
    """Read what `save_denoiser` wrote, of this family, frozen and in evaluation mode.

    `saved_family` finds the family where the caller does not know it. A LoRA is merged into a copy of the
    teacher's network. Raises UserError that names the broken file, another family, or what of a LoRA does not fit
    the teacher, or if there is none.
    """
    with described(folder) as about:
        kind = _kind_of(about)
        if kind != family.name:
            raise UserError(
                f"{folder} is of the backbone family {printable(kind)!r}, and {family.name!r} is wanted; "
                "fix: name another folder"
            )
        options = family.options(about)
        indices = indices_of(about, len(options["schedule"].grid))
        lora = family.lora_targets and about["weights"] == "lora"
        interval = about.get("interval")
        if interval not in (None, INTERVAL_FILE):
            raise ValueError(f"unknown interval {interval!r}")
        if family.lora_targets and not lora and about["weights"] != family.folder:
            raise ValueError(f"unknown weights {about['weights']!r}")
    if lora:
        if teacher is None:
            raise UserError(
                f"{folder} holds a LoRA, which is no denoiser without its teacher; fix: name a teacher"
            )
        merged = copy.deepcopy(teacher)
        merged.merge_adapters(read_state_dict(folder / LORA_FILE), str(folder / LORA_FILE))
        network = merged.network
    else:
        # Numbers that are not finite show in its images, as those of a student in training do.
        network = family.read_network(folder / family.folder, AGAIN, finite=False)
    try:
        denoiser = family(network, **options)
    except ValueError as error:
        raise UserError(f"{folder}: its description and its network do not fit: {error}; fix: {AGAIN}") from None
    if interval is not None:
        _read_interval(denoiser, folder / INTERVAL_FILE)
    return SavedDenoiser(denoiser.eval().requires_grad_(False), indices)


def _read_interval(denoiser: BackboneFamily, path: Path) -> None:
    """Give a denoiser the second time input in a file. Raises UserError if it does not fit."""
    denoiser.add_interval()
    assert denoiser.interval is not None
    try:
        denoiser.interval.load_state_dict(read_state_dict(path))
    except RuntimeError as error:  # names or shapes
        raise UserError(f"{path} does not fit its network: {first_line(error)}; fix: {AGAIN}") from None


def saved_family(folder: Path) -> type[BackboneFamily]:
    """Return the family of a saved denoiser, by its name in the description. Raises UserError."""
    with described(folder) as about:
        kind = _kind_of(about)
    return find_family(kind)


def _kind_of(about: Mapping[str, Any]) -> str:
    """Return the name of a description's family. Raises ValueError if it is none."""
    kind = about["kind"]
    if not isinstance(kind, str):
        raise ValueError(f"unknown kind {kind!r}")
    return kind


def require_student(folder: Path, indices: Sequence[int]) -> None:
    """Raise UserError if a saved denoiser has no steps of a student's."""
    if not indices:
        raise UserError(f"{folder} is a many-step denoiser, not a student; fix: --sampler NAME for the teacher")


def teacher_itself(path: Path) -> UserError:
    """Build the error for published weights that are the teacher's, and no student's."""
    return UserError(f"{path} is the teacher itself, not a student; fix: evaluate it with --sampler")


def no_such_sampler(student: Path, steps: int | None, known: Iterable[int]) -> UserError:
    """Build the error for a number of steps that a student has no sampler of."""
    takes, number = list(known), steps or 0
    closest = min(takes, key=lambda one: abs(one - number))
    return UserError(
        f"{student} has no sampler of {counted(number, 'step')}; --steps takes {' or '.join(map(str, takes))}; "
        f"fix: --steps {closest}"
    )
