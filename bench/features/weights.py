"""Published weights: where they are found, how they are checked, and the only way they are downloaded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.core.errors import UserError
from bench.core.files import file_sha256, human_size, regular_file, whole_file
from bench.core.locks import made_once
from bench.core.progress import Progress

TIMEOUT = 30.0
"""Seconds without an answer after which a download gives up."""
MIB = 1 << 20


@dataclass(frozen=True)
class WeightsFile:
    """A published file, known by its hash."""

    name: str
    url: str
    sha256: str
    bytes: int
    licence: str


@dataclass(frozen=True)
class FoundWeights:
    """A file that is here; `sha256` belongs in the record of every number that it made."""

    path: Path
    sha256: str


def find_weights(
    file: WeightsFile,
    path: Path | None,
    cache: Path,
    download: bool,
    progress: Progress,
    own_weights: bool = False,
) -> FoundWeights:
    """Return `path`, or the file in `cache`/weights, downloaded to there if it is missing and `download` is set.

    The hash must be the published one; only a file that the user names may have another, if `own_weights` says
    so: its numbers are then not comparable with published ones. Raises UserError if there is no such file, it
    is another, or the download fails.
    """
    if path is None:
        if own_weights:
            raise UserError("--own-weights goes with --weights PATH, and there is no PATH")
        path = _in_cache(file, cache / "weights" / file.name, download, progress)
    elif not path.exists():
        raise UserError(f"no file {path}; {_mend(file)}")
    regular_file(path)
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror}; {_mend(file)}") from error
    if sha256 != file.sha256 and not own_weights:
        raise UserError(
            f"{path} is not {file.name}: its SHA-256 is {sha256}, not {file.sha256}; "
            f"delete or replace it, or say that they are weights of your own (--own-weights); {_mend(file)}"
        )
    return FoundWeights(path, sha256)


def _in_cache(file: WeightsFile, path: Path, download: bool, progress: Progress) -> Path:
    if not path.exists() and not download:
        raise UserError(f"{file.name} is not in {path.parent}, and no download was asked for; {_mend(file)}")
    with made_once(path) as missing:
        if missing:
            _download(file, path, progress)
    return path


def _mend(file: WeightsFile) -> str:
    return f"fix: --download ({human_size(file.bytes)} from {file.url}), or --weights PATH"


def _download(file: WeightsFile, path: Path, progress: Progress) -> None:
    """Fetch `file`; it appears at `path` only if it is whole and the hash is right."""
    import http.client  # here, so that listing what is registered need not wait for it
    import urllib.request

    try:
        with (
            whole_file(path) as temporary,
            temporary.open("wb") as target,
            urllib.request.urlopen(file.url, timeout=TIMEOUT) as answer,
        ):
            sha256 = _copy(answer, target, file, progress)
            if sha256 != file.sha256:
                raise UserError(
                    f"what {file.url} sent is not {file.name}: its SHA-256 is {sha256}, not {file.sha256}; "
                    "fix: try another network, or --weights PATH"
                )
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"{file.url} could not be downloaded to {path}: {error}; fix: --weights PATH") from error


def _copy(answer: IO[bytes], target: IO[bytes], file: WeightsFile, progress: Progress) -> str:
    """Copy all of `answer`, and return its SHA-256."""
    hasher = hashlib.sha256()
    with progress.bar(f"{file.name} (MiB)", -(-file.bytes // MIB)) as bar:
        while part := answer.read(MIB):
            hasher.update(part)
            target.write(part)
            bar.advance()
    return hasher.hexdigest()
