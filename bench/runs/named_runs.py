"""The runs that names on a command line stand for: a folder, a run id, or a method with one recipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.core.errors import UserError, hint, listed, nearest
from bench.core.files import read_object
from bench.core.run_folder import PLAN, RECORD
from bench.runs.recipes import DIGITS, FilledRecipes, named_recipes, recipe_sha256
from bench.runs.record import MethodInfo
from bench.runs.records import tuned_runs


class FoundRuns(NamedTuple):
    """The runs that are meant, and those of a method that are not."""

    folders: list[Path]
    of_tuning: list[Path]
    """Runs of a tuning of a named method, which are no results of it."""


def find_runs(runs: Path, names: Sequence[str], task: str | None) -> FoundRuns:
    """Return the folders of the runs that names mean: a folder, a run id, or a method, which is all its seeds.

    A method that has runs of several recipes on a task is named with the first digits of one, `dmd2#b8b7ac`. The
    runs of a tuning are called by their own names alone. Raises UserError for a name that means none, or several
    recipes.
    """
    folders = sorted(path.parent for path in runs.glob(f"*/*/{PLAN}"))
    if task is not None:
        folders = [folder for folder in folders if folder.parent.name == task]
    found: dict[Path, None] = {}
    tuned, apart = tuned_runs([runs]), dict[Path, None]()
    filled = FilledRecipes({folder.name: one for folder in folders if (one := _planned(folder)) is not None})
    for name in names:
        if "/" in name or (Path(name) / RECORD).is_file():
            chosen = [Path(name)]
            if not Path(name).is_dir():
                raise UserError(f"no folder {name}; fix: name a run's folder, its id or its method")
        elif called := [folder for folder in folders if folder.name == name]:
            chosen = called
        else:
            meant = [folder for folder in folders if _method(folder) == name.partition("#")[0]]
            if not meant:
                raise _unknown(name, folders, runs, task)
            chosen = [folder for folder in meant if folder.name not in tuned]
            apart.update(dict.fromkeys(folder for folder in meant if folder not in chosen))
            if not chosen:
                raise UserError(
                    f"all runs of {name} are of its tuning, and no results: {listed(one.name for one in meant)}; "
                    "fix: name them by their ids, if they are to be packed"
                )
            chosen = _of_one_recipe(name, chosen, filled)
        found.update(dict.fromkeys(chosen))
    return FoundRuns([*found], [one for one in apart if one not in found])


def _of_one_recipe(name: str, folders: Sequence[Path], filled: FilledRecipes) -> list[Path]:
    """Return the runs of the recipe that a method's name means on each task. Raises UserError for several."""
    method, _, digits = name.partition("#")
    planned = {folder: _planned(folder) for folder in folders}
    known = {folder: recipe_sha256(one, filled) for folder, one in planned.items() if one is not None}
    chosen = [folder for folder in folders if known.get(folder, "").startswith(digits)]
    if not chosen:
        raise UserError(
            f"{method} has no recipe #{digits}; {hint(digits, sorted({one[:DIGITS] for one in known.values()}))}"
        )
    for task in {folder.parent.name for folder in chosen}:
        here = [one for folder in chosen if folder.parent.name == task and (one := planned[folder]) is not None]
        if len(recipes := named_recipes(here, filled)) > 1:
            raise UserError(
                f"{method} has runs of {len(recipes)} recipes on {task}; fix: name each that is meant: "
                f"{', '.join(recipes)}"
            )
    return chosen


def _planned(folder: Path) -> MethodInfo | None:
    """Return the method and the recipe of a run by its plan; None if that cannot be read."""
    plan = read_object(folder / PLAN) or {}
    try:
        return MethodInfo.model_validate({key: plan.get(key) for key in MethodInfo.model_fields})
    except ValueError:  # packing names it, if it has no record either
        return None


def _method(folder: Path) -> str:
    """Return the method or sampler of a run by its folder's name, METHOD-sSEED-HASH or SAMPLER-HASH."""
    stem, _, _ = folder.name.rpartition("-")
    method, mark, seed = stem.rpartition("-s")
    return method if mark and seed.isdigit() else stem


def _unknown(name: str, folders: Iterable[Path], runs: Path, task: str | None) -> UserError:
    known = [folder.name for folder in folders]
    close = nearest(name, [*known, *dict.fromkeys(map(_method, map(Path, known)))])
    where = f"{runs}/{task}" if task else str(runs)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"there: {listed(known)}"
    return UserError(f"no run or method {name!r} in {where}; {hint}; fix: bench status shows all runs")
