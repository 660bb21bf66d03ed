"""Read DPG-Bench's published questions: `dpg_bench.csv` of github.com/TencentQQGYLab/ELLA."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import UserError, unknown
from bench.data.plain import refuse_repeated, text_of
from bench.data.source import read_bytes
from bench.data.text.prompts import PromptList

CATEGORIES = ("global", "entity", "attribute", "relation", "other")
COLUMNS = ("item_id", "text", "proposition_id", "dependency", "tuple", "question_natural_language")
"""The columns that are read; the published file also has keywords and two of categories."""
MAX_BYTES = 1 << 27


@dataclass(frozen=True)
class Question:
    """A question with the answer yes or no about an image."""

    number: int
    text: str
    parents: tuple[int, ...]
    """Questions of the same prompt: this one makes sense only if the answer to all of them is yes."""
    category: str
    first_row: bool = False
    """Whether it is the first row of the file, which the official script skips."""


@dataclass(frozen=True)
class DPGPrompt:
    """A prompt with the questions that its images are asked."""

    item: str
    prompt: str
    questions: tuple[Question, ...]


def read_dpg(path: Path) -> tuple[DPGPrompt, ...]:
    """Read the prompts in the order of the file, each with its questions (1,065 prompts in the published one).

    Raises UserError with the row that is not as published: a missing column or value, a question that is there
    twice or depends on one that is not, or on itself in a circle.
    """
    items: dict[str, tuple[str, dict[int, Question]]] = {}
    last = ""
    for number, row in _rows(path.expanduser()):
        item, text, question = _question(path, number, row)
        if item in items and item != last:
            raise _wrong(path, f"row {number}: the rows of item {item!r} are not together")
        prompt, questions = items.setdefault(item, (text, {}))
        if prompt != text:
            raise _wrong(path, f"row {number}: item {item!r} has another text than before")
        if question.number in questions:
            raise _wrong(path, f"row {number}: item {item!r} has two questions {question.number}")
        questions[question.number] = question
        last = item
    if not items:
        raise _wrong(path, "it has no rows below its header")
    prompts = tuple(DPGPrompt(item, text, tuple(found.values())) for item, (text, found) in items.items())
    by_text: dict[str, DPGPrompt] = {}
    for one in prompts:
        _check_parents(path, one)
        if by_text.setdefault(one.prompt, one).questions != one.questions:
            raise _wrong(
                path, f"items {by_text[one.prompt].item!r} and {one.item!r} have one text, and other questions"
            )
    return prompts


def dpg_prompts(path: Path) -> PromptList:
    """Return the texts of DPG-Bench's prompts. Raises UserError as `read_dpg`."""
    return PromptList.of("dpg-bench", [one.prompt for one in read_dpg(path)], path.name)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the rows below the header, numbered from 1."""
    try:
        text = text_of(read_bytes(path, MAX_BYTES), str(path))
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        header = list(reader.fieldnames or ())
        if missing := [name for name in COLUMNS if name not in header]:
            raise _wrong(path, f"it has no column {', '.join(missing)}")
        refuse_repeated(path, header)
        for number, row in enumerate(reader, start=1):
            if None in row or None in row.values():
                raise _wrong(path, f"row {number} has not the {len(header)} fields of the header")
            yield number, row
    except csv.Error as error:
        raise _wrong(path, f"it is no table ({error})") from None


def _question(path: Path, number: int, row: Mapping[str, str]) -> tuple[str, str, Question]:
    """Return a row's item, its prompt and its question."""
    if empty := [name for name in COLUMNS if not row[name].strip()]:
        raise _wrong(path, f"row {number} has no {', '.join(empty)}")
    category = row["tuple"].partition("(")[0].partition("-")[0].strip()
    if category not in CATEGORIES:
        raise _wrong(path, f"row {number}: {unknown('category (first word of tuple)', category, CATEGORIES)}")
    try:
        own = int(row["proposition_id"])
        parents = tuple(parent for part in row["dependency"].split(",") if (parent := int(part)))
    except ValueError:
        raise _wrong(
            path,
            f"row {number}: proposition_id {row['proposition_id']!r} or dependency {row['dependency']!r} "
            "is no number",
        ) from None
    return (
        row["item_id"],
        row["text"],
        Question(own, row["question_natural_language"], parents, category, first_row=number == 1),
    )


def _check_parents(path: Path, prompt: DPGPrompt) -> None:
    """Raise UserError if a question depends on one that the prompt lacks, or on itself through others."""
    parents = {question.number: question.parents for question in prompt.questions}
    for number, named in parents.items():
        if other := [parent for parent in named if parent not in parents]:
            raise _wrong(
                path, f"item {prompt.item!r}: question {number} depends on {other[0]}, which is not there"
            )
    free: set[int] = set()
    while len(free) < len(parents):
        more = {number for number, named in parents.items() if number not in free and free.issuperset(named)}
        if not more:
            circle = sorted(parents.keys() - free)
            raise _wrong(path, f"item {prompt.item!r}: questions {circle} depend on each other in a circle")
        free |= more


def _wrong(path: Path, why: str) -> UserError:
    return UserError(f"{path} is not DPG-Bench's table: {why}; fix: name dpg_bench.csv as published")
