"""Suites, which are named sets of runs: those of `results/suites`, and a user's own TOML files."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from bench.core.errors import UserError, unknown
from bench.core.files import regular_file
from bench.runs.argv import plugin_options
from bench.runs.record import MethodInfo
from bench.runs.result_files import file_named, file_names, read_toml, unreadable
from bench.runs.suites.declared import (
    NOT_IN_FILE,
    Seed,
    entries,
    made,
    refuse_doubles,
    require_keys,
    require_tables,
    texts,
    typed,
)
from bench.runs.suites.paper_tables import PaperTable, load_paper_table
from bench.runs.tuning.record import TUNING_SEED
from bench.training.budget import Budget

Curve = Literal["brightness", "fd"]
"""A curve over training: the mean pixel of the students' images (Fig. 8), or FD (Fig. 9)."""


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
    untuned: bool = field(default=False, metadata=NOT_IN_FILE)
    """Whether the grid was not tuned yet, so no run is this row's (bench.runs.suites.settled)."""
    recipe: MethodInfo | None = field(default=None, metadata=NOT_IN_FILE)
    """The method and the recipe of the row's runs now (bench.runs.suites.settled); None if that is not known, as
    of a method that is not installed."""
    installed: bool = field(default=True, metadata=NOT_IN_FILE)
    """Whether the method is known here, without which a suite cannot settle the row."""


@dataclass(frozen=True)
class SuiteScale:
    """The runs and columns of a suite at one scale."""

    suite: str = field(metadata=NOT_IN_FILE)
    """The suite's name, or the path of its file."""
    name: str = field(metadata=NOT_IN_FILE)
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
    """Training seed on which the rows' grids are tuned; it is not among `seeds`."""
    moved: bool = field(default=False, metadata=NOT_IN_FILE)
    """Whether the task is another than the suite's own."""
    given: Mapping[str, Any] = field(default_factory=dict, metadata=NOT_IN_FILE)
    """The user's own recipe values for every row (`--set`)."""
    plugins: tuple[Path, ...] = field(default=(), metadata=NOT_IN_FILE)
    """Plug-in files that define methods or tasks of it."""

    @property
    def plugin_options(self) -> str:
        """The options that name the plug-in files, each after a blank."""
        return plugin_options(self.plugins)

    @property
    def called(self) -> str:
        """The suite's name with the options that choose this scale and task, as commands take them."""
        task = f" --task {self.task}" if self.moved else ""
        return f"{shlex.quote(self.suite)} --scale {self.name}{task}{self.plugin_options}"

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

    def chosen(
        self, scale: str, task: str | None = None, protocol: str | None = None, methods: Collection[str] = ()
    ) -> SuiteScale:
        """Return a scale; where they are given, on another task, by a protocol, of these methods alone.

        Raises UserError for an unknown scale or method.
        """
        part = self.scale(scale)
        part = part.on(task) if task is not None else part
        part = replace(part, protocol=protocol or part.protocol)
        return part.of(methods) if methods else part

    def paper_table(self) -> PaperTable | None:
        """Read the paper's table; None if the paper prints no values."""
        return load_paper_table(self.paper) if self.paper else None


def suite_names() -> list[str]:
    """Return the names of the suites of `results`, sorted."""
    return file_names("suites")


def is_suite_file(name: str) -> bool:
    """Return whether a suite is named by the path of its file."""
    return name.endswith(".toml")


def load_suite(name: str) -> Suite:
    """Read a suite of `results` by its name, or a user's own by the path of its TOML file.

    A scale inherits every value that it does not set from the suite. A suite with `extends = NAME` inherits from
    that suite of `results`, and adds rows; the scales that it names are then its only ones. Raises UserError with
    the nearest suites, or with the file's problem.
    """
    own = Path(f"{name}.toml")
    if name not in suite_names() and not is_suite_file(name) and own.is_file():
        raise UserError(f"there is no suite {name!r} of the package, but a file {own}; fix: name it as {own}")
    path = _own_file(Path(name)) if is_suite_file(name) else file_named("suite", "suites", name)
    data = read_toml("suite", path)
    try:
        about, scales = _resolved(data)
        if not scales:
            raise KeyError("scales")
        found = Suite(
            name=path.stem,
            title=about["title"],
            paper=about.get("paper"),
            curves=entries(about.get("curves", ["brightness", "fd"])),
            scales={scale: _scale(values, name, scale) for scale, values in scales.items()},
        )
        return typed(found, {"tuple[Curve, ...]": lambda one: texts(one) and set(one) <= set(get_args(Curve))})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unreadable("suite", path, error) from None


def _own_file(path: Path) -> Path:
    """Return the path of a user's suite. Raises UserError if it is not there, or is called as one of `results`."""
    if not path.exists():
        raise UserError(f"there is no suite file {path}; fix: name an existing file, or one of bench list suites")
    if path.stem in suite_names():
        raise UserError(f"{path} is called as the suite {path.stem} of the package; fix: rename the file")
    return regular_file(path)


ABOUT = ("title", "paper", "curves", "extends")
"""Keys of a suite that are not of its scales."""
LISTS = ("rows", "baselines", "published")
"""Lists to which a suite that extends another adds its own entries."""


def _resolved(data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return what a file says of its suite, and the values of each of its scales with those that it inherits."""
    own = data.pop("scales", {})
    require_tables(data, own, LISTS)
    about = {key: data.pop(key) for key in ABOUT if key in data}
    if "extends" not in about:
        return about, {scale: {**data, **values} for scale, values in own.items()}
    if not isinstance(about["extends"], str):
        raise TypeError(f"extends is {about['extends']!r}; fix: make it a text, the name of a suite")
    first = file_named("suite to extend:", "suites", about["extends"])
    others, inherited = _resolved(read_toml("suite", first))
    scales = {
        scale: _extended(inherited.get(scale, {}), {**data, **own.get(scale, {})}) for scale in own or inherited
    }
    return {**others, **about}, scales


def _extended(first: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a scale with more of them: rows are added, other values replace those of the first."""
    added = {key: [*first[key], *more[key]] for key in LISTS if key in first and key in more}
    common = {"set": {**first["set"], **more["set"]}} if "set" in first and "set" in more else {}
    return {**first, **more, **added, **common}


def _scale(data: dict[str, Any], suite: str, name: str) -> SuiteScale:
    """Build one scale from its own values and those of its suite."""
    common = data.pop("set", {})
    require_keys(data, SuiteScale, f"scale {name!r}")
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
    labels = [one.label for part in (rows, found.published, found.baselines) for one in part]
    refuse_doubles([label for label in labels if label], "labels")
    if not found.seeds:
        raise ValueError("seeds is an empty list; fix: seeds = [0, 1, 2]")
    if any(row.tune for row in rows) and found.tuning_seed in found.seeds:
        raise ValueError(f"seed {found.tuning_seed}, on which the rows are tuned, is among the suite's seeds")
    return found


def _row(entry: Mapping[str, Any], common: Mapping[str, Any]) -> SuiteRow:
    """Build one row from its own values and those that are set for all rows."""
    row = made(SuiteRow, entry, "a row", {"set": "overrides"})
    row = replace(row, overrides={**common, **row.overrides})
    for key, values in row.tune.items():
        refuse_doubles(values, f"{key} to tune of {row.label!r}")
    if twice := row.tune.keys() & row.overrides.keys():
        raise ValueError(f"{row.label!r} sets {min(twice)} and tunes it, too")
    if row.tune and row.starts_from:
        raise ValueError(f"{row.label!r} starts from {row.starts_from} and has a grid to tune")
    return row
