"""The suites (named sets of runs) and the paper's tables, read from the TOML files of `results`."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import results
from bench.core.errors import UserError, unknown
from bench.core.files import read_text
from bench.core.numbers import is_finite

T = TypeVar("T")

RESULTS = Path(results.__file__).parent
"""The paper's tables, the suites and our own records, as they come with the package."""

Curve = Literal["brightness", "fd"]
"""What a figure draws over training: the mean pixel of the students' images (Fig. 8), or FD (Fig. 9)."""


@dataclass(frozen=True)
class PaperColumn:
    """A column of a table of the paper."""

    name: str
    """Key of this column in `PaperRow.values`."""
    title: str
    """As printed."""
    direction: Literal["lower", "higher"]
    """Which values are better."""


@dataclass(frozen=True)
class PaperRow:
    """A row of a table of the paper."""

    key: str
    """Stable slug, unique in its table."""
    label: str
    """As printed."""
    values: dict[str, float]
    """By column name; a column is absent where the paper prints a dash. Latency is in seconds."""
    source: str
    """The paper's reference number and who it is, or the checkpoint published for the row."""
    family: str = ""
    """The heading above the row (Table 5)."""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper, as data."""

    name: str
    title: str
    source: str
    note: str
    """What is known of its protocol, and what is not."""
    columns: tuple[PaperColumn, ...]
    rows: tuple[PaperRow, ...]

    def row(self, key: str) -> PaperRow:
        """Return the row of this key; raise UserError naming the nearest keys."""
        for row in self.rows:
            if row.key == key:
                return row
        raise unknown(f"row of {self.name}", key, [row.key for row in self.rows])


@dataclass(frozen=True)
class SuiteBaseline:
    """A named sampler of the task, and the row of the paper's table that it answers."""

    sampler: str
    label: str = ""
    """Empty: the sampler's name."""
    paper_row: str | None = None


@dataclass(frozen=True)
class SuiteStudent:
    """A student that others published, measured from its files by `bench eval --checkpoint`."""

    checkpoint: str
    """Name of its file or folder, with * for what may differ."""
    steps: int
    """Steps of its sampler."""
    label: str
    paper_row: str | None = None
    source: str = ""
    """Where it is published."""


@dataclass(frozen=True)
class SuiteRow:
    """A method to train, and the row of the paper's table that it answers."""

    method: str
    label: str
    paper_row: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Recipe values of this row alone; `set` in the file."""
    starts_from: str | None = None
    """Method of another row from whose student of the same seed this one starts (`dmd-ttur`), or from the best
    on its way (`dmd-ttur/best`)."""


@dataclass(frozen=True)
class SuiteScale:
    """What a suite runs and shows at one scale."""

    suite: str
    name: str
    task: str
    """Task whose protocol measures everything."""
    seeds: tuple[int, ...]
    """Training seeds of each method."""
    columns: tuple[str, ...]
    """Names of the metrics to show, in order."""
    rows: tuple[SuiteRow, ...]
    baselines: tuple[SuiteBaseline, ...] = ()
    published: tuple[SuiteStudent, ...] = ()
    protocol: str | None = None
    """One of the task's protocols; None: its own."""
    trained_on: str | None = None
    """Task on which the students are trained, where that is another one; None: `task`."""
    all_paper_rows: bool = False
    """Whether rows of the paper are shown that nothing here answers."""
    note: str = ""
    """What a reader of the table has to know."""

    def on(self, task: str) -> SuiteScale:
        """The same runs on another task, which measures and trains them under its own protocol."""
        return replace(self, task=task, protocol=None, trained_on=None)


@dataclass(frozen=True)
class Suite:
    """A named set of runs that makes one table or figure of the paper."""

    name: str
    title: str
    paper: str | None
    """Name of the paper's table, or None where the paper prints no values."""
    curves: tuple[Curve, ...]
    """What its figure draws."""
    scales: Mapping[str, SuiteScale]

    def scale(self, name: str) -> SuiteScale:
        """Return what is run at this scale; raise UserError naming the nearest scales."""
        if name not in self.scales:
            raise unknown(f"scale of suite {self.name}", name, self.scales)
        return self.scales[name]

    def paper_table(self) -> PaperTable | None:
        """Read the paper's table; None where it prints no values."""
        return load_paper_table(self.paper) if self.paper else None


def suite_names() -> list[str]:
    """Return the names of all suites, sorted."""
    return _names("suites")


def paper_table_names() -> list[str]:
    """Return the names of the paper's tables, sorted."""
    return _names("paper")


def load_suite(name: str) -> Suite:
    """Read a suite; raise UserError naming the nearest suites, or what of its file is wrong.

    What a scale does not say, it takes from the suite.
    """
    data = _read("suite", "suites", name)
    try:
        scales = data.pop("scales")
        about = {key: data.pop(key) for key in ("title", "paper", "curves") if key in data}
        found = Suite(
            name=name,
            title=about["title"],
            paper=about.get("paper"),
            curves=tuple(about.get("curves", ("brightness", "fd"))),
            scales={scale: _scale({**data, **own, "suite": name, "name": scale}) for scale, own in scales.items()},
        )
        return _typed(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable("suite", "suites", name, error) from None


def _scale(data: Mapping[str, Any]) -> SuiteScale:
    """One scale, with everything that it takes from its suite."""
    rows = tuple(_typed(SuiteRow(**_renamed(row, "set", "overrides"))) for row in data["rows"])
    parts = {
        "rows": rows,
        "seeds": tuple(data["seeds"]),
        "columns": tuple(data["columns"]),
        "baselines": tuple(_typed(SuiteBaseline(**entry)) for entry in data.get("baselines", ())),
        "published": tuple(_typed(SuiteStudent(**entry)) for entry in data.get("published", ())),
    }
    for row in rows:
        first = (row.starts_from or row.method).partition("/")[0]
        if row.starts_from and [one.method for one in rows if one.starts_from is None].count(first) != 1:
            raise KeyError(f"{row.label!r} starts from {first!r}, which is not the method of one other row")
    return _typed(SuiteScale(**{**data, **parts}))


def _renamed(entry: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if key == old else key: value for key, value in entry.items()}


def load_paper_table(name: str) -> PaperTable:
    """Read a table of the paper; raise UserError naming the nearest tables, or what of its file is wrong."""
    data = _read("paper table", "paper", name)
    try:
        found = PaperTable(
            name=name,
            title=data["title"],
            source=data["source"],
            note=data["note"],
            columns=tuple(_typed(PaperColumn(**column)) for column in data["columns"]),
            rows=tuple(_typed(PaperRow(**row)) for row in data["rows"]),
        )
        return _typed(found)
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable("paper table", "paper", name, error) from None


def _names(folder: str) -> list[str]:
    return sorted(path.stem for path in (RESULTS / folder).glob("*.toml"))


def _read(kind: str, folder: str, name: str) -> dict[str, Any]:
    if name not in _names(folder):
        raise unknown(kind, name, _names(folder))
    try:
        return tomllib.loads(read_text(RESULTS / folder / f"{name}.toml"))
    except (ValueError, RecursionError) as error:
        raise _unreadable(kind, folder, name, error) from None


def _unreadable(kind: str, folder: str, name: str, error: Exception) -> UserError:
    path = RESULTS / folder / f"{name}.toml"
    return UserError(f"{kind} {name!r} cannot be read: {path}: {type(error).__name__}: {error}")


def _typed(thing: T) -> T:
    """Return what was read if all its fields are of their types. Raises TypeError."""
    for one in fields(thing):  # type: ignore[arg-type]
        value = getattr(thing, one.name)
        if not _IS.get(str(one.type), lambda _: True)(value):
            raise TypeError(f"{one.name} is {value!r}, which is no {one.type}")
    return thing


def _texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, str) for one in value)


_IS: Mapping[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: isinstance(value, str | None),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and is_finite(value),
    "tuple[str, ...]": _texts,
    "tuple[int, ...]": lambda value: all(isinstance(one, int) and 0 <= one < 2**31 for one in value),
    "tuple[Curve, ...]": lambda value: _texts(value) and set(value) <= set(get_args(Curve)),
    "Mapping[str, Any]": lambda value: isinstance(value, dict),
    "dict[str, float]": lambda value: isinstance(value, dict) and all(map(is_finite, value.values())),
    'Literal["lower", "higher"]': lambda value: value in ("lower", "higher"),
}
"""What the types of fields ask of a value, by how they are written above."""
