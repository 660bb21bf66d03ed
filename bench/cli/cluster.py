"""`bench status`, `logs`, `wait`, `cancel`, `resume`: what becomes of runs, here and on a cluster."""

from __future__ import annotations

import contextlib
import itertools
import shlex
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.json_output import JsonOption, print_json
from bench.cli.options import RunsOption
from bench.cli.status_table import state_data
from bench.cli.terminal import print
from bench.core.errors import UserError, counted, listed, unknown
from bench.core.escape import printable
from bench.core.files import regular_file
from bench.runs.states.next_steps import full_name

if TYPE_CHECKING:
    from bench.runs.states.state import RunState

_NAMED = "by name, NAME or TASK/NAME, or the beginning of it up to a hyphen, or by the number of a job or an array"
RunsArgument = Annotated[list[str], typer.Argument(help=f"Runs, {_NAMED}; default: all.")]
ASK_EVERY = 30
"""Seconds between two questions to the queue, while a log is followed."""
EverySeconds = Annotated[
    float,
    typer.Option(
        "--every", min=0.5, help="Seconds between two looks; up to four times as many while nothing moves."
    ),
]
PATIENT = 4.0
"""Factor by which the interval between updates may grow while nothing changes."""


def status(
    chosen: RunsArgument = [],
    watch: Annotated[bool, typer.Option("--watch", help="Update the table until nothing is under way.")] = False,
    every: EverySeconds = 30,
    runs: RunsOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Show the state of every run; exit code 1 if one failed, died or stopped."""
    if watch and as_json:
        raise UserError("--json shows one state and --watch many; fix: bench wait, then bench status --json")
    if watch:
        with _only_looking():
            states = follow(runs, chosen, every)
    else:
        if kept := _submit_later(runs):
            print(f"warning: {kept}", file=sys.stderr)
        states = _states_or_folders(runs, chosen)
        if as_json:
            print_json({"runs": [state_data(state, runs) for state in states]})
        else:
            _print(states, runs)
    _exit_code(states)


def wait(chosen: RunsArgument = [], every: EverySeconds = 30, runs: RunsOption = Path("runs")) -> None:
    """Wait until nothing is under way; exit code 1 if a run failed, died or stopped."""
    watch = _Watch(runs, chosen, _states(runs, chosen))
    with _only_looking():
        while watch.goes_on:
            watch.wait(every)
    _print(watch.states, runs)
    _exit_code(watch.states)


def logs(
    run: Annotated[str, typer.Argument(help=f"The run, {_NAMED}.")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as it grows, until the run ends.")] = False,
    lines: Annotated[int, typer.Option("--lines", min=0, help="Of the end; 0: all.")] = 40,
    runs: RunsOption = Path("runs"),
) -> None:
    """Print what a run's jobs printed."""
    from bench.core.run_folder import LOG

    states = _states_or_folders(runs, [run])
    if len(states) > 1:
        raise UserError(
            f"{len(states)} runs are called {run!r}: {listed(map(full_name, states))}; "
            f"fix: bench logs {shlex.quote(full_name(states[0]))}, or another of them"
        )
    (state,) = states
    path = state.folder / LOG
    if not path.exists():
        raise UserError(
            f"{full_name(state)} ({state.state}) has printed nothing yet: "
            f"{state.reason or 'its job has not begun'}; fix: bench status shows when it does"
        )
    with regular_file(path).open(encoding="utf-8", errors="replace") as file, _only_looking():
        kept, seconds = deque(file, maxlen=lines or None), itertools.count(1)
        watch = _Watch(runs, [full_name(state)], states)
        _write(kept)
        while follow and watch.goes_on:
            _write(file.readlines())
            sys.stdout.flush()
            time.sleep(1)
            if next(seconds) % ASK_EVERY == 0:  # the file is read more often than the controller is asked
                watch.update()
        _write(file.readlines())


def _write(lines: Iterable[str]) -> None:
    """Write lines of a log, as no terminal obeys them."""
    sys.stdout.writelines(printable(line, lines=True) for line in lines)


def cancel(
    chosen: Annotated[list[str], typer.Argument(help=f"Runs, {_NAMED}.")] = [],
    all_: Annotated[bool, typer.Option("--all", help="All that is under way.")] = False,
    runs: RunsOption = Path("runs"),
) -> None:
    """Take runs out of the queue; what they have done stays, and `bench resume` goes on from there."""
    from bench.jobs.executor import faults_named, installed_executors

    if bool(chosen) == all_:
        raise UserError("bench cancel takes either the names of runs or --all; fix: bench status lists them")
    states = _states(runs, chosen)
    cancelled: list[str] = []
    for executor in installed_executors():
        with faults_named(executor):
            cancelled += executor.cancel(states, runs)
    for run in cancelled:
        print(f"cancelled: {run}")
    if not cancelled:
        print("nothing to cancel: no job of these runs is in the queue")


def resume(
    chosen: RunsArgument = [],
    profile: Annotated[str | None, typer.Option("--profile", help="Another profile than before.")] = None,
    runs: RunsOption = Path("runs"),
) -> None:
    """Submit again what stopped, died, failed or was cancelled; it goes on from its last checkpoint."""
    from bench.jobs.executor import faults_named, installed_executors

    resumed = False
    for executor in installed_executors():
        with faults_named(executor):
            for line in executor.resume(lambda: _states(runs, chosen), runs, profile, print):
                resumed = True
                print(line)
    if not resumed:
        print("nothing to resume: every run that was submitted is done, under way, or diverged")


def _states_or_folders(runs: Path, chosen: Sequence[str]) -> list[RunState]:
    """Return the states of the named runs, from their folders alone if the queue gives no answer."""
    from bench.runs.states.state import SilentQueueError

    try:
        return _states(runs, chosen)
    except SilentQueueError as error:
        print(f"warning: {error}; the states come from the folders of the runs", file=sys.stderr)
        return _states(runs, chosen, ask=False)


def _states(runs: Path, chosen: Sequence[str], ask: bool = True) -> list[RunState]:
    """Return the states of the named runs, or of all but finished preparations.

    Raises UserError for an unknown name, and SilentQueueError if the queue is silent (unless `ask` is False).
    """
    from bench.jobs.run_states import submitted_runs
    from bench.runs.states.state import run_folders, run_state

    found = submitted_runs(runs, ask)
    for folder in {one.resolve() for one in run_folders(runs)} - found.keys():
        found[folder] = run_state(folder)
    if not found:
        raise UserError(f"no runs in {runs}; fix: bench run --method dmd2 --task digits")
    shown = [state for state in found.values() if chosen or not (state.is_preparation and state.state == "done")]
    states = sorted(shown, key=lambda state: (state.task, state.run))
    if not chosen:
        return states
    wanted = set[Path]()
    for name in chosen:
        of_name = [
            state.folder for state in states if name in (state.run, full_name(state)) or _is_job(state, name)
        ]
        of_name = of_name or [state.folder for state in states if _begins_with(state, name)]
        if not of_name:
            raise unknown("run", name, [state.run for state in states])
        wanted.update(of_name)
    return [state for state in states if state.folder in wanted]


def _is_job(state: RunState, name: str) -> bool:
    """Whether a name is that of a run's job, 123_4, of its whole array, 123, or of a submission."""
    return (bool(state.job) and name == state.job) or name in state.handles


def _begins_with(state: RunState, name: str) -> bool:
    """Whether a run's name begins so, up to a hyphen or into the hash at its end: dmd2-s1 is not dmd2-s10."""
    rests = [full.removeprefix(name) for full in (state.run, full_name(state)) if full.startswith(name)]
    return any(name.endswith(("-", "/")) or rest.startswith("-") or "-" not in rest for rest in rests)


def under_way(runs: Path, chosen: Sequence[str]) -> bool:
    """Return whether one of the named runs is under way."""
    return any(state.under_way for state in _states(runs, chosen))


def _submit_later(runs: Path) -> str:
    """Submit waiting runs, as many as the queues have room for now; return the error that prevents it, if any."""
    from bench.jobs.executor import faults_named, installed_executors

    count = 0
    try:
        for executor in installed_executors():
            with faults_named(executor):
                count += executor.submit_waiting(runs)
    except UserError as error:
        return f"what waits for room in the queue waits on: {error}"
    if count:
        print(f"submitted {counted(count, 'run')} that waited for room in the queue", file=sys.stderr)
    return ""


@dataclass
class _Watch:
    """Runs that are looked at again and again.

    While the queue gives no answer, as when its controller starts anew, nothing changes; a note says so once.
    """

    runs: Path
    chosen: Sequence[str]
    states: list[RunState]
    """States at the last update that the queue answered."""
    silent: bool = False
    kept: str = ""
    """The last printed reason for which waiting runs could not be submitted."""
    quiet: int = 0
    """Looks in a row that found nothing new."""

    def wait(self, every: float) -> None:
        """Wait, longer while nothing changes to spare the queue, and update."""
        time.sleep(every * min(PATIENT, 1.5**self.quiet))
        before = self.states
        self.update()
        self.quiet = self.quiet + 1 if self.states == before else 0

    @property
    def goes_on(self) -> bool:
        """Return whether something was under way at the last update."""
        return any(state.under_way for state in self.states)

    def update(self) -> None:
        """Read the states again."""
        kept = _submit_later(self.runs)
        if kept and kept != self.kept:
            print(f"warning: {kept}", file=sys.stderr)
        self.kept = kept
        try:
            self.states, self.silent = _states(self.runs, self.chosen), False
        except UserError as error:
            if not self.silent:
                print(f"no news: {error}; looking again until there is some", file=sys.stderr)
            self.silent = True


@contextlib.contextmanager
def _only_looking() -> Iterator[None]:
    """Ctrl-C ends the looking alone, not what is looked at."""
    try:
        yield
    except KeyboardInterrupt:
        print("\nno longer watched; what is under way goes on", file=sys.stderr)
        raise typer.Exit(130) from None


def follow(runs: Path, chosen: Sequence[str], every: float = 30) -> list[RunState]:
    """Show where runs are, again and again, until nothing of them is under way; return how they ended."""
    from rich.live import Live

    from bench.cli.status_table import status_table

    watch = _Watch(runs, chosen, _states(runs, chosen))
    with Live(auto_refresh=False) as live:
        live.update(status_table(watch.states, runs, live.console.width), refresh=True)
        while watch.goes_on:
            watch.wait(every)
            live.update(status_table(watch.states, runs, live.console.width), refresh=True)
    return watch.states


def _print(states: Sequence[RunState], runs: Path) -> None:
    from rich.console import Console

    from bench.cli.status_table import status_table

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 1000, highlight=False)
    console.print(status_table(states, runs, console.width if terminal else None))
    for state in states:
        for problem in state.problems:
            print(f"warning: {problem}", file=sys.stderr)


def _exit_code(states: Sequence[RunState]) -> None:
    if any(not state.under_way and state.state != "done" for state in states):
        raise typer.Exit(1)
