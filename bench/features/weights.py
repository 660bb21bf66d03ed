"""Published weights: finding, checking and downloading them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.core.download import DownloadError, download
from bench.core.errors import UserError
from bench.core.escape import shell_path
from bench.core.files import file_sha256, human_size, regular_file, whole_file
from bench.core.made import made_once
from bench.core.progress import Progress

MOST_TIMES = 2
"""A download may have so many times the bytes of its file; its hash says whether it is the file."""


@dataclass(frozen=True)
class WeightsFile:
    """A published file, with its hash."""

    name: str
    url: str
    sha256: str
    bytes: int
    licence: str


@dataclass(frozen=True)
class FoundWeights:
    """A file on this machine; `sha256` belongs in the record of every number that it made."""

    path: Path
    sha256: str


def find_weights(
    file: WeightsFile,
    path: Path | None,
    cache: Path,
    download: bool,
    progress: Progress,
    own_weights: bool = False,
    option: str = "--weights PATH",
) -> FoundWeights:
    """Return `path`, or the file in `cache`/weights, which `download` fetches if it is missing.

    The hash must be the published one; with `own_weights`, a file that the user names may have another, and its
    numbers are then not comparable with published ones. `option` is how the command at hand names a path, for
    messages. Raises UserError if the file is missing, has another hash, or the download fails.
    """
    kept = path is None
    if path is None:
        if own_weights:
            raise UserError(f"--own-weights is given without a path; fix: {option}")
        path = _in_cache(file, cached_path(file, cache), download, progress, option)
    elif not path.exists():
        raise UserError(f"no file {path}; {_fix(file, option)}")
    regular_file(path)
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror}; {_fix(file, option)}") from error
    if sha256 != file.sha256 and not own_weights:
        other = f"{path} is not {file.name}: its SHA-256 is {sha256}, not {file.sha256}"
        if kept:
            raise UserError(f"{other}; fix: rm {shell_path(path)}, and run again with --download")
        raise UserError(f"{other}; give --own-weights if they are your own; {_fix(file, option)}")
    return FoundWeights(path, sha256)


def cached_path(file: WeightsFile, cache: Path) -> Path:
    """Return where a download of a published file is kept."""
    return cache / "weights" / file.name


def _in_cache(file: WeightsFile, path: Path, may_download: bool, progress: Progress, option: str) -> Path:
    if not path.exists() and not may_download:
        raise UserError(f"{file.name} is not in {path.parent}; {_fix(file, option)}")
    with made_once(path) as missing:
        if missing:
            _download(file, path, progress, option)
    return path


def _fix(file: WeightsFile, option: str) -> str:
    return f"fix: --download ({human_size(file.bytes)} from {file.url}), or {option}"


def _download(file: WeightsFile, path: Path, progress: Progress, option: str) -> None:
    """Download `file`; it appears at `path` only if it is whole and its hash is right."""
    try:
        with whole_file(path) as temporary:
            with temporary.open("wb") as target:
                download(file.url, target, file.name, MOST_TIMES * file.bytes, progress)
            sha256 = file_sha256(temporary)
            if sha256 != file.sha256:
                raise UserError(
                    f"the download from {file.url} is not {file.name}: its SHA-256 is {sha256}, "
                    f"not {file.sha256}; "
                    f"fix: try another network, or {option}"
                )
    except DownloadError as error:
        raise UserError(
            f"{file.url} could not be downloaded to {path}: {error}; fix: try again, or {option}"
        ) from error
