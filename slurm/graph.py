"""The stages of work on a cluster (prepare once, train, evaluate), each with its resources."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial as bind
from pathlib import Path
from typing import TypeVar

from bench.core.errors import UserError
from bench.core.run_folder import TRAINED
from bench.jobs.spec import JobSettings, JobSpec
from bench.runs.plan import BaselineRun, Run
from bench.task.base import Task
from slurm.profile import Profile
from slurm.resources import Resources, Stage

T = TypeVar("T")

ASSETS = "assets"
"""Folder of the preparation that makes no pairs."""


@dataclass(frozen=True)
class Batch:
    """Jobs that are alike: an array, or one job."""

    name: str
    """Unique in its graph."""
    stage: Stage
    specs: tuple[JobSpec, ...]
    resources: Resources
    after: str | None = None
    """Name of the batch that comes before; None: none does."""
    each: bool = False
    """Each job waits for its own counterpart in that batch alone, not for all of it."""
    task: str = ""
    """Name of the task whose recipes set the resources; empty in a file of an older version."""
    scale: str = ""
    """Scale of that task."""
    images: int = 0
    """Images that the processes of a job divide among them; 0: they divide none."""

    def refitted(self, profile: Profile) -> Batch:
        """Return the batch with what it gets of a profile now, whatever it got before. Raises UserError."""
        if not self.task:
            return replace(self, resources=profile.capped(self.resources, self.stage))
        share = profile.share(self.task, self.scale, self.stage)
        return replace(self, resources=_dividing(share, self.images, self.name) if self.images else share)


Unit = tuple[Batch, ...]
"""Batches that only make sense together: a training, and the evaluations that wait for it one by one."""


def units(graph: Sequence[Batch]) -> list[Unit]:
    """Group a graph's batches into units, in their order."""
    found: list[Unit] = []
    for batch in graph:
        if batch.each and found and found[-1][-1].name == batch.after:
            found[-1] += (batch,)
        else:
            found.append((batch,))
    return found


def halves(unit: Unit) -> list[Unit]:
    """Cut each batch of a unit in two, at the same place; [] if there is one job alone, or others wait for it."""
    middle = len(unit[0].specs) // 2
    if middle == 0 or unit[0].stage == "prepare":
        return []
    names = {batch.name for batch in unit}

    def part(suffix: str, start: int | None, stop: int | None) -> Unit:
        return tuple(
            replace(
                batch,
                name=batch.name + suffix,
                specs=batch.specs[start:stop],
                after=batch.after + suffix if batch.after in names and batch.after else batch.after,
            )
            for batch in unit
        )

    return [part("a", None, middle), part("b", middle, None)]


def build_graph(
    todo: Sequence[Run | BaselineRun], settings: JobSettings, profile: Profile, folder: Path, largest: int
) -> list[Batch]:
    """Return the batches of what is to be done, each after the one that it waits for.

    `folder` takes the logs of what runs share; an array has at most `largest` jobs. Raises UserError if the
    profile cannot give what is needed.
    """
    by_task: dict[str, list[Run | BaselineRun]] = {}
    for one in todo:
        by_task.setdefault(one.task.name, []).append(one)
    tasks = (_TaskGraph(of_task, settings, profile, folder, largest) for of_task in by_task.values())
    return [batch for task in tasks for batch in task.batches()]


def evaluations(
    work: Sequence[JobSpec], task: Task, settings: JobSettings, profile: Profile, folder: Path, largest: int
) -> list[Batch]:
    """Return the batches of work that evaluates saved students of a task; none if there is none."""
    if not work:
        return []
    prepare = f"prepare-{task.name}"
    shared = (settings.preparation(task, 0, folder / prepare / ASSETS),)
    batches = [Batch(prepare, "prepare", shared, Resources(), task=task.name, scale=task.scale)]
    for number, part in enumerate(_parts(work, largest)):
        name = f"saved-{task.name}-{number}"
        batches.append(Batch(name, "evaluate", tuple(part), Resources(), prepare, False, task.name, task.scale))
    return [batch.refitted(profile) for batch in batches]


class _TaskGraph:
    """The batches of one task."""

    def __init__(
        self,
        todo: Sequence[Run | BaselineRun],
        settings: JobSettings,
        profile: Profile,
        folder: Path,
        largest: int,
    ) -> None:
        self.todo, self.task = todo, todo[0].task
        self.settings, self.profile, self.folder, self.largest = settings, profile, folder, largest

    def batches(self) -> Iterator[Batch]:
        """All of them, in an order in which each comes after the one that it waits for."""
        prepare = f"prepare-{self.task.name}"
        yield self._batch(prepare, "prepare", self._preparations())
        fresh = [one for one in self.todo if isinstance(one, Run) and not (one.folder / TRAINED).exists()]
        by_share: dict[Resources, list[Run]] = {}
        for run in fresh:
            by_share.setdefault(_dividing(self._share("train"), _images(run), run.label), []).append(run)
        parts = [(share, part) for share, alike in by_share.items() for part in _parts(alike, self.largest)]
        for number, (share, part) in enumerate(parts):
            train, evaluate = f"train-{self.task.name}-{number}", f"evaluate-{self.task.name}-{number}"
            images = math.gcd(*map(_images, part))
            yield replace(
                self._batch(train, "train", map(bind(self.settings.run, stage="train"), part), prepare),
                resources=share,
                images=images,
            )
            specs = map(bind(self.settings.run, stage="evaluate"), part)
            yield replace(self._batch(evaluate, "evaluate", specs, train), each=True)
        trained = {id(one) for one in fresh}  # comparing plans would take as long as their square
        ready = [one for one in self.todo if id(one) not in trained]
        for number, rest in enumerate(_parts(ready, self.largest)):
            specs = map(bind(self.settings.run, stage="evaluate"), rest)
            yield self._batch(f"ready-{self.task.name}-{number}", "evaluate", specs, prepare)

    def _batch(self, name: str, stage: Stage, specs: Iterable[JobSpec], after: str | None = None) -> Batch:
        task, asked = self.task, self._share(stage)
        return Batch(name, stage, tuple(specs), asked, after, task=task.name, scale=task.scale)

    def _preparations(self) -> tuple[JobSpec, ...]:
        """The task's assets, and each number of pairs that a method asks for."""
        counts = sorted({one.recipe.teacher_pairs for one in self.todo if isinstance(one, Run)} - {0}) or [0]
        folder = self.folder / f"prepare-{self.task.name}"
        names = {count: f"{count}-pairs" if count else ASSETS for count in counts}
        return tuple(self.settings.preparation(self.task, count, folder / names[count]) for count in counts)

    def _share(self, stage: Stage) -> Resources:
        return self.profile.share(self.task.name, self.task.scale, stage)


def _images(run: Run) -> int:
    """Images of one micro-batch of a run. Raises UserError if its batch does not divide into micro-batches."""
    recipe = run.recipe
    if recipe.batch_size % recipe.gradient_accumulation:
        parts = recipe.gradient_accumulation
        raise UserError(
            f"{run.label}: batch_size {recipe.batch_size} does not divide into {parts} micro-batches; "
            f"fix: --set batch_size={recipe.batch_size // parts * parts or parts}"
        )
    return recipe.batch_size // recipe.gradient_accumulation


def _dividing(asked: Resources, images: int, label: str) -> Resources:
    """Return resources with a number of GPUs that divides the images. Raises UserError if there are none."""
    for nodes in range(asked.nodes, 0, -1):
        for gpus in range(asked.gpus, 0, -1):
            fitting = replace(asked, nodes=nodes, gpus=gpus)
            if images % fitting.processes == 0:
                return fitting
    if asked.gpus == 0 and images % asked.nodes:
        raise UserError(
            f"{label}: {images} images of a batch do not divide among {asked.nodes} nodes; "
            "fix: set max_nodes = 1 in the profile"
        )
    return asked


def _parts(items: Sequence[T], largest: int) -> list[Sequence[T]]:
    return [items[start : start + largest] for start in range(0, len(items), largest)]


def runs_of(graph: Iterable[Batch]) -> list[Path]:
    """Return the folders of what a graph trains or evaluates, without what these share, in the order of jobs."""
    specs = (work for batch in graph if batch.stage != "prepare" for work in batch.specs)
    return list(dict.fromkeys(work.folder.resolve() for work in specs))


def part(graph: Sequence[Batch], folders: set[Path]) -> tuple[Batch, ...]:
    """Return what of a graph belongs to some folders, with the preparations that it needs.

    The jobs of a run keep their counterparts: they work in one folder.
    """
    found: list[Batch] = []
    needed: set[str | None] = set()
    for batch in reversed(graph):
        specs = tuple(work for work in batch.specs if work.folder.resolve() in folders)
        if batch.stage == "prepare" and (specs or batch.name in needed):
            specs = batch.specs  # what others share is done again, and found done
        if specs:
            found.append(replace(batch, specs=specs))
            needed.add(batch.after)
    return tuple(reversed(found))
