"""Commands in messages: each names the places that the user's own command named, so that it works as it is.

A message is made where nobody knows the command line: `fix: bench status` is then of the usual folder of runs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import typer
from typer.core import TyperGroup
from typer.main import get_command

from bench.cli.commands import add_commands

PLACES = ("--runs", "--cache", "--plugin")
"""Options that say where things are, which mean the same in every command that takes them."""
TASK = "--task"
"""It is named where a command requires it, as `bench prepare` does; in others it would choose."""
NEXT_STEP = re.compile(r"\bfix:\s|(?::|\bget)\s+(?=bench )")
"""What stands in front of commands that a user is told to run."""
_COMMAND = re.compile(r"(?:^|(?<=[\s`(]))bench(?: [a-z][a-z-]*)+")
_END = re.compile(r"[;\n`]|, (?:or|then) |(?<=\s)bench ")
"""Where a command in a message ends at the latest."""


def with_places(text: str, argv: Sequence[str]) -> str:
    """Return a message whose commands name the places that `argv`, the arguments of the user's command, names.

    So they do with the task, if they require one. Only commands behind `fix:`, or right behind a colon as in
    `next: bench run`, change, by options that they take and do not have yet.
    """
    first = NEXT_STEP.search(text)
    given = given_places(argv) if first else []
    if first is None or not given:
        return text
    parts, done = [], 0
    for found in _COMMAND.finditer(text, first.end()):
        words, options = _known(found[0].split()[1:])
        taken = {name for name, required in options.items() if required or name in PLACES}
        if not words or text.count("'", first.end(), found.start()) % 2:  # none of ours, or within quotes
            continue
        end = _END.search(text, found.end())
        rest = text[found.end() : end.start() if end else len(text)]
        added = [(name, value) for name, value in given if name in taken and f"{name} " not in f"{rest} "]
        place = found.start() + len(" ".join(["bench", *words]))
        parts += [text[done:place], *(f" {name} {shlex.quote(value)}" for name, value in added)]
        done = place
    return "".join([*parts, text[done:]])


def given_places(argv: Sequence[str]) -> list[tuple[str, str]]:
    """Return the places and the task that a command line names, as options with values; plug-ins may be many."""
    found, words = list[tuple[str, str]](), iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name in (*PLACES, TASK) and (value := value if equals else next(words, "")):
            found = [one for one in found if one[0] != name or name == "--plugin"]
            found.append((name, value))
    return found


def _known(words: Sequence[str]) -> tuple[list[str], dict[str, bool]]:
    """Return the words that name a command, such as `records pack`, and its options: whether each is required."""
    app = typer.Typer()
    app.callback()(lambda: None)  # with a callback, a single command is still found by its name
    add_commands(app, words[0])
    command, named = get_command(app), list[str]()
    for word in words:
        if not isinstance(command, TyperGroup) or word not in command.commands:
            break
        command = command.commands[word]
        named.append(word)
    return named, {option: one.required for one in command.params for option in one.opts}
