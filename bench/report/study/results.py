"""The result of a study: how often raters preferred run A, and how far they can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.study.answers import Answers
from bench.report.study.key import Key
from bench.report.study.protocol import PAPER_PAIRS, PAPER_RATERS, QUESTIONS, Question
from bench.report.study.statistics import Share, clustered, fleiss_kappa, share

FAST_MILLISECONDS = 1000
"""Nobody looks at two images and answers all questions about them in less time."""


@dataclass(frozen=True)
class QuestionResult:
    """The answers to one question."""

    question: Question
    pairs: Share
    """Pairs whose majority preferred run A, of those with a majority."""
    ties: int
    """Pairs without a majority."""
    answers: Share
    """Answers for run A, of all. Its interval is too narrow: answers about one pair are not independent."""
    low: float
    """Lower bound of the interval of that share which is right for clusters: Student's t over pairs."""
    high: float
    """Upper bound of that interval."""
    kappa: float | None
    """Fleiss' kappa of the raters' agreement; None where it is undefined."""
    left: Share
    """Answers for the left image, of all. Sides are random for each rater and pair, so one half means no bias."""


@dataclass(frozen=True)
class StudyResult:
    """The answers of all raters."""

    key: Key
    raters: tuple[str, ...]
    questions: tuple[QuestionResult, ...]
    fast: dict[str, int]
    """The number of pairs that a rater answered faster than they can be looked at, for each such rater."""

    @property
    def remarks(self) -> list[str]:
        """What a reader of the result must know: its size beside the paper's, and answers given too fast."""
        size = (len(self.raters), len(self.key.pairs))
        found = [] if size == (PAPER_RATERS, PAPER_PAIRS) else [size_remark(*size)]
        if self.fast:
            pairs = ", ".join(f"{rater} {count} of {size[1]}" for rater, count in self.fast.items())
            found.append(
                f"Pairs answered in less than {FAST_MILLISECONDS / 1000:g} s, too fast to be looked at; they "
                f"count all the same: {pairs}."
            )
        return found


def size_remark(raters: int, pairs: int) -> str:
    """Say how a study's size differs from the paper's."""
    return (
        f"The paper's studies had {PAPER_RATERS} raters and {PAPER_PAIRS} pairs; this one has "
        f"{raters} and {pairs}."
    )


def result_of(key: Key, answers: Sequence[Answers]) -> StudyResult:
    """Return the result of complete answers, which `read_answers` has checked."""
    known = {question.name: question for question in QUESTIONS}
    return StudyResult(
        key,
        tuple(one.rater for one in answers),
        tuple(_question(known[name], number, key, answers) for number, name in enumerate(key.questions)),
        {one.rater: count for one in answers if (count := _fast(one))},
    )


def _question(question: Question, number: int, key: Key, answers: Sequence[Answers]) -> QuestionResult:
    raters = len(answers)
    half = {pair.name: pair.a for pair in key.pairs}
    given = [one for rater in answers for one in rater.answers]
    votes = Counter(one.pair for one in given if one.prefers(half[one.pair], number))
    for_a = [votes[pair.name] for pair in key.pairs]
    won, lost = sum(2 * one > raters for one in for_a), sum(2 * one < raters for one in for_a)
    _, low, high = clustered([one / raters for one in for_a])
    return QuestionResult(
        question,
        share(won, won + lost),
        len(for_a) - won - lost,
        share(sum(for_a), len(given)),
        low,
        high,
        fleiss_kappa([(one, raters - one) for one in for_a]),
        share(sum(one.choices[number] == "left" for one in given), len(given)),
    )


def _fast(answers: Answers) -> int:
    return sum(sum(one.milliseconds) < FAST_MILLISECONDS for one in answers.answers)
