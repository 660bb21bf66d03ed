"""The rows of a suite with all that the suite decides for them: tuned values, and the iterations of its budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, listed, unknown
from bench.metrics.titles import UNSCALED_KID
from bench.runs.planning import plan_run
from bench.runs.protocols.derived import under_protocol
from bench.runs.record import MethodInfo
from bench.runs.registry import Catalogue
from bench.runs.result_files import RESULTS
from bench.runs.suites.suite import SuiteBaseline, SuiteRow, SuiteScale
from bench.runs.tuning.record import Question, Tuning, answer_to
from bench.task.base import Task
from bench.task.variations import names_sampler
from bench.training.budget import Budget
from bench.training.recipe import Recipe


def settled(
    scale: SuiteScale,
    catalogue: Catalogue,
    runs: Path,
    overrides: Mapping[str, Any] | None = None,
    others: Sequence[Tuning] = (),
) -> SuiteScale:
    """Return a scale whose rows set every value that the suite decides, and have their recipes; the note says how.

    Tuned values are those of the tunings in `runs`, or of the package's own, or else of `others`. `overrides` are
    the user's own values for every row. A row that is not tuned yet is marked, as is a sampler that the task does
    not have, and one whose method is not installed stays as it is. Raises UserError for a bad recipe, a budget
    that a method cannot keep, the seed of the tuning among the seeds, and for overrides that contradict the suite.
    """
    given = dict(overrides or {})
    known = catalogue.methods.entries
    marked = tuple(replace(row, installed=row.method in known) for row in scale.rows)
    baselines = _marked(scale, catalogue)
    scale = replace(scale, rows=marked, baselines=baselines, plugins=tuple(catalogue.plugins), given=given)
    trained_on = scale.trained_on or scale.task
    decides = scale.budget is not None or any(row.tune for row in scale.rows)
    if not decides and trained_on not in catalogue.tasks.entries:
        # records of a task that is not installed can be shown
        return replace(scale, note=_joined(scale.note, _on_unknown(f"the task {trained_on}")))
    _refuse_contradictions(scale, given)
    task = catalogue.tasks.get(trained_on)
    rows, tunings = [], []
    for row in scale.rows:
        if row.tune:
            folders = (runs, RESULTS)
            tuning = None
            if row.installed:
                tuning = answer_to(question_of(row, scale, catalogue, task), folders, others)
            row = replace(row, untuned=tuning is None)
            if tuning is not None:
                tunings.append(tuning)
                row = replace(row, overrides={**row.overrides, **tuning.chosen})
        if scale.budget is not None and row.installed:
            recipe = recipe_of(row.method, {**row.overrides, **given}, catalogue, task)
            within = scale.budget.iterations(recipe, row.method)
            row = replace(row, overrides={**row.overrides, "iterations": within})
        if row.installed and not row.untuned:
            row = replace(row, recipe=_resolved(row, given, catalogue, task))
        rows.append(row)
    unknown_here = [row.method for row in rows if not row.installed and not row.untuned]
    notes = [_on_budget(scale.budget), _on_tuning(rows, tunings, given)]
    notes += [_on_unknown(f"the method {listed(unknown_here, 20)}")] if unknown_here else []
    return replace(scale, rows=tuple(rows), note=_joined(scale.note, *notes))


def _marked(scale: SuiteScale, catalogue: Catalogue) -> tuple[SuiteBaseline, ...]:
    """Return a scale's samplers, with those marked that its task does not have."""
    if scale.task not in catalogue.tasks.entries:
        return scale.baselines
    has = catalogue.tasks.get(scale.task).baselines
    return tuple(replace(one, known=names_sampler(has, one.sampler)) for one in scale.baselines)


def question_of(row: SuiteRow, scale: SuiteScale, catalogue: Catalogue, task: Task) -> Question:
    """Return what `bench tune` answers for a row: its grid, on the task that trains the students."""
    if scale.protocol and not scale.trained_on:
        task = under_protocol(task, scale.protocol, catalogue)
    asked = Question(
        row.method, task.name, task.protocol.name, row.tune, row.overrides, scale.tuning_seed, scale.budget
    )
    return asked.of(catalogue, task)


def recipe_of(method: str, values: Mapping[str, Any], catalogue: Catalogue, task: Task) -> Recipe:
    """Return a method's recipe on a task with these values. Raises UserError for a bad one."""
    return catalogue.methods.get(method).recipe(task.recipes or task.name, task.scale, values)


def _resolved(row: SuiteRow, given: Mapping[str, Any], catalogue: Catalogue, task: Task) -> MethodInfo:
    """Return a row's method with its recipe; a row that starts from another names that one in `init_from`."""
    starts = {"init_from": row.starts_from} if row.starts_from else {}
    return plan_run(catalogue, row.method, task, {**row.overrides, **given, **starts}, 0, Path()).method_info


def require_rows(scale: SuiteScale, catalogue: Catalogue) -> None:
    """Raise UserError if a settled scale cannot be run: not installed, or not tuned yet, or an unknown column."""
    for name in scale.columns:
        if name not in {*catalogue.metrics.entries, UNSCALED_KID}:
            raise unknown(f"metric in the columns of suite {scale.suite}:", name, catalogue.metrics.entries)
    known = catalogue.methods.entries
    if missing := [row.method for row in scale.rows if row.method not in known]:
        rest = [row.method for row in scale.rows if row.method in known]
        others = f"; the others run alone: --method {','.join(dict.fromkeys(rest))}" if rest else ""
        raise UserError(
            f"suite {scale.suite} has rows of methods that are not installed: {listed(missing, 20)}; fix: install "
            f"them, or name their files by --plugin{others}"
        )
    if untuned := [row.method for row in scale.rows if row.untuned]:
        raise UserError(
            f"suite {scale.suite} compares tuned methods, and these are not tuned yet on {scale.task}: "
            f"{listed(untuned, 20)}; fix: {tune_command(scale, untuned)}"
        )


def tune_command(scale: SuiteScale, methods: Sequence[str]) -> str:
    """Return the command that tunes rows of a suite."""
    protocol = f" --protocol {scale.protocol}" if scale.protocol and not scale.trained_on else ""
    return f"bench tune --suite {scale.called}{protocol} --method {','.join(methods)}"


def _refuse_contradictions(scale: SuiteScale, given: Mapping[str, Any]) -> None:
    if scale.budget is not None and "iterations" in given:
        raise UserError(
            f"--set iterations={given['iterations']} contradicts the budget of {scale.budget} of suite "
            f"{scale.suite}, which fixes the iterations of every row; fix: leave it out"
        )
    for key in given:
        if methods := [row.method for row in scale.rows if key in row.tune]:
            raise UserError(
                f"--set {key}={given[key]} contradicts suite {scale.suite}, which tunes {key} of "
                f"{listed(methods)}; fix: leave it out"
            )
    if scale.tuning_seed in scale.seeds and any(row.tune for row in scale.rows):
        raise UserError(
            f"suite {scale.suite} is tuned on seed {scale.tuning_seed}, which is no seed to report; "
            f"fix: --seed {','.join(str(seed) for seed in scale.seeds if seed != scale.tuning_seed) or '0'}"
        )


def _joined(*notes: str) -> str:
    return " ".join(filter(None, (note.strip() for note in notes)))


def _on_unknown(what: str) -> str:
    """Say that the recipes of rows are not known here, and what makes them known."""
    return (
        f"Here {what} is not known, and so not the recipe that a row of it has now: the row has the results of "
        "every recipe with the values that the suite sets; fix: add --plugin FILE, which defines it."
    )


def _on_budget(budget: Budget | None) -> str:
    """Say what each training may take."""
    return f"Equal budget: each training takes at most {budget}." if budget else ""


def _on_tuning(rows: Sequence[SuiteRow], tunings: Sequence[Tuning], given: Mapping[str, Any]) -> str:
    """Say how the methods were tuned, which were not, and with which of the user's values they were not."""
    if not tunings:
        return ""
    points, seeds = {len(one.points) for one in tunings}, {one.seed for one in tunings}
    tuned = [row.method for row in rows if row.tune]
    who, rest = "Equal tuning: each method has", ""
    if len(tuned) < len(rows):
        who = f"Unequal tuning: {listed(tuned, 20)} alone {'has' if len(tuned) == 1 else 'have'}"
        rest = f" Not tuned: {listed((row.method for row in rows if not row.tune), 20)}."
    return (
        f"{who} the best of {_range(points)} recipes on seed {_range(seeds)} by "
        f"{_range({one.metric for one in tunings})} (bench tune); no seed of the tuning is reported."
        + rest
        + (
            f" It was tuned without --set {', '.join(f'{key}={value}' for key, value in given.items())}."
            * bool(given)
        )
    )


def _range(values: Iterable[object]) -> str:
    return " or ".join(map(str, sorted(values, key=str)))
