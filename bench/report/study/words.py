"""A study's result in words: what `bench study read` prints, and the notes below its table."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from bench.metrics.result import MetricResult
from bench.report.cells import percent
from bench.report.comparison.significance import shown_p
from bench.report.study.protocol import PAPER_PAIRS, PAPER_RATERS, StudyProtocol
from bench.report.study.results import QuestionResult, StudyResult, size_remark
from bench.report.study.statistics import LEVEL, Share
from bench.runs.record import Record


def lines(result: StudyResult) -> list[str]:
    """Return the lines that `bench study read` prints."""
    key = result.key
    pairs, raters = len(key.pairs), len(result.raters)
    found = [
        f"A: {key.a.method} ({key.a.run_id})",
        f"B: {key.b.method} ({key.b.run_id})",
        f"{pairs} pairs on {key.task}, {raters} rater{'s' if raters > 1 else ''}, intervals of {percent(LEVEL)}",
    ]
    for one in result.questions:
        found += ["", one.question.words, *_question(one)]
    return found + (["", *result.remarks] if result.remarks else [])


def _question(one: QuestionResult) -> list[str]:
    tied = f"; {one.ties} without a majority are left out" if one.ties else ""
    kappa = "undefined" if one.kappa is None else f"{one.kappa:.2f}"
    answers = one.answers
    return [
        f"  A preferred, pairs by majority  {_exact(one.pairs)}{tied}",
        f"  A preferred, all answers        {_counts(answers)} [{_percent(one.low)}, {_percent(one.high)}], "
        "Student's t over pairs",
        f"                                  (as if answers were independent, which those about one pair are not: "
        f"[{_percent(answers.low)}, {_percent(answers.high)}])",
        f"  agreement of raters             Fleiss' kappa {kappa}",
        f"  left image chosen               {_exact(one.left)}",
    ]


def _exact(part: Share) -> str:
    if part.p is None:
        return "no pair has a majority"
    interval = f"[{_percent(part.low)}, {_percent(part.high)}]"
    return f"{_counts(part)} {interval}, exact; p against one half {shown_p(part.p)}"


def _counts(part: Share) -> str:
    return f"{part.count:,} of {part.total:,}: {_percent(part.value)} %"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def study_notes(records: Sequence[Record]) -> list[str]:
    """Return the footnotes of a study's records in a table, which are of one protocol."""
    try:
        protocol = StudyProtocol.model_validate(records[0].protocol)
    except ValidationError:
        return ["Of a user study whose protocol is not complete, so that nobody can tell what was asked of whom."]
    against = protocol.against
    level = records[0].metrics[0].level if records[0].metrics else LEVEL
    found = [
        f"Study {protocol.study[:12]}: {protocol.raters} rater(s) saw {protocol.pairs} pairs of images with the "
        f"same prompt and noise, against {against.method}, run {against.run_id}, checkpoint "
        f"{against.checkpoint_sha256[:12]}. Questions: {' '.join(protocol.questions.values())}",
        f"Values are the share of pairs for which most raters chose the row's image, [low, high] is the exact "
        f"(Clopper-Pearson) {percent(level)} interval over pairs. It is about these students alone: it leaves out "
        "how much another training would differ.",
    ]
    found += [_told(metric) for record in records for metric in record.metrics if metric.diagnostics]
    if (protocol.raters, protocol.pairs) != (PAPER_RATERS, PAPER_PAIRS):
        found.append(size_remark(protocol.raters, protocol.pairs))
    return found


def _told(metric: MetricResult) -> str:
    """Return the facts in the record of a preference other than its value."""
    of = metric.diagnostics[0]
    kappa = of.get("kappa")
    agreed = f", Fleiss' kappa {kappa:.2f}" if isinstance(kappa, float) else ""
    return (
        f"{metric.title}: {of.get('answers_won')} of {of.get('answers')} answers{agreed}; pairs without a "
        f"majority: {of.get('pairs_tied')}; pairs answered too fast to be seen: {of.get('fast_pairs')}."
    )
