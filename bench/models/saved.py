"""Denoisers on disk: a diffusers UNet folder, and beside it how to use it."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffusers import ModelMixin, UNet2DModel

from bench.core.errors import UserError
from bench.core.escape import printable
from bench.core.files import read_object, whole_folder
from bench.models.denoiser import EDMDenoiser
from bench.models.schedules import EDMSchedule
from bench.models.weights.folders import load_network

DESCRIPTION = "denoiser.json"
EDM = "edm"


@dataclass(frozen=True)
class SavedDenoiser:
    """A denoiser read from disk, and the grid positions of its steps if it is a student (else empty)."""

    denoiser: EDMDenoiser
    indices: list[int]


def save_denoiser(denoiser: EDMDenoiser, folder: Path, indices: Sequence[int] = ()) -> None:
    """Write `folder`/unet (diffusers, safetensors) and `folder`/denoiser.json; the folder appears whole."""
    description = {
        "kind": EDM,
        "sigma_data": denoiser.schedule.sigma_data,
        "patch_size": denoiser.patch_size,
        "bottleneck": denoiser.bottleneck,
        "student_indices": list(indices),
    }
    with whole_folder(folder) as temporary:
        save_unet(denoiser.unet, temporary / "unet")
        write_description(temporary, description)


def save_unet(unet: ModelMixin, folder: Path) -> None:
    """Write a UNet as diffusers does, without the path that it was read from: equal networks have equal hashes."""
    unet.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.pop("_name_or_path", None) is not None:
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Write `folder`/denoiser.json: how to use the network beside it."""
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def described(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Yield a saved denoiser's description while it is read.

    Raises UserError that names the file if it is missing, of another kind, or lacks what is read.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise UserError(f"{folder} holds no {DESCRIPTION}: not a denoiser of bench; fix: name another folder")
    about = read_object(path)
    try:
        if about is None:
            raise ValueError("it is no JSON object")
        if about["kind"] != kind:
            raise ValueError(f"unknown kind {about['kind']!r}, expected {kind!r}")
        yield about
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        what = printable(f"{type(error).__name__}: {error}")[:200]
        raise UserError(f"{path} is damaged ({what}); fix: {removal(folder)}") from None


def removal(folder: Path) -> str:
    """The command that removes a damaged folder, before it is made again."""
    return f"rm -r {shlex.quote(str(folder))}, and make or copy it again"


def number_of(about: Mapping[str, Any], key: str) -> float:
    """The positive, finite number under a description's key. Raises ValueError if there is none such."""
    value = about[key]
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ValueError(f"{key} is {value!r}, and a positive number is wanted")
    return float(value)


def whole_of(about: Mapping[str, Any], key: str) -> int:
    """The positive whole number under a description's key. Raises ValueError if there is none such."""
    value = about[key]
    if type(value) is not int or not 0 < value < 1 << 31:
        raise ValueError(f"{key} is {value!r}, and a positive whole number is wanted")
    return value


def indices_of(about: Mapping[str, Any], grid: int) -> list[int]:
    """The grid positions of a student's steps, none of another denoiser's, on a grid of so many times.

    Raises ValueError unless they are whole numbers below `grid` that descend: noise falls from step to step.
    """
    found = about["student_indices"]
    if not isinstance(found, list) or any(type(index) is not int or not 0 <= index < grid for index in found):
        raise ValueError(f"student_indices is {found!r}, and whole numbers from 0 to {grid - 1} are wanted")
    if any(after >= before for before, after in itertools.pairwise(found)):
        raise ValueError(f"student_indices is {found!r}, and they descend from step to step")
    return found


def bottleneck_of(about: Mapping[str, Any]) -> Literal["encoder", "mid"]:
    """The bottleneck that a description names. Raises ValueError if there is none such."""
    named: Literal["encoder", "mid"] = about["bottleneck"]
    if named not in ("encoder", "mid"):
        raise ValueError(f"unknown bottleneck {named!r}")
    return named


def require_student(folder: Path, indices: Sequence[int]) -> None:
    """Raise UserError if a saved denoiser has no steps of a student's."""
    if not indices:
        raise UserError(f"{folder} is a many-step denoiser, not a student; for the teacher use --sampler")


def no_such_sampler(student: Path, steps: int | None, known: Iterable[int]) -> UserError:
    """Build the error for a number of steps that a student has no sampler of."""
    return UserError(f"{student} has no sampler of {steps} steps; --steps takes {' or '.join(map(str, known))}")


def load_denoiser(folder: Path) -> SavedDenoiser:
    """Read what `save_denoiser` wrote, in evaluation mode. Raises UserError that names the broken file."""
    with described(folder, EDM) as about:
        schedule, patch_size = EDMSchedule(number_of(about, "sigma_data")), whole_of(about, "patch_size")
        bottleneck, indices = bottleneck_of(about), indices_of(about, len(schedule.grid))
    # Numbers that are not finite are told by its images, as those of a student in training are.
    unet = load_network(UNet2DModel, folder / "unet", removal(folder), finite=False)
    config = unet.config
    if config.in_channels != config.out_channels or config.in_channels % patch_size**2:
        raise UserError(
            f"{folder / 'unet'} takes {config.in_channels} channels and gives {config.out_channels} in patches of "
            f"{patch_size}x{patch_size}: that is no denoiser of images; fix: {removal(folder)}"
        )
    denoiser = EDMDenoiser(unet, schedule, patch_size, bottleneck)
    return SavedDenoiser(denoiser.eval().requires_grad_(False), indices)
