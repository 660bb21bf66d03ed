"""Names to methods, tasks and metrics, through Python entry points and plug-in files; imports no torch."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from bench.core.errors import UserError, unknown
from bench.core.escape import is_name
from bench.core.files import file_sha256, regular_file
from bench.metrics.catalogue import MetricInfo
from bench.runs.plugin_checks import NAMES, importing, refuse_odd, refuse_odd_distiller
from bench.task.base import Task
from methods.catalogue import Method

T = TypeVar("T")


@dataclass
class Entry(Generic[T]):
    """One registered name: who provides it and, once asked for, the thing itself."""

    name: str
    origin: str
    """Distribution and version, or the plug-in file."""
    plugin_sha256: str = ""
    """Hash of the plug-in file; empty for what is installed."""
    point: EntryPoint | None = None
    thing: T | None = None

    def load(self) -> T:
        """Import it. Raises UserError if the import fails: a broken plug-in must not look like ours."""
        if self.thing is None:
            assert self.point is not None
            with importing(lambda _: f"{self.name!r} from {self.origin} cannot be loaded"):
                thing = self.point.load()
            self.thing = _as_registered(self.name, self.origin, thing)
        return self.thing


@dataclass
class Registry(Generic[T]):
    """All registered things of one kind."""

    kind: str
    entries: dict[str, Entry[T]] = field(default_factory=dict)

    @classmethod
    def installed(cls, kind: str, points: Iterable[tuple[EntryPoint, str]]) -> Registry[T]:
        """Take the entry-point group `bench.<kind>s` out of `points`, which name their distributions, too."""
        registry: Registry[T] = cls(kind)
        for point, origin in points:
            if point.group == f"bench.{kind}s":
                registry.add(Entry(point.name, origin, point=point))
        return registry

    def add(self, entry: Entry[T]) -> None:
        """Register a name. Raises UserError if it is taken, or none."""
        if not is_name(entry.name):
            raise UserError(f"{entry.origin}: the {self.kind} name {entry.name!r} is none; fix: give it {NAMES}")
        other = self.entries.get(entry.name)
        if other is not None:
            raise UserError(
                f"the {self.kind} name {entry.name!r} is taken twice: by {other.origin} and by {entry.origin}"
            )
        self.entries[entry.name] = entry

    def find(self, name: str) -> Entry[T]:
        """Return an entry. Raises UserError with the nearest names."""
        if name not in self.entries:
            raise unknown(self.kind, name, self.entries)
        return self.entries[name]

    def get(self, name: str) -> T:
        """Return the thing of this name, imported."""
        return self.find(name).load()

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(sorted(self.entries.values(), key=lambda entry: entry.name))


@dataclass
class Catalogue:
    """Everything that can be named on the command line."""

    methods: Registry[Method]
    tasks: Registry[Task]
    metrics: Registry[MetricInfo]
    plugins: list[Path]


def _points() -> Iterator[tuple[EntryPoint, str]]:
    """Entry points of bench's groups, each with the name and version of its distribution.

    Distributions are read once, not once for each kind, and the metadata of each, which is slow to parse, too.
    """
    every: Any = entry_points()
    origins: dict[int, str] = {}
    for kind in ("method", "task", "metric"):
        for point in every.select(group=f"bench.{kind}s"):
            dist = point.dist
            if id(dist) not in origins:
                origins[id(dist)] = f"{dist.name} {dist.version}" if dist is not None else "unknown"
            yield point, origins[id(dist)]


def load_catalogue(plugins: Iterable[Path] = ()) -> Catalogue:
    """Collect what is installed, and the distillers and tasks that plug-in files define."""
    points = list(_points())
    methods: Registry[Method] = Registry.installed("method", points)
    tasks: Registry[Task] = Registry.installed("task", points)
    metrics: Registry[MetricInfo] = Registry.installed("metric", points)
    found = Catalogue(methods, tasks, metrics, [])
    for path in plugins:
        _add_plugin(found, path)
    return found


def _add_plugin(catalogue: Catalogue, path: Path) -> None:
    """Run one plug-in file and register each `Distiller` class and each `Task` that it defines."""
    from bench.training.distiller import Distiller

    if not path.exists():
        raise UserError(f"no plug-in file {path}")
    sha256 = file_sha256(regular_file(path))  # before it runs: a file may change itself
    name = f"bench_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where pickling and dataclasses look for a class's module
    with importing(lambda error: f"plug-in {path}{_line_in(path, error)} failed"):
        spec.loader.exec_module(module)
    origin = f"plug-in {path.name}"
    added = 0
    for thing in list(vars(module).values()):
        if inspect.isclass(thing) and issubclass(thing, Distiller) and thing.__module__ == name:
            if inspect.isabstract(thing):
                missing = ", ".join(sorted(thing.__abstractmethods__))
                raise UserError(f"plug-in {path}: class {thing.__name__} does not define {missing}")
            refuse_odd_distiller(thing, f"plug-in {path}")
            method = Method.of(thing, vars(thing).get("name") or thing.__name__.lower())
            catalogue.methods.add(Entry(method.name, origin, plugin_sha256=sha256, thing=method))
            added += 1
        elif isinstance(thing, Task):
            refuse_odd(thing, f"plug-in {path}")
            if not _imported(catalogue.tasks, thing):
                catalogue.tasks.add(Entry(thing.name, origin, plugin_sha256=sha256, thing=thing))
                added += 1
    if not added:
        raise UserError(f"plug-in {path} defines no Distiller class and no Task")
    catalogue.plugins.append(path)


def _as_registered(name: str, origin: str, thing: Any) -> Any:
    """What an entry point names, as the registry keeps it: a distiller class becomes a method."""
    if inspect.isclass(thing):
        from bench.training.distiller import Distiller

        if issubclass(thing, Distiller):
            refuse_odd_distiller(thing, origin)
            return Method.of(thing, name)
    if not isinstance(thing, Method | Task | MetricInfo):
        raise UserError(f"{name!r} from {origin} cannot be loaded: {thing!r} is no method, task or metric")
    refuse_odd(thing, origin)
    return thing


def _imported(tasks: Registry[Task], thing: Task) -> bool:
    """Whether a plug-in only imported this task, to build its own from it."""
    return thing.name in tasks.entries and tasks.get(thing.name) is thing


def _line_in(path: Path, error: BaseException) -> str:
    """Say at which line of the file the error arose: `:12`, or nothing if it was elsewhere."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f":{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f":{lines[-1]}" if lines else ""
