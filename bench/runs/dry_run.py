"""What a command would do: what the machine lacks for it and how to get that, and the state of every run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench.core.errors import UserError

if TYPE_CHECKING:
    from bench.runs.pending_runs import Look
    from bench.runs.plan import BaselineRun, Planned, Run
    from bench.task.base import Task
    from bench.task.declaration import Requirement, Sources


def plan_lines(
    planned: Sequence[Run], baselines: Sequence[BaselineRun], where: Sources, look: Look
) -> Iterator[str]:
    """Say what is needed and what of it is missing, then each run with its cost and state."""
    for task in {run.task.name: run.task for run in (*planned, *baselines)}.values():
        yield f"{task.name} needs"
        for need in _needs(task, [run for run in baselines if run.task.name == task.name], where):
            yield f"  {need.role:<18}{need.what}: {need.path or f'missing: {need.fix}'}"
        for need in recipe_needs([run for run in planned if run.task.name == task.name]):
            yield f"  {need.role:<18}{need.what}: {need.path or f'missing: {need.fix}'}"
    yield from _memory(planned)
    yield ""
    for run in planned:
        recipe = run.recipe
        images = recipe.iterations * recipe.batch_size
        cost = f"{recipe.iterations:>8} iterations {images:>12} training images"
        yield f"{run.id:<48}{cost}   {state_of(run, look)}"
    for baseline in baselines:
        protocol = baseline.task.protocol
        evaluations = protocol.samples * protocol.repetitions * baseline.baseline.network_evaluations
        yield f"{baseline.id:<48}{evaluations:>10} network evaluations{'':<21}{state_of(baseline, look)}"


def recipe_needs(planned: Sequence[Run]) -> list[Requirement]:
    """What the recipes of these runs ask of their task besides what every run does, each thing once."""
    found = {need.role: need for run in planned for need in run.task.role_requirements(run.recipe.roles)}
    return list(found.values())


def require_for_recipes(planned: Sequence[Run]) -> None:
    """Raise UserError that names what unfinished runs of a task lack for their recipes, and how to get it."""
    unfinished = [run for run in planned if run.finished() is None]
    if missing := [need for need in recipe_needs(unfinished) if need.path is None]:
        lacking = sorted({run.method.name for run in unfinished if recipe_needs([run])})
        reason = "".join(f"\n  {need.role}: {need.fix}" for need in missing)
        raise UserError(
            f"nothing was run; {', '.join(lacking)} on task {planned[0].task.name!r} needs more than is prepared; "
            f"missing:{reason}"
        )


def require_all(
    tasks: Sequence[Task], planned: Sequence[Run], baselines: Sequence[BaselineRun], where: Sources
) -> None:
    """Raise UserError that names all that is missing, with the commands that get it, before anything is run.

    Tasks that make what they need from their data are asked nothing.
    """
    chosen = {task.name: task for task in tasks if task.pinned_by_prepare}.values()
    if not any(task.missing(where) for task in chosen):
        require_for_recipes(planned)
        return
    reason = []
    for task in chosen:
        needs = list(_needs(task, [run for run in baselines if run.task.name == task.name], where))
        needs = [*needs, *recipe_needs([run for run in planned if run.task.name == task.name])]
        reason += [f"\n  {task.name}, {need.role}: {need.fix}" for need in needs if need.path is None]
    raise UserError(f"nothing was run; this machine lacks:{''.join(reason)}")


def state_of(run: Planned, look: Look) -> str:
    """A word or two on how far a run is."""
    from bench.runs.pending_runs import read_pending
    from bench.runs.records import read_record

    work = read_pending(run.folder, look)
    if work is not None and work.at.under_way:
        return str(work)
    if run.record.exists():
        record = read_record(run.record)
        if record.error is None:
            return "finished"
        again = "would again" if run.finished() else "to be tried again"
        return f"failed: {record.error.type}, {again}"
    done = run.checkpointed()
    goes_on = f"goes on from iteration {done}" if done else ""
    return ", ".join(part for part in (str(work) if work else "", goes_on) if part) or "new"


def _needs(task: Task, baselines: Sequence[BaselineRun], where: Sources) -> Iterator[Requirement]:
    yield from task.requirements(where)
    for run in baselines:
        yield from task.baseline_requirements(run.baseline)


def _memory(planned: Sequence[Run]) -> Iterator[str]:
    """What GPUs have to hold, where the networks are large enough to ask."""
    from bench.core.files import human_size
    from bench.training.cost import memory_holder

    seen = set()
    for run in planned:
        parameters = run.task.network_parameters
        if parameters is not None and run.method.name not in seen:
            seen.add(run.method.name)
            size = human_size(run.recipe.cost().least_memory(parameters))
            yield f"{run.method.name}: {size} on {memory_holder(run.recipe.sharding)}, and the activations"
