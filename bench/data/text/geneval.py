"""Read GenEval's published prompts: `evaluation_metadata.jsonl` of github.com/djghosh13/geneval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, unknown, without_fix
from bench.data.plain import json_lines
from bench.data.source import read_bytes
from bench.data.text.object_names import NAMES
from bench.data.text.prompts import PromptList

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
"""GenEval's six tasks; its overall score is the mean of theirs."""
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
RELATIONS = ("left of", "right of", "above", "below")
MAX_BYTES = 1 << 24


@dataclass(frozen=True)
class Wanted:
    """Objects that an image must show, or, among the excluded ones, must not show."""

    name: str
    count: int
    """The least number of included objects; of excluded ones an image must have fewer."""
    colour: str | None = None
    position: tuple[str, int] | None = None
    """A relation, and the place in `include` of the objects that it relates to."""


@dataclass(frozen=True)
class GenEvalPrompt:
    """A prompt, with what its images must and must not show."""

    prompt: str
    task: str
    include: tuple[Wanted, ...]
    exclude: tuple[Wanted, ...] = ()


def read_geneval(path: Path) -> tuple[GenEvalPrompt, ...]:
    """Read the prompts in the order of the file (553 in the published one).

    Raises UserError with the line that is not as published, or that asks for something else of an earlier prompt.
    """
    found: dict[str, GenEvalPrompt] = {}
    prompts = []
    content = read_bytes(path.expanduser(), MAX_BYTES)
    try:
        lines = list(json_lines(content, path.name))
    except UserError as error:
        raise _wrong(path, without_fix(error)) from None
    for number, line in lines:
        where = f"line {number}"
        try:
            one = _prompt(line)
        except UserError as error:
            raise _wrong(path, f"{where}: {error}") from None
        if found.setdefault(one.prompt, one) != one:
            raise _wrong(path, f"{where} asks for other objects of the earlier prompt {one.prompt!r}")
        prompts.append(one)
    if not prompts:
        raise _wrong(path, "it has no prompts")
    return tuple(prompts)


def geneval_prompts(path: Path) -> PromptList:
    """Return the texts of GenEval's prompts. Raises UserError as `read_geneval`."""
    found = read_geneval(path)
    return PromptList.of("geneval", [one.prompt for one in found], path.name, [one.task for one in found])


def _wrong(path: Path, why: str) -> UserError:
    return UserError(f"{path} is not GenEval's metadata: {why}; fix: name evaluation_metadata.jsonl as published")


def _prompt(line: Mapping[str, Any]) -> GenEvalPrompt:
    """Check and return one line. Raises UserError with what is wrong."""
    _only(line, required={"tag", "include", "prompt"}, optional={"exclude"})
    if not isinstance(line["prompt"], str) or not line["prompt"].strip():
        raise UserError(f"prompt {line['prompt']!r} is no text")
    if line["tag"] not in TASKS:
        raise unknown("task (tag)", str(line["tag"]), TASKS)
    include = _wanted(line["include"])
    if not include:
        raise UserError("nothing is included")
    for place, one in enumerate(include):
        if one.position is not None and not 0 <= one.position[1] < place:
            raise UserError(
                f"the position of {one.name!r} relates to entry {one.position[1]}, which is not earlier"
            )
    exclude = _wanted(line.get("exclude", []))
    if any(one.colour is not None or one.position is not None for one in exclude):
        raise UserError("an excluded object has a color or a position, which would not be read")
    return GenEvalPrompt(line["prompt"], line["tag"], include, exclude)


def _wanted(entries: Any) -> tuple[Wanted, ...]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError("include and exclude must be lists of objects")
    return tuple(map(_one_wanted, entries))


def _one_wanted(entry: Mapping[str, Any]) -> Wanted:
    _only(entry, required={"class", "count"}, optional={"color", "position"})
    name, count, colour, position = entry["class"], entry["count"], entry.get("color"), entry.get("position")
    if name not in NAMES:
        raise unknown("class of objects", str(name), NAMES)
    if type(count) is not int or count < 1:
        raise UserError(f"count {count!r} of {name!r} is no number from 1 on")
    if colour is not None and colour not in COLOURS:
        raise unknown("color", str(colour), COLOURS)
    if position is None:
        return Wanted(name, count, colour)
    if not isinstance(position, list) or len(position) != 2 or type(position[1]) is not int:
        raise UserError(f"position {position!r} of {name!r} is not [relation, entry]")
    if position[0] not in RELATIONS:
        raise unknown("relation", str(position[0]), RELATIONS)
    return Wanted(name, count, colour, (position[0], position[1]))


def _only(found: Mapping[str, Any], required: set[str], optional: set[str]) -> None:
    """Raise UserError unless an object has all required keys, and no others than the optional ones."""
    if missing := sorted(required - found.keys()):
        raise UserError(f"{', '.join(missing)} is missing")
    if other := sorted(found.keys() - required - optional):
        raise UserError(f"{', '.join(other)} is not a known key")
