"""Suites, which are named sets of runs, with their scales, rows and columns."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import unknown
from bench.runs.argv import plugin_options
from bench.runs.record import MethodInfo
from bench.runs.suites.declared import NOT_IN_FILE, Seed
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
    known: bool = field(default=True, metadata=NOT_IN_FILE)
    """Whether the task has it, as another task than the suite's own may not (bench.runs.suites.settled)."""


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
