"""The protocol of a user study: its questions, and how tables tell its records from measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAME = "study"
"""Name of every study's protocol; its digest says which study it is."""
KIND = "user study"
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


def is_study(protocol: Mapping[str, Any]) -> bool:
    """Say whether this is a record's protocol of a user study; its numbers come from people."""
    return protocol.get("kind") == KIND
