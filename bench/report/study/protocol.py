"""The protocol of a user study: its questions, and how tables tell its records from measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from bench.metrics.result import Count, Model
from bench.report.study.key import Subject
from bench.runs.record import STUDY_KIND

NAME: Final = "study"
"""Name of every study's protocol; its digest says which study it is."""
PAIRS = "pairs"
"""What the interval of a preference is over."""
PAPER_RATERS = 5
PAPER_PAIRS = 128
"""The size of the paper's studies (DMD2, Sec. 5.2)."""


@dataclass(frozen=True)
class Question:
    """A question that raters answer for every pair."""

    name: str
    """Name of the metric that its answers give."""
    words: str


QUESTIONS = (
    Question("preference", "Which image is more visually appealing?"),
    Question("prompt-preference", "Which image better represents the text prompt?"),
)
"""The paper's two questions (DMD2, Sec. 5.2). Without prompts only the first is asked."""


class StudyImages(Model):
    """Where a study's images come from."""

    protocol: str
    """Name of the task's protocol that gives the noise and the prompts."""
    protocol_sha256: str
    noise: str
    source: str
    encoding: str


class StudyProtocol(Model):
    """Whatever decides a study's numbers, except run A: the protocol in its record."""

    name: Literal["study"] = NAME
    kind: Literal["user study"] = STUDY_KIND
    study: str
    """Digest of the study's key."""
    questions: dict[str, str]
    """The words of each question, by the name of its metric."""
    pairs: Count
    raters: Count
    against: Subject
    """Run B."""
    images: StudyImages
    decision: str = "majority of raters; pairs without one are left out"
    interval: str = "Clopper-Pearson over pairs"
    samples: Count
    """Images of each run, as in other protocols."""
    repetitions: Count = 1
    smoke: bool = False
