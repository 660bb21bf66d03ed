"""Where reference statistics come from: files that others published, or real images that are here."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import UserError, listed
from bench.core.escape import printable
from bench.core.files import file_sha256
from bench.core.progress import Progress
from bench.features.array_pickle import read_array_pickle
from bench.features.reference_store import (
    DINO_FEATURES,
    FID_FEATURES,
    SPATIAL_FEATURES,
    Description,
    ReferenceStatistics,
    checked_reference,
    read_arrays,
)
from bench.features.statistics import GaussianStatistics


def import_reference(
    path: Path, name: str, samples: int | None = None, crop: str | None = None
) -> list[ReferenceStatistics]:
    """Read statistics that others published; one for each feature network that the file is about.

    An npz of EDM's (`mu`, `sigma`) or ADM's evaluation (also `mu_s`, `sigma_s`, as `name`-spatial; images in
    `arr_0` stay unread), or a pickle of EDM2's (`fid`, `fd_dinov2`), read as data: nothing in it is run. What
    a file is, its first bytes say. Raises UserError if it is none of these, is damaged, or holds no covariance.
    """
    if not path.is_file():
        raise UserError(f"no file {path}; bench refs import takes a reference's .npz or .pkl file")
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"PK":
        found = _read_npz(path)
    elif start[:1] == b"\x80":
        found = _read_pickle(path)
    else:
        raise UserError(
            f"{path} is neither an .npz file nor a pickle: it starts with {start.hex(' ') or 'nothing'}"
        )
    source_sha256 = file_sha256(path)
    return [
        checked_reference(
            mean, cov, Description(name + suffix, features, samples, crop, path.name, source_sha256), path
        )
        for suffix, features, mean, cov in found
    ]


def seen_in_batches(
    images: np.ndarray, see: Callable[[np.ndarray], Mapping[str, np.ndarray]], batch_size: int = 200
) -> Iterator[Mapping[str, np.ndarray]]:
    """Yield what `see` makes of images [N, C, H, W] uint8, batch after batch; a memory map will do."""
    for start in range(0, len(images), batch_size):
        yield see(np.array(images[start : start + batch_size]))


def references_from(
    seen: Iterable[Mapping[str, np.ndarray]],
    count: int,
    name: str,
    features: Mapping[str, str],
    *,
    source: str,
    source_sha256: str,
    crop: str | None,
    progress: Progress,
    keep: int = 0,
) -> list[ReferenceStatistics]:
    """Make references of what all feature networks saw of `count` images, in one pass.

    `seen` yields [n, D] for each key of `features`, which has the networks' names by the suffix of the reference's
    name ("" is the main one). Float64 sums are kept, and the main features of `keep` images, evenly spaced over
    the set, which holds its classes one after the other. Raises UserError with fewer than two images.
    """
    if count < 2:
        raise UserError(f"a covariance needs at least 2 images, and {source} has {count}")
    sums: dict[str, GaussianStatistics] = {}
    is_kept = np.zeros(count, bool)
    is_kept[np.linspace(0, count - 1, min(keep, count)).round().astype(int)] = True
    kept: list[np.ndarray] = []
    done = 0
    with progress.bar(f"reference {name}", count) as bar:
        for batch in seen:
            kept.append(batch[""][is_kept[done : done + len(batch[""])]].astype(np.float32))
            done += len(batch[""])
            for suffix, found in batch.items():
                rows = found.astype(np.float64)
                if suffix not in sums:
                    sums[suffix] = GaussianStatistics(shift=rows.mean(axis=0))
                sums[suffix].update(rows)
            bar.advance(len(batch[""]))
    made = []
    for suffix, network in features.items():
        about = Description(name + suffix, network, count, crop, source, source_sha256)
        main_rows = np.concatenate(kept) if keep and not suffix else None
        made.append(checked_reference(sums[suffix].mean, sums[suffix].covariance, about, source, main_rows))
    return made


Found = tuple[str, str, Any, Any]
"""Suffix of the name, features, mean and covariance, as a file has them."""


def _read_npz(path: Path) -> list[Found]:
    arrays = read_arrays(path, ("mu", "sigma", "mu_s", "sigma_s"))
    if {"mu", "sigma"} - arrays.keys():
        raise UserError(f"{path} has no mu and sigma; it has {listed(map(printable, _members(path)))}")
    found: list[Found] = [("", FID_FEATURES, arrays["mu"], arrays["sigma"])]
    if {"mu_s", "sigma_s"} <= arrays.keys():
        found.append(("-spatial", SPATIAL_FEATURES, arrays["mu_s"], arrays["sigma_s"]))
    return found


def _read_pickle(path: Path) -> list[Found]:
    content = read_array_pickle(path)
    kinds = (("fid", "", FID_FEATURES), ("fd_dinov2", "-dinov2", DINO_FEATURES))
    found: list[Found] = []
    for key, suffix, features in kinds:
        entry = content.get(key)
        if isinstance(entry, dict) and {"mu", "sigma"} <= entry.keys():
            found.append((suffix, features, entry["mu"], entry["sigma"]))
    if not found:
        raise UserError(
            f"{path} has no fid or fd_dinov2 with mu and sigma; it has {listed(map(printable, content))}"
        )
    return found


def _members(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]
