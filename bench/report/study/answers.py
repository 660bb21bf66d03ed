"""The answers of raters: files that the page exports, read with suspicion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from bench.core.errors import UserError, listed
from bench.core.files import digest, read_bytes
from bench.metrics.result import Count, Model
from bench.report.study.key import Half, Key

MOST_BYTES = 4 << 20
"""Answers take about 100 bytes a pair."""
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{1,31}$")]


class Answer(Model):
    """A rater's answers for one pair."""

    pair: str
    left: Half
    """The half of the pair's picture that the page showed on the left."""
    choices: list[Literal["left", "right"]]
    """One for each question."""
    milliseconds: list[Count]
    """The time from the display, or from the answer before it, to each answer."""

    def prefers(self, half: Half, question: int) -> bool:
        """Say whether the rater chose this half of the picture."""
        return (self.choices[question] == "left") == (self.left == half)


class Answers(Model):
    """The file of one rater."""

    version: Literal[1]
    study: str
    """Digest of the study's key."""
    rater: Word
    """The code that names the rater."""
    session: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    """Random number of one sitting, so that the same answers cannot count under two codes."""
    questions: list[str]
    answers: list[Answer]
    """In the order in which the pairs were shown."""
    checksum: str
    """SHA-256 of the canonical JSON of everything else. It finds damage and edits, but is no signature."""

    def content(self) -> dict[str, Any]:
        """Return what the checksum is of."""
        return self.model_dump(mode="json", exclude={"checksum"})


def read_answers(paths: Sequence[Path], key: Key) -> list[Answers]:
    """Read the answers of all raters to one study.

    Raises UserError that names the file for answers that were changed, are of another study, or are not complete,
    and for two files with the same answers or the same rater.
    """
    if not paths:
        raise UserError("bench study read takes the files that raters sent; fix: name at least one")
    found: list[tuple[Path, Answers]] = []
    for path in paths:
        answers = _read(path)
        _check(path, answers, key)
        for earlier, other in found:
            _refuse_double(path, answers, earlier, other)
        found.append((path, answers))
    return [answers for _, answers in found]


def _read(path: Path) -> Answers:
    if not path.exists():
        raise UserError(f"there is no file of answers {path}; fix: name a file that a rater saved and sent")
    try:
        found = Answers.model_validate_json(read_bytes(path, MOST_BYTES))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise _refused(path, f"it is not as the page writes it ({where}: {first['msg']})") from None
    if digest(found.content()) != found.checksum:
        raise _refused(path, "its checksum does not fit, so it was changed or damaged after the page wrote it")
    return found


def _check(path: Path, found: Answers, key: Key) -> None:
    """Raise UserError unless these are complete answers to this study."""
    study = key.digest()
    if found.study != study:
        raise UserError(
            f"{path} answers another study, {found.study[:12]}, not {study[:12]}; fix: give the key of that study"
        )
    if found.questions != key.questions:
        raise _refused(path, f"it has the questions {listed(found.questions)}, not {listed(key.questions)}")
    times = Counter(one.pair for one in found.answers)
    names = {pair.name for pair in key.pairs}
    if unknown := times.keys() - names:
        raise _refused(path, f"{len(unknown)} of its pairs are not in the study: {listed(sorted(unknown))}")
    if twice := sorted(name for name, count in times.items() if count > 1):
        raise _refused(path, f"it answers pairs twice: {listed(twice)}")
    if missing := names - times.keys():
        raise _refused(path, f"{len(missing)} of {len(names)} pairs are missing: {listed(sorted(missing))}")
    for one in found.answers:
        if not len(one.choices) == len(one.milliseconds) == len(key.questions):
            raise _refused(path, f"pair {one.pair} does not have one answer for each question")


def _refuse_double(path: Path, found: Answers, earlier: Path, other: Answers) -> None:
    """Raise UserError if two files are of the same rater or sitting, or have the same answers."""
    if found.rater == other.rater:
        raise _refused(path, f"{earlier} is of the same rater, {found.rater}")
    shown = [[(one.pair, one.left, one.choices) for one in answers.answers] for answers in (found, other)]
    if found.session == other.session or shown[0] == shown[1]:
        raise _refused(path, f"it has the answers of {earlier}, under the names {found.rater} and {other.rater}")


def _refused(path: Path, problem: str) -> UserError:
    return UserError(f"{path} is refused: {problem}; fix: leave it out, or ask its rater for the file again")
