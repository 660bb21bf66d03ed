"""Reference statistics: mean and covariance of real images' features, imported or made here."""

from __future__ import annotations

import hashlib
import json
import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import UserError, first_line, unknown
from bench.core.escape import shell_path
from bench.core.files import canonical_json, regular_file, whole_folder
from bench.features.names import CLEAN_FEATURES, DINO_FEATURES, FID_FEATURES, SPATIAL_FEATURES

TOLERANCE = 1e-6
"""The asymmetry, or the negative eigenvalue, that a covariance may have, relative to its largest value."""
ARRAYS, ROWS, DESCRIPTION = "statistics.npz", "features.npy", "reference.json"
DIMENSIONS = {FID_FEATURES: 2048, CLEAN_FEATURES: 2048, SPATIAL_FEATURES: 2023, DINO_FEATURES: 1024}
"""The number of features of each published network; statistics of another size are of another layer."""
MAX_ARRAY_BYTES = 2**30
"""Largest array that is read from an imported file; statistics of 2,048 features take 32 MiB."""


@dataclass(frozen=True)
class Description:
    """The description of reference statistics; None where a value is unknown."""

    name: str
    features: str
    """The feature network; numbers in other features are not comparable."""
    samples: int | None
    """Number of real images."""
    crop: str | None
    """The way the images were cropped and resized: `edm`, `adm`, ..."""
    source: str
    """Name of the file that the statistics were made from."""
    source_sha256: str
    """SHA-256 of that file."""
    sha256: str = ""
    """SHA-256 of the numbers and of `features`: the reference's identity in records."""
    kept: int = 0
    """Number of real images whose features are stored with the statistics."""
    fallbacks: int | None = None
    """Number of images that were too small for a patch, and were squashed or padded; None: not counted."""
    altered: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Number of images by what was changed in them beyond the crop (bench.data.altered); older ones have none."""


@dataclass(frozen=True, eq=False)
class ReferenceStatistics:
    """Mean [D] and covariance [D, D] of real images' features in float64, checked, with their description."""

    mean: np.ndarray
    cov: np.ndarray
    description: Description
    rows: np.ndarray | None = None
    """Features [kept, D] float32 of some of the images, for metrics that compare single images."""

    @property
    def sha256(self) -> str:
        """The hash of the numbers."""
        return self.description.sha256


def reference_store(cache: Path) -> Path:
    """Return the folder in which references are stored."""
    return cache / "references"


def save_reference(statistics: ReferenceStatistics, store: Path) -> Path:
    """Write the statistics to the folder `store`/name, and return it; it appears whole.

    The same statistics may already be there. Raises UserError if other statistics have that name, or if the name
    is not valid for a folder.
    """
    about = statistics.description
    folder = _folder(store, about.name)
    if folder.exists():
        present = load_reference(store, about.name).description
        if present != about:
            raise UserError(
                f"there is another reference {about.name!r}, made from {present.source} (sha256 "
                f"{present.source_sha256[:12]}); fix: give this one another --name"
            )
        return folder
    with whole_folder(folder) as temporary:
        np.savez(temporary / ARRAYS, mu=statistics.mean, sigma=statistics.cov)
        if statistics.rows is not None:
            np.save(temporary / ROWS, statistics.rows, allow_pickle=False)
        text = json.dumps(asdict(about), indent=2, ensure_ascii=False) + "\n"
        (temporary / DESCRIPTION).write_text(text, encoding="utf-8")
    return folder


def load_reference(store: Path, name: str) -> ReferenceStatistics:
    """Read the statistics `name`. Raises UserError if they are missing or damaged."""
    folder = _folder(store, name)
    if not folder.is_dir():
        raise unknown("reference", name, (path.name for path in _folders(store)))
    about = _describe(folder)
    if not (folder / ARRAYS).is_file():
        raise UserError(f"{folder} is damaged: it has no {ARRAYS}; fix: {_again(folder)}")
    arrays = read_arrays(folder / ARRAYS, ("mu", "sigma"), fix=_again(folder))
    rows = _rows(folder / ROWS) if about.kept else None
    if {"mu", "sigma"} - arrays.keys() or about.sha256 != _identity(
        arrays["mu"], arrays["sigma"], about.features, rows
    ):
        raise UserError(f"{folder} is damaged: its numbers are not those described; fix: {_again(folder)}")
    return ReferenceStatistics(arrays["mu"], arrays["sigma"], about, rows)


def list_references(store: Path) -> list[Description]:
    """Return the descriptions of all stored references, by name; no arrays are read."""
    return [_describe(folder) for folder in _folders(store)]


def _folders(store: Path) -> list[Path]:
    return sorted(path.parent for path in store.glob(f"[!.]*/{DESCRIPTION}"))


def _folder(store: Path, name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"{name!r} is not a valid name of a reference; fix: use letters, digits, '.', '_' and '-'")
    return store / name


def _again(folder: Path) -> str:
    return f"rm -r {shell_path(folder)}, then import it again, or run again if a task made it"


def _describe(folder: Path) -> Description:
    try:
        return Description(**json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder / DESCRIPTION} is damaged ({error}); fix: {_again(folder)}") from None


def read_arrays(path: Path, names: tuple[str, ...], fix: str = "download it again") -> dict[str, np.ndarray]:
    """Read the arrays `names` of an npz file, as far as it contains them.

    Raises UserError, with `fix`, if it is damaged, contains Python objects, or an array is larger than
    MAX_ARRAY_BYTES.
    """
    try:
        with zipfile.ZipFile(regular_file(path)) as archive:
            members = {info.filename: info for info in archive.infolist()}
            present = [name for name in names if f"{name}.npy" in members]
            return {name: _array(archive, members[f"{name}.npy"]) for name in present}
    except UserError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many types on damaged bytes
        reason = first_line(error)
        raise UserError(f"{path} is damaged or not an .npz file of numbers: {reason}; fix: {fix}") from error


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Read one .npy member. Raises ValueError if its header asks for more memory than its bytes fill."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or size > min(info.file_size, MAX_ARRAY_BYTES):
        what = "Python objects" if dtype.hasobject else f"{size:,} bytes"
        raise ValueError(
            f"{info.filename} asks for {what}, of {info.file_size:,} there and {MAX_ARRAY_BYTES:,} at most"
        )
    with archive.open(info) as member:
        found: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
    return found


def _rows(path: Path) -> np.ndarray:
    try:  # mapping refuses a header that asks for more than the file contains, without taking memory
        found: np.ndarray = np.array(np.load(regular_file(path), mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}); fix: {_again(path.parent)}") from None
    return found


def checked_reference(
    mean: Any, cov: Any, about: Description, where: Path | str, rows: np.ndarray | None = None
) -> ReferenceStatistics:
    """Check a mean and a covariance, and complete their description. Raises UserError if they are invalid."""
    name = about.name
    mean, cov = (
        _as_float64(array, f"{where}: {what} of {name}") for array, what in ((mean, "mu"), (cov, "sigma"))
    )
    if mean.ndim != 1 or mean.size == 0 or cov.shape != mean.shape * 2:
        raise UserError(
            f"{where}: mu and sigma of {name} are {list(mean.shape)} and {list(cov.shape)}, not [D], [D, D]"
        )
    size = DIMENSIONS.get(about.features, len(mean))
    if len(mean) != size:
        raise UserError(
            f"{where}: {name} has {len(mean)} features, and {about.features} has {size}: these statistics are of "
            f"another layer or network; fix: name statistics of {about.features}"
        )
    for what, array in (("mu", mean), ("sigma", cov)):
        if not np.isfinite(array).all():
            raise UserError(
                f"{where}: {what} of {name} is not finite in {int((~np.isfinite(array)).sum())} places"
            )
    if not cov.any():
        raise UserError(f"{where}: sigma of {name} is 0 everywhere, which is not a covariance of images")
    skew, largest = float(np.abs(cov - cov.T).max()), float(np.abs(cov).max())
    if skew > TOLERANCE * largest:
        raise UserError(
            f"{where}: sigma of {name} is not symmetric: {skew:.3g} off, with entries up to {largest:.3g}"
        )
    cov = (cov + cov.T) / 2
    eigenvalues = np.linalg.eigvalsh(cov)
    if eigenvalues[0] < -TOLERANCE * eigenvalues[-1]:
        raise UserError(
            f"{where}: sigma of {name} is not a covariance: its eigenvalues go from {eigenvalues[0]:.3g} "
            f"to {eigenvalues[-1]:.3g}"
        )
    identity = _identity(mean, cov, about.features, rows)
    kept = 0 if rows is None else len(rows)
    return ReferenceStatistics(mean, cov, replace(about, sha256=identity, kept=kept), rows)


def _as_float64(array: Any, what: str) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.dtype.itemsize < 4:
        found = getattr(array, "dtype", type(array).__name__)
        raise UserError(f"{what} is {found}, not an array of numbers of at least 32 bits, with a fraction")
    return np.ascontiguousarray(array, dtype=np.float64)


def _identity(mean: np.ndarray, cov: np.ndarray, features: str, rows: np.ndarray | None) -> str:
    hasher = hashlib.sha256(canonical_json({"features": features, "shape": list(cov.shape)}).encode())
    for array in (mean, cov):
        hasher.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    if rows is not None:
        hasher.update(np.ascontiguousarray(rows, dtype="<f4").tobytes())
    return hasher.hexdigest()
