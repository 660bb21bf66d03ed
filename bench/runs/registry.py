"""The registry: methods, tasks, metrics and all other kinds by name, from entry points and plug-in files."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bench.core.errors import UserError, unknown
from bench.core.escape import is_name
from bench.runs.plugins.checks import NAMES, importing
from bench.runs.plugins.files import FROM_FILE, definitions, existing
from bench.runs.plugins.kinds import KINDS, ROWS, Kind
from bench.runs.plugins.packages import package_sha256
from bench.runs.plugins.places import is_ours
from bench.runs.plugins.process_state import unchanged_process
from bench.training.families import read_family, read_variants, resolve

if TYPE_CHECKING:
    from bench.data.base import Dataset
    from bench.features.base import FeatureExtractor
    from bench.metrics.info import MetricInfo
    from bench.task.base import Task
    from bench.training.method import Method, Variant

T = TypeVar("T")


@dataclass
class Entry(Generic[T]):
    """One registered name with its origin and, after `load`, the registered thing."""

    name: str
    kind: Kind
    origin: str
    """Distribution and version, or the plug-in file."""
    file_sha256: str = ""
    """Hash of the plug-in file; empty for installed things."""
    point: EntryPoint | None = None
    thing: T | None = None
    module: str = ""
    """The module of an installed plug-in; empty for what comes with this package."""

    @property
    def plugin_sha256(self) -> str:
        """Hash of a plug-in's code: of its file, or of its package.

        It is empty for what comes with this package, of whose code records have the commit.
        """
        return self.file_sha256 or (package_sha256(self.module) if self.module else "")

    def load(self) -> T:
        """Import and return the thing. Raises UserError, which names the origin, if the import fails."""
        if self.thing is None:
            assert self.point is not None
            who = f"{self.name!r} from {self.origin}"
            fix = f"install what is missing, or {_uninstall(self.origin)}"
            with unchanged_process(who), importing(lambda _: f"{who} cannot be loaded", fix):
                named = self.point.load()
            self.thing = self.kind.taken(named, self.name, self.origin)
            if self.thing is None:
                raise UserError(
                    f"{who} cannot be loaded: {named!r} is no {self.kind.name}; "
                    f"fix: let its entry point name {self.kind.wanted}"
                )
        return self.thing


def _uninstall(origin: str) -> str:
    """Return the command that takes an installed distribution away; `origin` is its name and version."""
    return f"pip uninstall {origin.rpartition(' ')[0]}"


def unregistered(kind: str, name: str, valid: Iterable[str]) -> UserError:
    """Build the error for an unknown name, which may be one that a plug-in file defines that was not given."""
    shown = f"bench list {kind}s" if kind in KINDS else "bench list"
    fix = f"{shown} shows what there is; what a plug-in file defines needs --plugin FILE"
    return UserError(f"{unknown(kind, name, valid)}; fix: {fix}")


@dataclass
class Registry(Generic[T]):
    """All registered things of one kind."""

    kind: Kind
    entries: dict[str, Entry[T]] = field(default_factory=dict)

    @classmethod
    def installed(cls, kind: Kind, points: Iterable[tuple[EntryPoint, str]]) -> Registry[T]:
        """Register the entry points of the group `bench.KINDs`. `points` also give each one's origin."""
        registry: Registry[T] = cls(kind)
        for point, origin in points:
            if point.group == f"bench.{kind.name}s":
                registry.add(Entry(point.name, kind, origin, point=point, module=_foreign(point, origin)))
        return registry

    def add(self, entry: Entry[T]) -> None:
        """Register an entry. Raises UserError if its name is used already, or is not a valid name."""
        kind = self.kind.name
        if not is_name(entry.name):
            raise UserError(f"{entry.origin}: the {kind} name {entry.name!r} is not valid; fix: give it {NAMES}")
        other = self.entries.get(entry.name)
        if other is not None:
            fix = "rename one of them, or leave one out" if entry.point is None else _uninstall(entry.origin)
            used = f"by {other.origin} and by {entry.origin}"
            raise UserError(f"the {kind} name {entry.name!r} is used twice: {used}; fix: {fix}")
        self.entries[entry.name] = entry

    def find(self, name: str) -> Entry[T]:
        """Return an entry. Raises UserError with the nearest names."""
        if name not in self.entries:
            raise unregistered(self.kind.name, name, self.entries)
        return self.entries[name]

    def get(self, name: str) -> T:
        """Return the thing of this name, imported."""
        return self.find(name).load()

    def loaded(self, tell: Callable[[UserError], None] = lambda _: None) -> dict[str, T]:
        """Return all things by their names, imported; what cannot be is reported, and hides no other."""
        found: dict[str, T] = {}
        for entry in self:
            try:
                found[entry.name] = entry.load()
            except UserError as error:
                tell(error)
        return found

    def has(self, thing: Any) -> bool:
        """Return whether this same object is registered already, as when a plug-in file only imports it."""
        return thing.name in self.entries and self.get(thing.name) is thing

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(sorted(self.entries.values(), key=lambda entry: entry.name))


@dataclass
class Catalogue:
    """Everything that can be named on the command line."""

    registries: dict[str, Registry[Any]]
    """By the name of the kind."""
    plugins: list[Path] = field(default_factory=list)

    @property
    def methods(self) -> Registry[Method]:
        """The methods."""
        return self.registries["method"]

    @property
    def tasks(self) -> Registry[Task]:
        """The tasks."""
        return self.registries["task"]

    @property
    def metrics(self) -> Registry[MetricInfo]:
        """The metrics."""
        return self.registries["metric"]

    @property
    def extractors(self) -> Registry[FeatureExtractor]:
        """The feature extractors."""
        return self.registries["extractor"]

    @property
    def renderers(self) -> Registry[Any]:
        """The renderers of reports (bench.report.renderer)."""
        return self.registries["renderer"]

    @property
    def datasets(self) -> Registry[Dataset]:
        """The data sets."""
        return self.registries["dataset"]


def installed(kind: str) -> Registry[Any]:
    """Return the installed things of one kind, without reading the others."""
    return _registry(KINDS[kind], list(_points([KINDS[kind]])))


def load_catalogue(plugins: Iterable[Path] = ()) -> Catalogue:
    """Register all installed things and those of plug-in files: Python files, and TOML files of variants."""
    points = list(_points(ROWS))
    found = Catalogue({kind.name: _registry(kind, points) for kind in ROWS})
    variants: list[Variant] = []
    modules: dict[str, Path] = {}
    for path in plugins:
        if path.suffix == ".toml":
            variants += read_variants(existing(path))
            found.plugins.append(path)
            continue
        other = modules.setdefault(path.stem, path)
        if other is not path:  # a module of one name would take the place of the other
            raise UserError(
                f"two plug-in files are called {path.name}: {other} and {path}; fix: rename one, or name it once"
            )
        _add_plugin(found, path)
    methods = found.methods
    resolve(variants, lambda name: methods.find(name).load(), lambda *one: _add_variant(methods, *one))
    return found


def _registry(kind: Kind, points: Iterable[tuple[EntryPoint, str]]) -> Registry[Any]:
    """Register the installed things of a kind. Methods are special: one entry point may stand for several."""
    return _installed_methods(kind, points) if kind.name == "method" else Registry.installed(kind, points)


def _installed_methods(kind: Kind, points: Iterable[tuple[EntryPoint, str]]) -> Registry[Method]:
    """Register the entry points of the group `bench.methods`, which name distillers.

    If there is a TOML file beside a distiller's module, the methods are those in the file, and the module is not
    imported.
    """
    registry: Registry[Method] = Registry(kind)
    for point, origin in points:
        if point.group != "bench.methods":
            continue
        family = _family_file(point)
        if family is None:
            registry.add(Entry(point.name, kind, origin, point=point, module=_foreign(point, origin)))
            continue
        for method in read_family(family, point.value):
            registry.add(Entry(method.name, kind, origin, thing=method, module=_foreign(point, origin)))
    return registry


def _foreign(point: EntryPoint, origin: str) -> str:
    """Return the module of an entry point, or nothing if it is one of this package."""
    return "" if is_ours(origin) else point.module


def _family_file(point: EntryPoint) -> Path | None:
    """Return the TOML file beside the module of an entry point, or None if there is none.

    For a package that cannot be imported it is None; loading its entry raises the error.
    """
    try:
        with importing(lambda _: ""):
            spec = importlib.util.find_spec(point.module)
    except UserError:
        return None
    path = Path(spec.origin).with_suffix(".toml") if spec is not None and spec.origin else None
    return path if path is not None and path.is_file() else None


def _add_variant(methods: Registry[Method], variant: Variant, method: Method) -> None:
    """Register a user's variant. It changes only the recipe, so its code is that of the method it extends."""
    extended = methods.find(variant.extends)
    origin = f"{FROM_FILE}{Path(variant.origin).name}"
    code, module = extended.file_sha256, extended.module
    methods.add(Entry(variant.name, KINDS["method"], origin, code, thing=method, module=module))


def _points(kinds: Iterable[Kind]) -> Iterator[tuple[EntryPoint, str]]:
    """Yield the entry points of these kinds, each with the name and version of its distribution.

    Distributions and their metadata, which are slow to parse, are read once for all kinds.
    """
    every: Any = entry_points()
    origins: dict[int, str] = {}
    for kind in kinds:
        for point in every.select(group=f"bench.{kind.name}s"):
            dist = point.dist
            if id(dist) not in origins:
                origins[id(dist)] = f"{dist.name} {dist.version}" if dist is not None else "unknown"
            yield point, origins[id(dist)]


def _add_plugin(catalogue: Catalogue, path: Path) -> None:
    """Register everything that one plug-in file defines. Raises UserError if it defines nothing."""
    added = 0
    for found in definitions(path):
        registry = catalogue.registries[found.kind.name]
        if not registry.has(found.thing):
            entry = Entry(found.thing.name, found.kind, found.origin, found.sha256, thing=found.thing)
            registry.add(entry)
            added += 1
    if not added:
        every = ", ".join(kind.wanted for kind in ROWS)
        raise UserError(f"plug-in {path} defines nothing to register; fix: define one of: {every}")
    catalogue.plugins.append(path)
