"""Weights that `bench weights get` or `bench prepare --weights` pinned, by name and hash. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from bench.core.errors import UserError
from bench.core.escape import shell_path
from bench.core.files import path_sha256, write_text
from bench.core.locks import lock_of, locked
from bench.core.progress import Progress
from bench.features.base import FeatureExtractor, Weights
from bench.features.weights import FoundWeights, find_weights


def read_pinned(cache: Path) -> dict[str, FoundWeights]:
    """Return all pinned weights by name. Raises UserError if their file is damaged."""
    path = _file(cache)
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: FoundWeights(Path(one["path"]), str(one["sha256"])) for name, one in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); fix: rm {shell_path(path)}, and name all weights again"
        ) from None


def find(
    weights: Weights,
    path: Path | None,
    cache: Path,
    download: bool,
    progress: Progress,
    own_weights: bool,
    option: str = "--weights NAME=PATH",
) -> FoundWeights:
    """Return weights from `path`, or those that are pinned or in the cache; `download` gets a published file anew.

    `option` is how the command at hand names a path, for messages. Raises UserError if they are missing, or have
    another hash than published, unless `own_weights` allows that.
    """
    if path is None and not download and not own_weights and weights.name in read_pinned(cache):
        return _unchanged(weights, read_pinned(cache)[weights.name])
    if weights.file is not None:
        found = find_weights(weights.file, path, cache, download, progress, own_weights, option)
        return FoundWeights(found.path.absolute(), found.sha256)
    if path is None or not path.exists():
        where = "not named" if path is None else f"not at {path}"
        raise UserError(
            f"the weights {weights.name!r} are {where}; fix: {option.replace('NAME', weights.name)} "
            f"({weights.files}; {weights.source})"
        )
    return FoundWeights(path.absolute(), path_sha256(path))


def pin(name: str, found: FoundWeights, cache: Path) -> None:
    """Keep under a name where weights are, for every task; weights that had the name are forgotten.

    What another command pins at the same moment is kept, too.
    """
    with locked(lock_of(_file(cache))):
        pinned = read_pinned(cache) | {name: found}
        content = {name: {**asdict(one), "path": str(one.path)} for name, one in sorted(pinned.items())}
        write_text(_file(cache), json.dumps(content, indent=2) + "\n")


def weights_for(extractor: FeatureExtractor, pinned: Mapping[str, FoundWeights]) -> dict[str, Path]:
    """Return the files that an extractor reads. Raises UserError if one is missing, or has changed."""
    found = {}
    for one in extractor.weights:
        if one.name not in pinned:
            raise UserError(
                f"the weights {one.name!r}, which feature extractor {extractor.name!r} reads, are not pinned; "
                f"fix: {one.fix}"
            )
        found[one.name] = _unchanged(one, pinned[one.name]).path
    return found


def _unchanged(weights: Weights, pinned: FoundWeights) -> FoundWeights:
    """Return pinned weights. Raises UserError if they are no longer there, or have changed."""
    if not pinned.path.exists():
        raise UserError(f"the weights {weights.name!r} are no longer at {pinned.path}; fix: {weights.fix}")
    if path_sha256(pinned.path) != pinned.sha256:
        raise UserError(f"{pinned.path} has changed since it was pinned; fix: {weights.fix}")
    return pinned


def _file(cache: Path) -> Path:
    return cache / "pinned" / "weights.json"
