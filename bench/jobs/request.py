"""A request for runs, from the command line, a file or a script, which is planned, run and shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, listed
from bench.core.run_folder import LOG, runs_option
from bench.jobs.executor import Executor, ExecutorOptions, executed, say
from bench.jobs.run_states import state_lookup
from bench.jobs.spec import JobSettings, plugin_hashes
from bench.runs.plan import BaselineRun, Run
from bench.runs.planning import plan_run, refuse_idle_overrides
from bench.runs.protocols.networks import network_requirements
from bench.runs.registry import Catalogue, load_catalogue
from bench.runs.repeat import keeping_command
from bench.runs.states.dry_run import plan_lines, require_for_recipes, require_networks
from bench.runs.states.lock import UnderWayError, is_locked
from bench.runs.states.pending import StateLookup
from bench.runs.task_sources import pinned_task, sources_of
from bench.task.base import Task
from bench.task.declaration import Requirement
from bench.training.cadence import VALIDATIONS
from bench.training.trackers import require_trackers, tracker_lines

FEW = 4
"""Up to this many failed runs are named in the command that shows what became of them."""


@dataclass(frozen=True)
class RunRequest:
    """Methods on one task, with all that says where and how they are run."""

    methods: Sequence[str] = ("dmd2",)
    task: str = "digits"
    protocol: str | None = None
    """None: the task's own."""
    seeds: Sequence[int] = (0,)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Recipe values, for every method."""
    baselines: bool = True
    """Whether to evaluate the teacher's samplers, too."""
    threads: int = 1
    """CPU threads of each process."""
    runs: Path = Path("runs")
    cache: Path | None = None
    """None: $BENCH_CACHE, or ~/.cache/distillation-bench."""
    data: Path | None = None
    download: bool = False
    plugins: Sequence[Path] = ()
    track: Sequence[str] = ()
    """Trackers that are sent the logs, besides `metrics.jsonl` in each run's folder."""
    keep: Sequence[str] = ()
    """What evaluations keep for metrics that are added later: images, features (bench.evaluation.kept)."""
    validations: int = VALIDATIONS
    """How often FD is measured during each training; 0: never."""
    executor: str = "local"
    options: ExecutorOptions = field(default_factory=ExecutorOptions)

    def plan(self) -> PlannedRequest:
        """Resolve every run. Raises UserError for an unknown name, key or value, or a missing tracker."""
        require_trackers(self.track)
        catalogue = load_catalogue(self.plugins)
        task = pinned_task(catalogue, self.task, self.cache, self.protocol)
        runs = [
            plan_run(catalogue, method, task, self.overrides, seed, self.runs)
            for method in self.methods
            for seed in self.seeds
        ]
        sources = sources_of(task, self.cache, self.data, self.download)
        refuse_idle_overrides(runs, self.overrides)
        baselines = (
            [BaselineRun(task, self.runs, one) for one in task.baselines.values()] if self.baselines else []
        )
        settings = JobSettings(
            self.runs,
            sources,
            self.threads,
            plugin_hashes(catalogue.plugins),
            self.track,
            self.keep,
            self.validations,
        )
        workers = make_executor(catalogue, self.executor, settings, self.options)
        networks = network_requirements(task, catalogue, sources.cache)
        return PlannedRequest(task, runs, baselines, settings, workers, networks)


@dataclass(frozen=True)
class PlannedRequest:
    """The runs of a request, each with a name and a folder, and the executor that does them."""

    task: Task
    runs: Sequence[Run]
    baselines: Sequence[BaselineRun]
    settings: JobSettings
    executor: Executor
    networks: Sequence[Requirement]
    """What the protocol's metrics read beside what the task requires (bench.runs.protocols.networks)."""

    def __post_init__(self) -> None:
        """Raise UserError if FD cannot be measured during training as often as `validations` says.

        A protocol without FD has none then either, and a recipe that selects by it says itself how often.
        """
        protocol, asked = self.task.protocol, self.settings.validations
        if asked not in (0, VALIDATIONS) and "fd" not in protocol.metrics:
            raise UserError(
                f"--validations {asked} measures FD during training, and protocol {protocol.name!r} has none; "
                "fix: leave it out"
            )
        selecting = [run.label for run in self.runs if run.recipe.keep_best]
        if selecting and self.settings.validations != VALIDATIONS:
            raise UserError(
                f"--validations {self.settings.validations} would change which student of {listed(selecting)} is "
                "the best (keep_best), and the recipe says how often FD is measured; "
                "fix: leave it out, or --set best_every=ITERATIONS in its place"
            )

    def lines(self) -> Iterator[str]:
        """Say what would be done: what is needed, each run with its cost and state, and the executor's jobs."""
        sources, lookup = self.settings.sources, state_lookup(self.settings.runs)
        yield from plan_lines(self.runs, self.baselines, sources, lookup, self.networks)
        yield from self.later_lines(lookup)
        yield from self.tracker_lines()
        if jobs := self.executor.dry_run(self.runs, self.baselines):
            yield jobs

    def later_lines(self, lookup: StateLookup) -> Iterator[str]:  # noqa: ARG002 (a suite has such work)
        """Say what would be done after the runs."""
        return iter(())

    def tracker_lines(self) -> list[str]:
        """Say how to look at what the trackers are sent."""
        return tracker_lines(self.settings.track, self.settings.runs)

    def execute(self) -> Sequence[Run | BaselineRun]:
        """Do what is not done yet; return all that is to have a result: `raise_failures` names what has none.

        Raises UserError if something is missing, before anything is run, and Detached if the jobs go on alone.
        """
        task = self.task
        say_not_sent(self.runs, self.settings.track)
        say_not_kept([*self.runs, *self.baselines], self.settings.keep)
        if task.pinned_by_prepare and any(run.finished() is None for run in self.runs):
            task.require(self.settings.sources, training=True)  # before a baseline takes its hours
            require_for_recipes(self.runs)
        require_networks(self.networks, [*self.runs, *self.baselines])
        return executed(self.executor, self.runs, self.baselines)


def say_not_sent(runs: Sequence[Run], track: Sequence[str]) -> None:
    """Name the runs that trackers are not sent, since they were finished before."""
    finished = [run.label for run in runs if run.finished() is not None] if track else []
    if finished:
        say(f"not sent to {', '.join(track)}: {listed(finished)}, finished before")


def say_not_kept(runs: Sequence[Run | BaselineRun], keep: Sequence[str]) -> None:
    """Name the runs of which nothing is kept, since they were finished before, each with the fix."""
    for run in runs if keep else ():
        if run.finished() is not None:
            kinds = " and ".join(keep)
            say(f"no {kinds} kept of {run.label}, finished before; fix: {keeping_command(run, keep)}")


def make_executor(catalogue: Catalogue, name: str, settings: JobSettings, options: ExecutorOptions) -> Executor:
    """Return an executor by its name. Raises UserError for an unknown one, and for options that do not fit it."""
    executor: type[Executor] = catalogue.registries["executor"].get(name)
    made: object = executor.create(settings, options)
    if not isinstance(made, Executor):
        raise UserError(
            f"executor {name!r} was made as {type(made).__name__}; fix: let its create() return an Executor"
        )
    return made


def raise_failures(wanted: Sequence[Run | BaselineRun], not_measured: Sequence[str] = ()) -> None:
    """Raise UserError if something has no result: the exit code says whether all went well.

    Where another command works on all of them, none has failed. `not_measured` are further evaluations without
    one.
    """
    failed = []
    for run in wanted:
        record = run.finished()
        if record is None or record.error is not None:
            failed.append(run)
    busy = [run.folder for run in failed if run.finished() is None and is_locked(run.folder)]
    if failed and len(busy) == len(failed) and not not_measured:
        raise UnderWayError(busy)
    bad = [run.label for run in failed]
    if bad or not_measured:
        named = [f" {run.task.name}/{run.id}" for run in failed if len(failed) <= FEW]
        where = runs_option(failed[0].root) if failed else ""
        fix = f"bench status{''.join(named)}{where}, which shows the reason and the next command"
        reason = f"{len(bad)} of {len(wanted)} runs failed" if bad else "not measured"
        raise UserError(f"{reason}: {'; '.join([*bad, *not_measured])}; see {LOG} in their folders; fix: {fix}")
