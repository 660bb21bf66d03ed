"""Denoisers on disk: a diffusers UNet folder, and beside it how to use it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffusers import ModelMixin, UNet2DModel

from tasks.denoiser import EDMDenoiser
from tasks.errors import UserError, first_line
from tasks.files import whole_folder
from tasks.schedules import EDMSchedule

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
        raise UserError(f"{folder} holds no {DESCRIPTION}: not a denoiser saved by bench")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["kind"] != kind:
            raise ValueError(f"unknown kind {about['kind']!r}, expected {kind!r}")
        yield about
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}); delete {folder}") from None


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
        schedule, patch_size = EDMSchedule(float(about["sigma_data"])), int(about["patch_size"])
        bottleneck, indices = bottleneck_of(about), [int(index) for index in about["student_indices"]]
    try:
        unet = UNet2DModel.from_pretrained(folder / "unet", local_files_only=True)
    except Exception as error:  # diffusers, safetensors and json each have their own; the user needs the file
        raise UserError(
            f"cannot read {folder / 'unet'}: {first_line(error)}; delete {folder} and run again"
        ) from None
    denoiser = EDMDenoiser(unet, schedule, patch_size, bottleneck)
    return SavedDenoiser(denoiser.eval().requires_grad_(False), indices)
