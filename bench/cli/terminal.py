"""Output of commands: text from outside is printed so that a terminal does not interpret it."""

from __future__ import annotations

import builtins
import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

import typer

from bench.core.errors import UserError
from bench.core.escape import printable

if TYPE_CHECKING:
    from bench.report.blocks import Block
    from bench.report.renderer import Renderer
    from bench.report.table import ReportTable


def print(*values: object, file: TextIO | None = None, flush: bool = False) -> None:
    """Print as Python does, with terminal escapes and control characters written out.

    Commands of next steps name the places that the user's command named (bench.cli.fixes). Every module of the
    command line imports it in place of the builtin, so that no message is forgotten.
    """
    builtins.print(*(printable(_runnable(str(value)), lines=True) for value in values), file=file, flush=flush)


def _runnable(text: str) -> str:
    """Return a message whose commands can be run as they are; most texts have none, and load nothing.

    JSON stays as it is: a quote in the name of a folder would end its string.
    """
    if text[:1] in "{[" or "bench " not in text or not any(word.startswith("--") for word in sys.argv):
        return text
    from bench.cli.fixes import with_places

    return with_places(text, sys.argv[1:])


def print_tables(tables: Sequence[ReportTable], renderer: Renderer | None = None, wide: bool = False) -> None:
    """Print tables in a format; without one, laid out for the terminal, or as Markdown where stdout is none.

    COLUMNS overrules the terminal's width; a dumb terminal has no styles. Raises UserError if a plug-in's renderer
    returns no text.
    """
    from bench.report.renderer import Layout
    from bench.report.renderers.plain import MarkdownRenderer
    from bench.report.renderers.terminal import TerminalRenderer

    terminal = sys.stdout.isatty()
    renderer = renderer or (TerminalRenderer() if terminal or wide else MarkdownRenderer())
    styled = terminal and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    text: object = renderer.render(tables, Layout(shutil.get_terminal_size().columns, wide, styled))
    if not isinstance(text, str):
        raise UserError(
            f"renderer {renderer.name!r} returned {type(text).__name__}; fix: let render() return a text"
        )
    if renderer.for_terminal:
        builtins.print(_runnable(text), end="")  # with its styles; it has made printable what it quotes
    else:
        print(text)


def print_blocks(blocks: Sequence[Block]) -> None:
    """Print headings, tables and texts: laid out for the terminal, or as Markdown where stdout is none."""
    from bench.report.blocks import to_markdown, to_rich

    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(to_rich(blocks))
    else:
        print(to_markdown(blocks))


def open_streams() -> None:
    """Make stdout and stderr accept any text in every locale, and open a null device for closed ones.

    Otherwise the next opened file would get the descriptor of the closed stream, and all printed text.
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
    """Flush stdout. Raises OSError now, when it can still be reported, and not at Python's exit.

    If the reader has closed the pipe, as `head` does, the command ends silently.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        sys.exit(1)
    except OSError:
        _discard_output()
        raise


def _discard_output() -> None:
    """Discard the text that is still to be printed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
