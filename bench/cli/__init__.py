"""The command line. Commands import what they need when they run, so that `bench list` starts at once."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer

from bench.cli import browse, evaluate, prepare, refs, report, run
from tasks.errors import UserError

app = typer.Typer(
    name="bench",
    help="Honest, fast, reproducible comparison of few-step diffusion distillation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("list")(browse.list_)
app.command("describe")(browse.describe)
app.command("doctor")(browse.doctor)
app.command("prepare")(prepare.prepare)
app.command("run")(run.run)
app.command("reproduce")(run.reproduce)
app.command("eval")(evaluate.evaluate)
app.command("report")(report.report)
app.add_typer(refs.app, name="refs")


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Treat SIGTERM as Ctrl-C: workers are stopped, not left behind."""
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line: a user's mistake is one line on stderr and exit code 2, Ctrl-C is 130."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # an unreadable folder, a full disk: what and where, without a traceback
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
