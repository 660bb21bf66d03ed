"""The suites (named sets of runs) and the paper's tables, read from the TOML files of `results`."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import results
from bench.core.errors import UserError, unknown
from bench.core.files import read_text
from bench.runs.declared import Seed, entries, made, refuse_doubles, require_keys, texts, typed
from bench.runs.tuning import TUNING_SEED
from bench.training.budget import Budget

RESULTS = Path(results.__file__).parent
"""Folder of the paper's tables, the suites and our records, which is part of the package."""

Curve = Literal["brightness", "fd"]
"""A curve over training: the mean pixel of the students' images (Fig. 8), or FD (Fig. 9)."""


@dataclass(frozen=True)
class PaperColumn:
    """A column of a table of the paper."""

    name: str
    """Key of this column in `PaperRow.values`."""
    title: str
    """The printed title."""
    direction: Literal["lower", "higher"]
    """The direction of better values."""


@dataclass(frozen=True)
class PaperRow:
    """A row of a table of the paper."""

    key: str
    """Stable slug, unique in its table."""
    label: str
    """The printed label."""
    values: dict[str, float]
    """Values by column name; a column is absent if the paper prints a dash. Latency is in seconds."""
    source: str
    """The paper's reference number with its authors, or the checkpoint published for the row."""
    family: str = ""
    """The heading above the row (Table 5)."""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper, as data."""

    name: str
    title: str
    source: str
    note: str
    """The known and the unknown parts of its protocol."""
    columns: tuple[PaperColumn, ...]
    rows: tuple[PaperRow, ...]

    def row(self, key: str) -> PaperRow:
        """Return the row with this key. Raises UserError with the nearest keys."""
        for row in self.rows:
            if row.key == key:
                return row
        raise unknown(f"row of {self.name}", key, [row.key for row in self.rows])


@dataclass(frozen=True)
class SuiteBaseline:
    """A named sampler of the task, and its row in the paper's table."""

    sampler: str
    label: str = ""
    """Empty: the sampler's name."""
    paper_row: str | None = None


@dataclass(frozen=True)
class SuiteStudent:
    """A student that others published; `bench eval --checkpoint` measures it from its files."""

    checkpoint: str
    """Name of its file or folder, which may contain * as a wildcard."""
    steps: int
    """Steps of its sampler."""
    label: str
    paper_row: str | None = None
    source: str = ""
    """Place of publication."""


@dataclass(frozen=True)
class SuiteRow:
    """A method to train, and its row in the paper's table."""

    method: str
    label: str
    paper_row: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Recipe values for this row only; the key in the file is `set`."""
    starts_from: str | None = None
    """Method of the row whose student of the same seed initialises this one (`dmd-ttur`); with `/best`, its best
    student by validation (`dmd-ttur/best`)."""
    tune: Mapping[str, list[Any]] = field(default_factory=dict)
    """The grid of values that `bench tune` tries for each of these recipe keys; the best ones are this row's."""
    untuned: bool = False
    """Whether the grid was not tuned yet, so that no run is this row's (bench.runs.settled); not in the file."""


@dataclass(frozen=True)
class SuiteScale:
    """The runs and columns of a suite at one scale."""

    suite: str
    name: str
    task: str
    """Task whose protocol measures everything."""
    seeds: tuple[Seed, ...]
    """Training seeds of each method."""
    columns: tuple[str, ...]
    """Names of the metrics to show, in order."""
    rows: tuple[SuiteRow, ...]
    baselines: tuple[SuiteBaseline, ...] = ()
    published: tuple[SuiteStudent, ...] = ()
    protocol: str | None = None
    """One of the task's protocols; None: its own."""
    trained_on: str | None = None
    """Task on which the students are trained, if it is not `task`."""
    all_paper_rows: bool = False
    """Whether rows of the paper without a counterpart here are shown."""
    note: str = ""
    """A remark on the table."""
    budget: Budget | None = None
    """What each training may take, which fixes the iterations of every row; None: the recipes fix them."""
    tuning_seed: Seed = TUNING_SEED
    """Training seed on which the rows' grids are tuned; it is none of `seeds`."""
    moved: bool = False
    """Whether the task is another than the suite's own; not in the file."""

    @property
    def called(self) -> str:
        """The suite's name with the options that choose this scale and task, as commands take them."""
        return f"{self.suite} --scale {self.name}" + (f" --task {self.task}" if self.moved else "")

    def on(self, task: str) -> SuiteScale:
        """Return the same runs on another task, under that task's own protocol.

        A budget of generator updates suits the task that it was chosen for, so on another one the recipes fix the
        iterations. One of passes or images is work, and stays.
        """
        chosen_for_it = self.budget is None or self.budget.unit != "generator_updates" or task == self.task
        budget = self.budget if chosen_for_it else None
        return replace(
            self, task=task, protocol=None, trained_on=None, budget=budget, moved=self.moved or task != self.task
        )

    def of(self, methods: Collection[str]) -> SuiteScale:
        """Return the rows of these methods, and those they start from. Raises UserError for an unknown one."""
        for method in methods:
            if method not in [row.method for row in self.rows]:
                raise unknown(f"method in suite {self.suite}:", method, {row.method for row in self.rows})
        first = {(row.starts_from or "").partition("/")[0] for row in self.rows if row.method in methods}
        return replace(self, rows=tuple(row for row in self.rows if row.method in {*methods, *first}))


@dataclass(frozen=True)
class Suite:
    """A named set of runs that makes one table or figure of the paper."""

    name: str
    title: str
    paper: str | None
    """Name of the paper's table; None if the paper prints no values."""
    curves: tuple[Curve, ...]
    """The curves in its figure."""
    scales: Mapping[str, SuiteScale]

    def scale(self, name: str) -> SuiteScale:
        """Return the runs at this scale. Raises UserError with the nearest scales."""
        if name not in self.scales:
            raise unknown(f"scale of suite {self.name}", name, self.scales)
        return self.scales[name]

    def paper_table(self) -> PaperTable | None:
        """Read the paper's table; None if the paper prints no values."""
        return load_paper_table(self.paper) if self.paper else None


def suite_names() -> list[str]:
    """Return the names of all suites, sorted."""
    return _names("suites")


def load_suite(name: str) -> Suite:
    """Read a suite. Raises UserError with the nearest suites, or with the problem of its file.

    A scale inherits every value that it does not set from the suite.
    """
    data = _read("suite", "suites", name)
    try:
        scales = data.pop("scales")
        about = {key: data.pop(key) for key in ("title", "paper", "curves") if key in data}
        found = Suite(
            name=name,
            title=about["title"],
            paper=about.get("paper"),
            curves=entries(about.get("curves", ["brightness", "fd"])),
            scales={scale: _scale({**data, **own}, name, scale) for scale, own in scales.items()},
        )
        return typed(found, {"tuple[Curve, ...]": lambda one: texts(one) and set(one) <= set(get_args(Curve))})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable("suite", "suites", name, error) from None


def _scale(data: dict[str, Any], suite: str, name: str) -> SuiteScale:
    """Build one scale from its own values and those of its suite."""
    common = data.pop("set", {})
    require_keys(data, SuiteScale, f"scale {name!r}", given={"suite", "name", "moved"})
    rows = tuple(_row(row, common) for row in data["rows"])
    parts: dict[str, Any] = {
        "rows": rows,
        "seeds": entries(data["seeds"]),
        "columns": entries(data["columns"]),
        "baselines": tuple(made(SuiteBaseline, entry, "a baseline") for entry in data.get("baselines", ())),
        "published": tuple(made(SuiteStudent, entry, "a published") for entry in data.get("published", ())),
    }
    for row in rows:
        first = (row.starts_from or row.method).partition("/")[0]
        if row.starts_from and [one.method for one in rows if one.starts_from is None].count(first) != 1:
            raise ValueError(f"{row.label!r} starts from {first!r}, which is not the method of one other row")
    if "budget" in data:
        parts["budget"] = Budget.of(data["budget"])
        for row in rows:
            if row.starts_from or "iterations" in row.overrides.keys() | row.tune.keys():
                why = f"starts from {row.starts_from}" if row.starts_from else "sets its own iterations"
                raise ValueError(f"{row.label!r} {why}, and the budget of {parts['budget']} fixes them")
    found = typed(SuiteScale(**{**data, **parts, "suite": suite, "name": name}))
    for what, values in {"seeds": found.seeds, "columns": found.columns}.items():
        refuse_doubles(values, what)
    refuse_doubles(
        [repr(replace(row, label="", paper_row=None)) for row in rows], "rows", [one.label for one in rows]
    )
    if not found.seeds:
        raise ValueError("seeds is an empty list; fix: seeds = [0, 1, 2]")
    if any(row.tune for row in rows) and found.tuning_seed in found.seeds:
        raise ValueError(f"seed {found.tuning_seed}, on which the rows are tuned, is among the suite's seeds")
    return found


def _row(entry: Mapping[str, Any], common: Mapping[str, Any]) -> SuiteRow:
    """Build one row from its own values and those that are set for all rows."""
    row = made(SuiteRow, entry, "a row", {"set": "overrides"}, given={"untuned"})
    row = replace(row, overrides={**common, **row.overrides})
    for key, values in row.tune.items():
        refuse_doubles(values, f"{key} to tune of {row.label!r}")
    if twice := row.tune.keys() & row.overrides.keys():
        raise ValueError(f"{row.label!r} sets {min(twice)} and tunes it, too")
    if row.tune and row.starts_from:
        raise ValueError(f"{row.label!r} starts from {row.starts_from} and has a grid to tune")
    return row


def load_paper_table(name: str) -> PaperTable:
    """Read a table of the paper. Raises UserError with the nearest tables, or with the problem of its file."""
    data = _read("paper table", "paper", name)
    try:
        found = PaperTable(
            name=name,
            title=data["title"],
            source=data["source"],
            note=data["note"],
            columns=tuple(made(PaperColumn, column, "a column") for column in data["columns"]),
            rows=tuple(made(PaperRow, row, "a row") for row in data["rows"]),
        )
        return typed(found)
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
    problem = f"it has no {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
    return UserError(f"{kind} {name!r} cannot be read: {path}: {problem}")
