"""Weights that `bench prepare --weights NAME=PATH` pinned, by name and hash. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import path_sha256, write_text
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
        raise UserError(f"{path} is damaged ({error}); fix: rm {path}, and name the weights again") from None


def find(
    weights: Weights, path: Path | None, cache: Path, download: bool, progress: Progress, own_weights: bool
) -> FoundWeights:
    """Pin and return weights from `path`, from the cache or, with `download`, from their publisher.

    Raises UserError if they are missing, or have another hash than published, unless `own_weights` allows that.
    """
    if weights.file is not None:
        found = find_weights(weights.file, path, cache, download, progress, own_weights)
        kept = FoundWeights(found.path.absolute(), found.sha256)
    elif path is None or not path.exists():
        where = "not named" if path is None else f"not at {path}"
        raise UserError(
            f"the weights {weights.name!r} are {where}; fix: --weights {weights.name}=PATH "
            f"({weights.files}; {weights.source})"
        )
    else:
        kept = FoundWeights(path.absolute(), path_sha256(path))
    pinned = read_pinned(cache) | {weights.name: kept}
    content = {name: {**asdict(one), "path": str(one.path)} for name, one in sorted(pinned.items())}
    write_text(_file(cache), json.dumps(content, indent=2) + "\n")
    return kept


def weights_for(extractor: FeatureExtractor, pinned: Mapping[str, FoundWeights]) -> dict[str, Path]:
    """Return the files that an extractor reads. Raises UserError if one is missing, or has changed."""
    found = {}
    for one in extractor.weights:
        named = pinned.get(one.name)
        again = f"fix: bench prepare --task TASK --weights {one.name}=PATH ({one.files}; {one.source})"
        if named is None or not named.path.exists():
            where = "are not pinned" if named is None else f"are no longer at {named.path}"
            raise UserError(
                f"the weights {one.name!r}, which feature extractor {extractor.name!r} reads, {where}; {again}"
            )
        if path_sha256(named.path) != named.sha256:
            raise UserError(f"{named.path} has changed since it was pinned; {again}")
        found[one.name] = named.path
    return found


def _file(cache: Path) -> Path:
    return cache / "pinned" / "weights.json"
