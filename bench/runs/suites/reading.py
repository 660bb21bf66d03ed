"""Suites from their TOML files: those of `results/suites`, and a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from bench.core.errors import UserError
from bench.core.files import regular_file
from bench.runs.result_files import file_named, file_names, read_toml, unreadable
from bench.runs.suites.declared import entries, made, refuse_doubles, require_keys, require_tables, texts, typed
from bench.runs.suites.suite import Curve, Suite, SuiteBaseline, SuiteRow, SuiteScale, SuiteStudent
from bench.training.budget import Budget

ABOUT = ("title", "paper", "curves", "extends")
"""Keys of a suite that are not of its scales."""
LISTS = ("rows", "baselines", "published")
"""Lists to which a suite that extends another adds its own entries."""


def suite_names() -> list[str]:
    """Return the names of the suites of `results`, sorted."""
    return file_names("suites")


def is_suite_file(name: str) -> bool:
    """Return whether a suite is named by the path of its file."""
    return name.endswith(".toml")


def suite_file(name: str) -> Path:
    """Return the file of a suite of `results`, or the user's own. Raises UserError if there is none."""
    return _own_file(Path(name)) if is_suite_file(name) else file_named("suite", "suites", name)


def load_suite(name: str) -> Suite:
    """Read a suite of `results` by its name, or a user's own by the path of its TOML file.

    A scale inherits every value that it does not set from the suite. A suite with `extends = NAME` inherits from
    that suite of `results`, and adds rows; the scales that it names are then its only ones. Raises UserError with
    the nearest suites, or with the file's problem.
    """
    own = Path(f"{name}.toml")
    if name not in suite_names() and not is_suite_file(name) and own.is_file():
        raise UserError(f"there is no suite {name!r} of the package, but a file {own}; fix: name it as {own}")
    path = suite_file(name)
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
