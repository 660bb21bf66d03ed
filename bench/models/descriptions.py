"""denoiser.json, the description beside a saved network: written, and read with every value checked."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import UserError
from bench.core.escape import printable
from bench.core.files import read_json
from bench.models.text.layout import ConditionLayout

DESCRIPTION = "denoiser.json"
AGAIN = "make or copy it again, or name another folder"
"""The fix for a folder that cannot be read. It may be the user's own, and its only copy: no fix removes it."""
MAX_TIMES = 100_000
"""Times of a noise schedule; those of the published networks have 1,000."""


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Write `folder`/denoiser.json: how to use the network beside it."""
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def described(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a saved denoiser's description while it is read.

    Raises UserError that names the file if it is missing, damaged, or has not what is read.
    """
    path = folder / DESCRIPTION
    if folder.is_file():
        raise UserError(
            f"{folder} is a file, and a network that was saved here is a folder with {DESCRIPTION}; fix: name a "
            "run's folder or its student (bench status lists runs); images of other models are measured by "
            "bench eval --images"
        )
    if not path.is_file():
        raise UserError(f"{folder} holds no {DESCRIPTION}: not a denoiser of bench; fix: name another folder")
    about = read_json(path, AGAIN)
    try:
        yield about
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        what = printable(f"{type(error).__name__}: {error}")[:200]
        raise UserError(f"{path} is damaged ({what}); fix: {AGAIN}") from None


def number_of(about: Mapping[str, Any], key: str) -> float:
    """Return the number under a description's key. Raises ValueError unless it is positive and finite."""
    value = about[key]
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ValueError(f"{key} is {value!r}, and a positive number is wanted")
    return float(value)


def whole_of(about: Mapping[str, Any], key: str) -> int:
    """Return the whole number under a description's key. Raises ValueError unless it is positive."""
    value = about[key]
    if type(value) is not int or not 0 < value < 1 << 31:
        raise ValueError(f"{key} is {value!r}, and a positive whole number is wanted")
    return value


def betas_of(
    about: Mapping[str, Any], names: tuple[str, str, str] = ("start", "end", "times")
) -> tuple[float, float, int]:
    """Return the first beta, the last one and the number of times of a description's noise schedule.

    Raises ValueError, which calls the three by their `names`, unless betas rise and are below 1.
    """
    start, end, times = about["betas"]
    betas = dict(zip(names, (start, end, times), strict=True))
    start, end, times = number_of(betas, names[0]), number_of(betas, names[1]), whole_of(betas, names[2])
    if not start <= end < 1 or times > MAX_TIMES:
        raise ValueError(f"betas are {about['betas']!r}")
    return start, end, times


def layout_of(about: Mapping[str, Any]) -> ConditionLayout:
    """Return how a description lays out text conditions. Raises ValueError, TypeError or KeyError."""
    found = about["layout"]
    sizes = {key: whole_of(found, key) for key in ("tokens", "width")}
    pooled, mask = found["pooled"], found.get("mask", False)
    if pooled != 0:
        pooled = whole_of(found, "pooled")
    if type(mask) is not bool or len(found) != len(sizes) + (2 if "mask" in found else 1):
        raise ValueError(f"layout is {found!r}")
    return ConditionLayout(**sizes, pooled=pooled, mask=mask)


def taps_of(about: Mapping[str, Any], known: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a description's taps. Raises ValueError unless they are a list of known names."""
    found = about["taps"]
    if not isinstance(found, list) or not found or any(tap not in known for tap in found):
        raise ValueError(f"taps are {found!r}; known: {', '.join(known)}")
    return tuple(found)


def indices_of(about: Mapping[str, Any], grid: int) -> list[int]:
    """Return the positions of a student's steps on a grid of `grid` times; other denoisers have none.

    Raises ValueError unless they are whole numbers below `grid` that descend: noise falls from step to step.
    """
    found = about["student_indices"]
    if not isinstance(found, list) or any(type(index) is not int or not 0 <= index < grid for index in found):
        raise ValueError(f"student_indices is {found!r}, and whole numbers from 0 to {grid - 1} are wanted")
    if any(after >= before for before, after in itertools.pairwise(found)):
        raise ValueError(f"student_indices is {found!r}, and they descend from step to step")
    return found
