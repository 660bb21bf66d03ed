"""The executor of a Slurm cluster: it submits what was planned, watches it and comes back to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.core.errors import UserError, counted
from bench.jobs.executor import Detached, Executor, ExecutorOptions, left_out, say
from slurm import SUBMISSIONS

if TYPE_CHECKING:
    from bench.jobs.spec import JobSettings, JobSpec
    from bench.runs.plan import BaselineRun, Run
    from bench.runs.states.state import RunState
    from bench.task.base import Task
    from slurm.graph import Batch
    from slurm.launch import Launch
    from slurm.submission import Submission


@dataclass(frozen=True)
class SlurmExecutor(Executor):
    """Jobs of a Slurm cluster."""

    settings: JobSettings
    profile: str
    detach: bool

    name: ClassVar[str] = "slurm"
    summary: ClassVar[str] = "jobs of a Slurm cluster, through submitit; needs --profile"

    @classmethod
    def create(cls, settings: JobSettings, options: ExecutorOptions) -> SlurmExecutor:
        """Return an executor. Raises UserError without a good profile, and for options of this machine."""
        if options.profile is None:
            raise UserError("--executor slurm needs --profile NAME; fix: bench slurm profiles lists them")
        from slurm.profile import load_profile

        load_profile(options.profile)  # before anything else is looked at
        if options.jobs is not None or options.processes != 1:
            raise UserError(
                "--jobs and --processes are for this machine; on a cluster the profile says how many; "
                "fix: leave them out"
            )
        return cls(settings, options.profile, options.detach)

    def execute(self, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> list[Run | BaselineRun]:
        """Submit what is neither done nor in the queue, and wait for all, which is returned. Raises UserError."""
        from slurm.launch import launch, plan_launch

        every: list[Run | BaselineRun] = [*planned, *self._ready(baselines)]
        wanted = [one for one in every if one.finished() is None]
        if wanted:
            runs = self.settings.runs
            _show(launch(runs, partial(plan_launch, wanted, self.settings, self.profile)), runs)
            self._watch([one.folder for one in wanted])
        return every

    def evaluate(self, specs: Sequence[JobSpec], task: Task) -> None:
        """Submit evaluations of saved students, and wait for them. Raises UserError."""
        from slurm.launch import launch, plan_evaluations

        if specs:
            runs = self.settings.runs
            _show(launch(runs, partial(plan_evaluations, specs, task, self.settings, self.profile)), runs)
            self._watch([one.folder for one in specs])

    def dry_run(self, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> str:
        """Return what would be submitted, also where there is no Slurm. Raises UserError."""
        from slurm.launch import plan_launch

        every: list[Run | BaselineRun] = [*planned, *self._ready(baselines)]
        return "\n".join(_launch_lines(plan_launch(every, self.settings, self.profile, dry=True)))

    @classmethod
    def states(cls, runs: Path, ask: bool = True) -> list[RunState]:
        """Return where the runs are that were ever submitted from a folder of runs."""
        if not (runs / SUBMISSIONS).is_dir():
            return []
        from slurm.watch import submitted_states

        return submitted_states(runs, ask)

    @classmethod
    def submit_waiting(cls, runs: Path) -> int:
        """Submit waiting runs, as many as the queue has room for now."""
        if not (runs / SUBMISSIONS).is_dir():
            return 0
        from slurm.later import submit_later

        return submit_later(runs)

    @classmethod
    def cancel(cls, states: Sequence[RunState], runs: Path) -> list[str]:
        """Take runs out of the queue; return their names."""
        from slurm.control import cancel_runs

        return cancel_runs(states, runs)

    @classmethod
    def resume(
        cls,
        look: Callable[[], Sequence[RunState]],
        runs: Path,
        profile: str | None,
        tell: Callable[[str], None],
    ) -> Iterator[str]:
        """Submit again what ended without a result; yield a line for each submission."""
        from slurm import control

        for submission in control.resume_runs(look, runs, profile, tell):
            count = sum(len(batch.specs) for batch in submission.graph)
            yield f"submitted again: {counted(count, 'job')} ({submission.id}); bench status shows how they go"

    def _ready(self, baselines: Sequence[BaselineRun]) -> list[BaselineRun]:
        """Return those that can be evaluated; say why the others cannot."""
        ready = []
        for one in baselines:
            reasons = [] if one.finished() else left_out(one, self.settings.sources)
            if reasons:
                say("\n".join(reasons))
            else:
                ready.append(one)
        return ready

    def _watch(self, folders: Sequence[Path]) -> None:
        """Show how jobs go until they are over. Raises Detached if the user leaves them to themselves."""
        from bench.cli.cluster import follow, under_way

        runs, names = self.settings.runs, [f"{folder.parent.name}/{folder.name}" for folder in folders]
        back = (
            "bench status shows them, bench cancel --all ends them; the same command again submits the runs that "
            "start from their students, and shows the results"
        )
        if self.detach and under_way(runs, names):
            raise Detached(f"in the queue; {back}", 0)
        try:
            follow(runs, names)
        except KeyboardInterrupt:
            raise Detached(f"\nthe jobs go on; {back}", 130) from None


def _show(made: Submission, runs: Path) -> None:
    """Say which jobs are in the queue now, and how many runs wait for room in it."""
    from slurm.later import waiting_runs

    _say_overridden()
    for batch in made.graph:
        say(f"{batch.name}: job {made.jobs[batch.name]}, {counted(len(batch.specs), 'job')}")
    if waiting := len(waiting_runs(runs)):
        say(f"Slurm takes no more of your jobs for now: {counted(waiting, 'run')} will be submitted as jobs end")


def _say_overridden() -> None:
    """Say which settings of this shell would have overridden the profile, and have not."""
    from slurm.environment import overridden

    if names := overridden():
        say(
            f"{', '.join(names)}: not used, since the profile says what jobs ask for; fix: set it in the profile, "
            "under [sbatch]"
        )


def _launch_lines(launch: Launch) -> Iterator[str]:
    """Describe what would be submitted: the graph, each batch's resources and cost, and what sbatch would get."""
    from slurm.submission import sbatch_text

    graph = launch.submission.graph
    _say_overridden()
    if launch.not_asked:
        yield f"\nplanned without a cluster, as if its queue were empty: {launch.not_asked}"
    if not graph:
        yield "\nnothing to submit: all is finished or in the queue"
        return
    sizes = f"{'jobs':>6}{'nodes':>7}{'GPUs':>6}{'CPUs':>6}{'GB':>7}{'hours':>7}{'at most':>17}"
    yield f"\n{'batch':<28}{sizes}  after"
    for batch in graph:
        asked = batch.resources
        sizes = f"{asked.nodes:>7}{asked.gpus:>6}{asked.cpus:>6}{asked.memory_gb:>7g}{asked.hours:>7g}"
        after = "" if batch.after is None else f"{'its own of ' * batch.each}{batch.after}"
        yield f"{batch.name:<28}{len(batch.specs):>6}{sizes}{_cost([batch]):>17}  {after}"
    total = sum(len(batch.specs) for batch in graph)
    yield f"{counted(total, 'job')}, at most {_cost(graph)} without requeues\n"
    for batch in graph:
        yield f"# {batch.name}\n{sbatch_text(launch.submission, batch, launch.profile)}"


def _cost(batches: Iterable[Batch]) -> str:
    """Return the most that jobs may take: hours of GPUs, and of the cores of jobs without one."""
    asked = [(len(batch.specs), batch.resources) for batch in batches]
    hours = {
        "GPU-hour": sum(jobs * each.gpu_hours for jobs, each in asked),
        "core-hour": sum(jobs * each.core_hours for jobs, each in asked),
    }
    return " and ".join(counted(count, unit) for unit, count in hours.items() if count)
