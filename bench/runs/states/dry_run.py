"""The output of --dry-run: requirements with the commands that get them, and the state of every run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench.core.errors import UserError
from bench.runs.planning import unreached_lines
from bench.training.budget import Spent

if TYPE_CHECKING:
    from bench.runs.plan import BaselineRun, Planned, Run
    from bench.runs.states.pending import StateLookup
    from bench.task.base import Task
    from bench.task.declaration import Requirement, Sources
    from bench.training.recipe import Recipe


def plan_lines(
    planned: Sequence[Run],
    baselines: Sequence[BaselineRun],
    where: Sources,
    lookup: StateLookup,
    networks: Sequence[Requirement],
) -> Iterator[str]:
    """Yield lines with the requirements and the missing ones, then each run with its cost and state.

    `networks` are those of the protocol's metrics.
    """
    for task in {run.task.name: run.task for run in (*planned, *baselines)}.values():
        yield f"{task.name} requires"
        yield from map(_line, _requirements(task, planned, baselines, where))
    if networks:
        yield "metrics require"
        yield from map(_line, networks)
    yield from _memory(planned)
    yield from (f"warning: {line}" for line in unreached_lines(planned))
    yield ""
    for run in planned:
        yield f"{run.id:<48}{_cost(run.recipe)}   {state_of(run, lookup)}"
    for baseline in baselines:
        protocol = baseline.task.protocol
        evaluations = protocol.samples * protocol.repetitions * baseline.baseline.network_evaluations
        yield f"{baseline.id:<48}{evaluations:>10} network evaluations{'':<21}{state_of(baseline, lookup)}"


def _cost(recipe: Recipe) -> str:
    spent = Spent.by(recipe)
    return (
        f"{spent.iterations:>8} iterations {spent.generator_updates:>8} generator updates "
        f"{spent.images:>12} training images {spent.passes:>12.0f} passes"
    )


def recipe_requirements(planned: Sequence[Run]) -> list[Requirement]:
    """Return the requirements that the recipes of these runs add to those of their task, each one once."""
    found = {one.role: one for run in planned for one in run.task.role_requirements(run.recipe.roles)}
    return list(found.values())


def require_for_recipes(planned: Sequence[Run]) -> None:
    """Raise UserError if something is missing for the recipes of unfinished runs, with commands that get it."""
    unfinished = [run for run in planned if run.finished() is None]
    if missing := [one for one in recipe_requirements(unfinished) if one.path is None]:
        methods = sorted({run.method.name for run in unfinished if recipe_requirements([run])})
        fixes = "".join(f"\n  {one.role}: {one.fix}" for one in missing)
        raise UserError(
            f"nothing was run; {', '.join(methods)} on task {planned[0].task.name!r} requires more than is "
            f"prepared; missing, each with its fix:{fixes}"
        )


def require_networks(networks: Sequence[Requirement], runs: Sequence[Planned]) -> None:
    """Raise UserError if something that metrics read is missing, and one of the runs has no result yet."""
    missing = [one for one in networks if one.path is None]
    if missing and any(run.finished() is None for run in runs):
        fixes = "".join(f"\n  {one.role}, {one.what}: {one.fix}" for one in missing)
        raise UserError(f"nothing was run; missing on this machine, each with its fix:{fixes}")


def require_all(
    tasks: Sequence[Task], planned: Sequence[Run], baselines: Sequence[BaselineRun], where: Sources
) -> None:
    """Raise UserError that names everything that is missing before a run starts, with the commands that get it.

    Tasks that make their requirements from their data are not checked.
    """
    pinned = {task.name: task for task in tasks if task.pinned_by_prepare}.values()
    if not any(task.missing(where) for task in pinned):
        require_for_recipes(planned)
        return
    fixes = []
    for task in pinned:
        found = _requirements(task, planned, baselines, where)
        fixes += [f"\n  {task.name}, {one.role}: {one.fix}" for one in found if one.path is None]
    raise UserError(f"nothing was run; missing on this machine, each with its fix:{''.join(fixes)}")


def state_of(run: Planned, lookup: StateLookup) -> str:
    """Return a few words about the progress of a run."""
    from bench.runs.records import read_record
    from bench.runs.states.pending import read_pending

    pending = read_pending(run.folder, lookup)
    if pending is not None and pending.at.under_way:
        return str(pending)
    if run.record.exists():
        record = read_record(run.record)
        if record.error is None:
            return "finished"
        again = "is not repeated" if run.finished() else "to be tried again"
        return f"failed: {record.error.type}, {again}"
    done = run.checkpointed()
    progress = f"continues from iteration {done}" if done else ""
    return ", ".join(part for part in (str(pending) if pending else "", progress) if part) or "new"


def _requirements(
    task: Task, planned: Sequence[Run], baselines: Sequence[BaselineRun], where: Sources
) -> Iterator[Requirement]:
    """Yield what a task requires, then what the samplers and the recipes of its runs add."""
    yield from task.requirements(where)
    for run in baselines:
        if run.task.name == task.name:
            yield from task.baseline_requirements(run.baseline)
    yield from recipe_requirements([run for run in planned if run.task.name == task.name])


def _line(one: Requirement) -> str:
    return f"  {one.role:<18}{one.what}: {one.path or f'missing; fix: {one.fix}'}"


def _memory(planned: Sequence[Run]) -> Iterator[str]:
    """Yield the memory of GPUs that each method takes, for tasks with large networks."""
    from bench.core.files import human_size
    from bench.training.cost import memory_holder, not_counted

    listed = set()
    for run in planned:
        parameters = run.task.network_parameters
        if parameters is not None and run.method.name not in listed:
            listed.add(run.method.name)
            size, holder = human_size(run.recipe.least_memory(parameters)), memory_holder(run.recipe.sharding)
            yield f"{run.method.name}: {size} on {holder}, {not_counted(run.recipe.one_base)}"
