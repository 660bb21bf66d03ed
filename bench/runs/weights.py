"""Weights of the registered feature extractors: what exists, where it is, getting it, and whether it loads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.core.errors import UserError, first_line, unknown
from bench.core.files import folder_size, path_sha256
from bench.core.progress import Progress
from bench.features.base import FeatureExtractor, Weights
from bench.features.pinned import find, pin, read_pinned
from bench.features.weights import FoundWeights, cached_path
from bench.task.base import Task
from bench.task.declaration import Sources
from bench.task.pinned import PinnedAsset, PinnedTask
from bench.task.pinned import read_pinned as read_assets

if TYPE_CHECKING:
    from bench.runs.registry import Catalogue

ROLES = {"inception": "features"}
"""Roles under which tasks pin weights for themselves, where they are not the weights' names."""
Place = Literal["pinned", "gone", "cache", "not here"]
"""Where weights are. gone: pinned, and no longer there. cache: downloaded, and pinned by the next `get`."""


@dataclass(frozen=True)
class Located:
    """Weights by name, with the extractors that read them, and the place where they are."""

    weights: Weights
    extractors: tuple[FeatureExtractor, ...]
    place: Place
    found: FoundWeights | None
    """The file or folder, with the hash that it had when it was pinned, or the published one; None: not here."""

    @property
    def name(self) -> str:
        """The name by which they are pinned."""
        return self.weights.name

    @property
    def bytes(self) -> int | None:
        """Their size: of what is here, or else as published; None if it is unknown."""
        if self.found is not None and self.found.path.exists():
            return folder_size(self.found.path)
        return None if self.weights.file is None else self.weights.file.bytes


@dataclass(frozen=True)
class WeightsCheck:
    """Whether weights are what they were, and load."""

    name: str
    path: Path | None
    outcome: Literal["ok", "FAILED"]
    text: str
    """The hash and the extractors that read them; or the problem with its fix."""


def located_weights(catalogue: Catalogue, cache: Path) -> dict[str, Located]:
    """Return the weights of all registered extractors by name, without those of broken plug-ins."""
    pinned, readers = read_pinned(cache), _readers(catalogue)
    found = {}
    for name, extractors in sorted(readers.items()):
        weights = next(one for one in extractors[0].weights if one.name == name)
        place, where = _place(weights, pinned.get(name), cache)
        found[name] = Located(weights, tuple(extractors), place, where)
    return found


def _readers(catalogue: Catalogue) -> dict[str, list[FeatureExtractor]]:
    readers: dict[str, list[FeatureExtractor]] = {}
    for extractor in catalogue.extractors.loaded().values():
        for weights in extractor.weights:
            readers.setdefault(weights.name, []).append(extractor)
    return readers


def _place(weights: Weights, pinned: FoundWeights | None, cache: Path) -> tuple[Place, FoundWeights | None]:
    if pinned is not None:
        return ("pinned" if pinned.path.exists() else "gone"), pinned
    if weights.file is not None and (path := cached_path(weights.file, cache)).exists():
        return "cache", FoundWeights(path, weights.file.sha256)
    return "not here", None


def refuse_unknown_weights(named: Iterable[str], known: Collection[str]) -> None:
    """Raise UserError for a name that no known weights have."""
    for name in named:
        if name not in known:
            raise unknown("weights", name, known)


def task_pins(task: Task, cache: Path) -> dict[str, PinnedAsset]:
    """Return the weights that a task has pinned for itself, by the names of the extractors' weights."""
    assets = read_assets(task.pinned_path(cache)) if isinstance(task, PinnedTask) else {}
    named = {name: ROLES.get(name, name) for name in task.weight_names}
    return {name: assets[role] for name, role in named.items() if role in assets}


def pinned_for(task: Task, sources: Sources) -> dict[str, Path]:
    """Return the weights pinned for every task that a task requires and has not pinned for itself.

    Raises UserError if one has changed since.
    """
    missing = {one.role for one in task.missing(sources)} if task.weight_names else set()
    pinned = read_pinned(sources.cache)
    wanted = [name for name in task.weight_names if ROLES.get(name, name) in missing and name in pinned]
    for name in wanted:
        path = pinned[name].path
        if path.exists() and path_sha256(path) != pinned[name].sha256:
            raise UserError(
                f"{path} has changed since bench weights get pinned it as {name!r}; fix: bench weights get {name} "
                "--from PATH, or name a file for this task alone: --weights"
            )
    return {name: pinned[name].path for name in wanted}


def get_weights(
    catalogue: Catalogue,
    name: str,
    path: Path | None,
    cache: Path,
    progress: Progress,
    *,
    download: bool = False,
    own_weights: bool = False,
) -> FoundWeights:
    """Find or download weights, load what is not known by its hash, and pin it for every task.

    Raises UserError if there are no weights of this name, they are missing or have another hash than published
    (unless `own_weights`), or lack a tensor that their extractor reads; nothing is pinned then.
    """
    known = located_weights(catalogue, cache)
    refuse_unknown_weights([name], known)
    weights = known[name].weights
    if download and weights.file is None and path is None:
        raise UserError(
            f"the weights {name!r} have no published hash, by which a download could be verified; fix: "
            f"{_by_hand(weights)}, then bench weights get {name} --from PATH ({weights.files})"
        )
    found = find(weights, path, cache, download, progress, own_weights, "--from PATH")
    pin_loaded(known[name], found, cache)
    return found


def _by_hand(weights: Weights) -> str:
    hub = "https://huggingface.co/"
    if weights.source.startswith(hub):
        return f"hf download {weights.source.removeprefix(hub)} --local-dir FOLDER"
    return f"get them from {weights.source}"


def pin_loaded(known: Located, found: FoundWeights, cache: Path) -> None:
    """Pin weights for every task. Those with another hash than published are loaded first, on the CPU.

    Raises UserError if an extractor refuses them, and pins nothing.
    """
    if known.weights.file is None or found.sha256 != known.weights.file.sha256:
        for extractor in known.extractors:
            load_or_refuse(extractor, read_pinned(cache) | {known.name: found})
    pin(known.name, found, cache)


def load_or_refuse(extractor: FeatureExtractor, here: dict[str, FoundWeights]) -> bool:
    """Load an extractor on the CPU; return False where other weights of it are missing, or a package is.

    Raises UserError if it refuses its weights, whatever a plug-in's loader raises.
    """
    if any(one.name not in here for one in extractor.weights):
        return False
    files = {one.name: here[one.name].path for one in extractor.weights}
    try:
        extractor.load(files, "cpu")
    except UserError as error:
        if isinstance(error.__cause__, ImportError):  # the weights may be right
            return False
        raise
    except Exception as error:  # a plug-in's loader may raise anything
        named = ", ".join(str(path) for path in files.values())
        raise UserError(
            f"feature extractor {extractor.name!r} cannot load {named}: {type(error).__name__}: "
            f"{first_line(error)}; fix: {extractor.weights[0].command}"
        ) from error
    return True


def check_weights(catalogue: Catalogue, names: Collection[str], cache: Path) -> Iterator[WeightsCheck]:
    """Check these weights, or all that are pinned or cached: their hash, and that every extractor loads them.

    Raises UserError for an unknown name.
    """
    known = located_weights(catalogue, cache)
    refuse_unknown_weights(names, known)
    for one in known.values():
        if one.name in names or (not names and one.found is not None):
            yield _check(one, known)
    if not names:
        for name in sorted(read_pinned(cache).keys() - known.keys()):
            yield WeightsCheck(name, None, "FAILED", "no registered extractor reads them; fix: add --plugin FILE")


def _check(one: Located, known: dict[str, Located]) -> WeightsCheck:
    path = None if one.found is None else one.found.path
    if one.found is None:
        return WeightsCheck(one.name, path, "FAILED", f"not here; fix: {one.weights.command}")
    if one.place == "gone":
        return WeightsCheck(one.name, path, "FAILED", f"no longer there; fix: {one.weights.command}")
    try:
        sha256 = path_sha256(one.found.path)
        if sha256 != one.found.sha256:
            was = "published" if one.place == "cache" else "pinned"
            raise UserError(
                f"its SHA-256 is {sha256[:12]}, and {one.found.sha256[:12]} was {was}; fix: {one.weights.command}"
            )
        here = {name: other.found for name, other in known.items() if other.found is not None}
        loaded = [extractor.name for extractor in one.extractors if load_or_refuse(extractor, here)]
    except (UserError, OSError) as error:
        return WeightsCheck(one.name, path, "FAILED", str(error))
    idle = [extractor.name for extractor in one.extractors if extractor.name not in loaded]
    text = f"sha256 {sha256[:12]}, loaded by {', '.join(loaded) or 'none'}"
    missing = f"; not by {', '.join(idle)}, whose packages or other weights are missing" if idle else ""
    return WeightsCheck(one.name, path, "ok", text + missing)
