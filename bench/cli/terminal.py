"""What commands print: names, messages and prompts are anybody's text, and no terminal obeys it."""

from __future__ import annotations

import builtins
import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import typer

from bench.core.errors import first_line
from bench.core.escape import printable

TRACEBACK_VARIABLE = "BENCH_TRACEBACK"
"""Environment variable that shows where an unexpected error arose."""


def print(*values: object, file: TextIO | None = None, flush: bool = False) -> None:
    """Print as Python does, with terminal escapes and control characters written out.

    Every module of the command line that prints imports it, so that no message has to think of it.
    """
    builtins.print(*(printable(value, lines=True) for value in values), file=file, flush=flush)


def open_streams() -> None:
    """Let output and errors take any text whatever the locale's encoding, and give closed ones a place to go.

    Without one, the next file that is opened would take the number of the closed stream, and what is printed.
    """
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            descriptor = os.open(os.devnull, os.O_WRONLY)
            if descriptor != number:
                os.dup2(descriptor, number)
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def exit_if_detached() -> Iterator[None]:
    """End the command where the jobs of the work inside go on without it, and say how to come back to them."""
    from bench.jobs.executor import Detached

    try:
        yield
    except Detached as detached:
        print(detached, file=sys.stderr)
        raise typer.Exit(detached.code) from None


def flush_output() -> None:
    """Write out what was printed; raises OSError now, where it can be told, and not as Python exits.

    Of a reader that has gone, as `head` does, nothing is said.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        sys.exit(1)
    except OSError:
        _discard_output()
        raise


def unexpected(error: Exception) -> str:
    """Describe in one line an error that nobody foresaw, and how to see where it arose."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return (
        f"unexpected {type(error).__name__}: {first_line(error)}{where}; "
        f"fix: {TRACEBACK_VARIABLE}=1 before the command shows where; please report it"
    )


def _discard_output() -> None:
    """Let what is still to be printed go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
