"""The command line. Commands import their dependencies when they run, so that `bench list` starts at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Annotated, NoReturn

import typer

from bench import __version__
from bench.cli.commands import add_commands
from bench.cli.faults import TRACEBACK_VARIABLE, of_plugin, unexpected
from bench.cli.json_output import only_json_on_stdout
from bench.cli.terminal import flush_output, open_streams, print
from bench.core import launcher
from bench.core.errors import UserError
from bench.core.stopping import INTERRUPTS, Interrupted, Stopped, exit_code, noting_interrupts
from bench.runs.plugins.places import plugin_place

_FROM_CHECKPOINT = "goes on from the last checkpoint"
GOES_ON = {
    "run": _FROM_CHECKPOINT,
    "reproduce": _FROM_CHECKPOINT,
    "tune": _FROM_CHECKPOINT,
    "sweep": "keeps the points that are measured",
    "prepare": "keeps what is made",
}
"""What the same command does after an interrupt, for those that keep something of what they did."""


def command_line(called: str | None = None) -> typer.Typer:
    """Build the app. If `called` is a command, it alone is added, since the others double the start-up time."""
    app = typer.Typer(
        name="bench",
        help="Honest, fast, reproducible comparison of few-step diffusion distillation.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)  # with a callback, a single command is still called by its name
    add_commands(app, called)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        print(f"bench {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Compare few-step diffusion distillation: honest, fast, reproducible."""


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Treat a signal that ends a command as Ctrl-C, so that its jobs stop too."""
    _heard.append(number)
    raise Interrupted


_heard: list[int] = []
"""The signals that came; the first decides the exit code."""


def _end_interrupted(error: BaseException) -> NoReturn:
    # After SIGHUP, or Ctrl-C in a pipe, there may be nobody to read it; and who holds Ctrl-C down presses it here.
    with noting_interrupts(), contextlib.suppress(OSError):
        print(interrupted(error), file=sys.stderr)
    sys.exit(exit_code(_heard[0] if _heard else signal.SIGINT))


def _end_failed(reason: object) -> NoReturn:
    print(f"error: {reason}", file=sys.stderr)
    sys.exit(2)


def _end_unexpected(error: BaseException) -> NoReturn:
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(error)
    _end_failed(unexpected(error))


def _hear_signals() -> None:
    """Handle SIGTERM and SIGUSR2, which schedulers send, Ctrl-C, and SIGHUP unless `nohup` ignores it.

    In a script's background job SIGINT is ignored. That stays so, since SIGTERM ends such a job.
    """
    for number in INTERRUPTS:
        may_be_ignored = number in (signal.SIGHUP, signal.SIGINT)
        if not may_be_ignored or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _hear_no_more() -> None:
    """Let further signals end the process without a word: what it had to do is done."""
    for number in INTERRUPTS:
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, signal.SIG_DFL)


def _clear_launcher() -> None:
    """Ignore what another launcher set for its own processes, and say so."""
    if cleared := launcher.clear(os.environ):
        print(f"note: {', '.join(cleared)} ignored: bench starts its own processes", file=sys.stderr)


def interrupted(error: BaseException | None = None) -> str:
    """Return what an interrupted command says, with the line of a plug-in at which it was."""
    goes_on = GOES_ON.get(next(iter(sys.argv[1:]), ""))
    place = None if error is None else plugin_place(error)
    said = f"interrupted {place}" if place else "interrupted"
    return f"{said}; the same command {goes_on}" if goes_on else said


def main() -> None:
    """Run the command line. Errors are one line on stderr with exit code 2; a signal gives 128 + its number."""
    _hear_signals()
    open_streams()
    _clear_launcher()
    try:
        try:
            with only_json_on_stdout("--json" in sys.argv):
                command_line(next(iter(sys.argv[1:]), None))()
        finally:
            flush_output()
    except SystemExit as end:
        # Typer makes these errors an exit without a word; a command that exits itself has said why.
        cause = getattr(end.__context__, "__cause__", None)
        error = cause if isinstance(cause, KeyboardInterrupt | EOFError) else end
        if isinstance(error, EOFError) or of_plugin(error):
            _end_unexpected(error)
        if isinstance(error, KeyboardInterrupt):
            _end_interrupted(error)
        raise
    except UserError as error:
        _end_failed(error)
    except OSError as error:  # for example an unreadable folder or a full disk
        if _heard:
            _end_interrupted(error)  # the terminal is closed
        if of_plugin(error):
            _end_unexpected(error)
        from bench.core.disk import no_place_for_temporaries  # here, because commands must start fast

        _end_failed(no_place_for_temporaries(error) or error)
    except (Interrupted, Stopped) as error:
        _end_interrupted(error)
    except BaseException as error:  # a plug-in may raise anything
        _end_unexpected(error)
    finally:
        _hear_no_more()
