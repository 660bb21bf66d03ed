"""The interface of an executor, which does what was planned on this machine, on a cluster or elsewhere."""

from __future__ import annotations

import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.core.errors import UserError, first_line, listed
from bench.core.escape import printable
from bench.runs.planning import unreached_lines
from bench.runs.registry import Registry, installed

if TYPE_CHECKING:
    from bench.jobs.spec import JobSettings, JobSpec
    from bench.runs.plan import BaselineRun, Run
    from bench.runs.states.state import RunState
    from bench.task.base import Task
    from bench.task.declaration import Sources


@dataclass(frozen=True)
class ExecutorOptions:
    """The user's options for how jobs run."""

    jobs: int | None = None
    """Runs side by side; None: what cores or GPUs allow."""
    processes: int = 1
    """Number of processes of each run."""
    profile: str | None = None
    """Name or file of a cluster's profile."""
    detach: bool = False
    """Return once the jobs are in a queue."""


class Executor(ABC):
    """Does what was planned. The entry point group `bench.executors` names the classes.

    An executor whose jobs wait in a queue that outlives the command also says where they are, and cancels and
    resumes them.
    """

    name: ClassVar[str]
    """The name on the command line."""
    summary: ClassVar[str] = ""
    """One line that `bench list executors` shows."""

    @classmethod
    @abstractmethod
    def create(cls, settings: JobSettings, options: ExecutorOptions) -> Executor:
        """Return an executor. Raises UserError for options that it does not take, or that do not go together."""

    @abstractmethod
    def execute(self, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> list[Run | BaselineRun]:
        """Do what is not done yet; return all that is to have a result. Raises UserError.

        Raises Detached if the work goes on without this process.
        """

    @abstractmethod
    def evaluate(self, specs: Sequence[JobSpec], task: Task) -> None:
        """Do evaluations of saved students, which a task measures. Raises UserError, and Detached."""

    def dry_run(self, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> str:  # noqa: ARG002
        """Return, as text, how a plan would be done, beyond the plan itself. Raises UserError."""
        return ""

    @classmethod
    def states(cls, runs: Path, ask: bool = True) -> list[RunState]:  # noqa: ARG003
        """Return the states of all runs that were ever submitted from a folder of runs.

        Raises SilentQueueError if the queue gives no answer, unless it is not to be asked.
        """
        return []

    @classmethod
    def submit_waiting(cls, runs: Path) -> int:  # noqa: ARG003
        """Submit waiting runs, as many as the queue has room for now; return their number.

        Raises UserError with the reason if they cannot be submitted.
        """
        return 0

    @classmethod
    def cancel(cls, states: Sequence[RunState], runs: Path) -> list[str]:  # noqa: ARG003
        """Take runs out of the queue; return their names. Raises UserError."""
        return []

    @classmethod
    def resume(
        cls,
        look: Callable[[], Sequence[RunState]],  # noqa: ARG003
        runs: Path,  # noqa: ARG003
        profile: str | None,  # noqa: ARG003
        tell: Callable[[str], None],  # noqa: ARG003
    ) -> Iterator[str]:
        """Submit again what ended without a result of the runs that `look` returns; yield a line for each.

        Raises UserError if the queue refuses one: those that came before it are in the queue.
        """
        return iter(())


def executed(executor: Executor, runs: Sequence[Run], baselines: Sequence[BaselineRun]) -> list[Run | BaselineRun]:
    """Let an executor do what was planned, with a warning of recipe values that the trainings are too short for.

    Return all that is to have a result.

    Raises UserError if that is not a list with every run: one that is not in it would pass as done.
    """
    for line in unreached_lines(run for run in runs if run.finished() is None):
        say(f"warning: {line}")
    found: object = executor.execute(runs, baselines)
    returned = f"executor {executor.name!r} returned"
    if not isinstance(found, list):
        raise UserError(
            f"{returned} {type(found).__name__}; fix: let execute() return a list of the runs and samplers"
        )
    missing = [run.label for run in runs if not any(one is run for one in found)]
    if missing or any(all(one is not given for given in (*runs, *baselines)) for one in found):
        what = f"no {listed(missing)}" if missing else "something that it was not given"
        raise UserError(f"{returned} {what}; fix: let execute() return all that it was given")
    return found


class Detached(Exception):
    """The jobs go on without this process: the user detached, or stopped watching them."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


def installed_executors() -> list[type[Executor]]:
    """Import every executor that is installed; a plug-in file's is known to its own command alone.

    One that cannot be loaded is named in a warning and left out, so that the runs of the others are shown.
    """
    registry: Registry[type[Executor]] = installed("executor")
    return [*registry.loaded(lambda error: _warn_once(str(error))).values()]


@contextlib.contextmanager
def faults_named(executor: type[Executor]) -> Iterator[None]:
    """Ask an executor inside: a fault of its code is a warning, so that the others are asked. UserErrors pass."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        _warn_once(f"executor {executor.name!r} gives no answer: {type(error).__name__}: {first_line(error)}")


@cache
def _warn_once(text: str) -> None:
    """Warn of a fault that is met again at every look."""
    say(f"warning: {text}")


def left_out(baseline: BaselineRun, sources: Sources) -> list[str]:
    """Say why a baseline cannot be evaluated: its own weights are not here, and may not be downloaded."""
    missing = [one for one in baseline.task.baseline_requirements(baseline.baseline) if one.path is None]
    if sources.download:
        return []
    return [f"{baseline.label}: left out, no {one.what} here; {one.fix}" for one in missing]


def say(text: str) -> None:
    """Write a line for the user to stderr, as no terminal obeys it."""
    print(printable(text, lines=True), file=sys.stderr, flush=True)
