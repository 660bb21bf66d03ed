"""Planning: from names and values to the runs of bench.runs.plan, and back from a plan that was written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, listed, unknown
from bench.core.files import read_text
from bench.core.run_folder import PLAN
from bench.runs.plan import BaselineRun, Run
from bench.runs.registry import Catalogue
from bench.runs.task_sources import pinned_task
from bench.task.base import Task
from bench.training.recipe import build_recipe


def plan_run(
    catalogue: Catalogue, method_name: str, task: Task, overrides: Mapping[str, Any], seed: int, root: Path
) -> Run:
    """Resolve one run. Raises UserError for an unknown method, key or value."""
    entry = catalogue.methods.find(method_name)
    method = entry.load()
    for layer in method.layers:
        for key in layer:
            if key not in ("*", "micro", "paper", *catalogue.tasks.entries):
                raise unknown(f"task or scale in the recipes of {method_name!r}:", key, ["*", "micro", "paper"])
    recipe = method.recipe(task.recipes or task.name, task.scale, overrides)
    return Run(task, root, method, entry.origin, entry.plugin_sha256, recipe, dict(overrides), seed)


def refuse_idle_overrides(runs: Sequence[Run], overrides: Iterable[str]) -> None:
    """Raise UserError if an override has no effect on any of the runs."""
    for key in overrides:
        reasons = {run.method.name: run.recipe.idle().get(key) for run in runs}
        if all(reasons.values()):
            reason = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise UserError(f"--set {key} has no effect ({reason}); fix: leave it out")


def unreached_lines(runs: Iterable[Run]) -> Iterator[str]:
    """Name the recipe values that the trainings are too short for, each with what follows and the methods."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for key, what in run.recipe.unreached().items():
            methods = found.setdefault(f"{key}={getattr(run.recipe, key)}: {what}", [])
            if run.method.name not in methods:
                methods.append(run.method.name)
    yield from (f"{text} ({listed(methods)})" for text, methods in found.items())


def read_plan(catalogue: Catalogue, folder: Path, cache: Path) -> Run | BaselineRun:
    """Read the plan of a run's folder, with the assets that are pinned in `cache`.

    Raises UserError that names the changes if the same plan would now be another computation.
    """
    planned = json.loads(read_text(folder / PLAN))
    task = pinned_task(catalogue, planned["task"], cache, planned["protocol"]["name"])
    run = _planned(catalogue, planned, task, folder.parent.parent)
    if run.id != planned["run_id"]:
        now = json.loads(json.dumps(run.description()))
        changed = [key for key in planned.keys() & now.keys() - {"run_id", "origin"} if planned[key] != now[key]]
        what = ", ".join(sorted(changed)) or "the student that it starts from"
        raise UserError(
            f"this job was submitted for {planned['run_id']}, and these have changed since: {what}; "
            f"the run would now be {run.id}; fix: submit it again"
        )
    return run


def _planned(catalogue: Catalogue, planned: Mapping[str, Any], task: Task, root: Path) -> Run | BaselineRun:
    """Make a plan from its description."""
    if planned["kind"] == "baseline":
        return BaselineRun(task, root, task.baseline(planned["name"]))
    entry = catalogue.methods.find(planned["name"])
    method = entry.load()
    recipe = build_recipe(method.recipe_model(), planned["recipe"], f"the plan of {planned['run_id']}")
    passed, seed = planned["passed"], planned["seed"]
    return Run(task, root, method, entry.origin, entry.plugin_sha256, recipe, passed, seed)
