"""Readers of published reference statistics."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, listed, with_fix
from bench.core.escape import printable
from bench.core.files import file_sha256
from bench.features.names import DINO_FEATURES, FID_FEATURES, SPATIAL_FEATURES
from bench.features.references.array_pickle import read_array_pickle
from bench.features.references.store import Description, ReferenceStatistics, checked_reference, read_arrays


def import_reference(
    path: Path, name: str, samples: int | None = None, crop: str | None = None
) -> list[ReferenceStatistics]:
    """Read published statistics, one for each feature network in the file.

    The file is an npz of EDM's (`mu`, `sigma`) or ADM's evaluation (also `mu_s`, `sigma_s`, as `name`-spatial;
    images in `arr_0` are not read), or a pickle of EDM2's (`fid`, `fd_dinov2`), which is read as data and never
    run. Its first bytes decide. Raises UserError if it is none of these, is damaged, or contains no covariance.
    """
    if not path.is_file():
        raise UserError(f"no file {path}; fix: bench refs import FILE with a reference's .npz or .pkl file")
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"PK":
        found = _read_npz(path)
    elif start[:1] == b"\x80":
        found = _read_pickle(path)
    else:
        raise UserError(
            f"{path} is neither an .npz file nor a pickle: it starts with {start.hex(' ') or 'nothing'}; "
            f"fix: {EXPECTED}"
        )
    source_sha256 = file_sha256(path)
    try:
        return [
            checked_reference(
                mean, cov, Description(name + suffix, features, samples, crop, path.name, source_sha256), path
            )
            for suffix, features, mean, cov in found
        ]
    except UserError as error:
        raise UserError(with_fix(error, EXPECTED)) from None


Found = tuple[str, str, Any, Any]
"""One entry of a file: suffix of the name, features, mean and covariance."""
EXPECTED = "name statistics with mu and sigma, as EDM, EDM2 and ADM publish them"
"""The fix for another file."""


def _read_npz(path: Path) -> list[Found]:
    arrays = read_arrays(path, ("mu", "sigma", "mu_s", "sigma_s"))
    if {"mu", "sigma"} - arrays.keys():
        raise UserError(
            f"{path} has no mu and sigma; it has {listed(map(printable, _members(path)))}; fix: {EXPECTED}"
        )
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
            f"{path} has no fid or fd_dinov2 with mu and sigma; it has {listed(map(printable, content))}; "
            f"fix: {EXPECTED}"
        )
    return found


def _members(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]
