"""Scores of single images as tables: by group for each result, and the worst or best images; as data and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.core.errors import UserError, hint, listed
from bench.core.escape import csv_text
from bench.evaluation.image_scores import ImageScores, read_scores
from bench.metrics.titles import shown_title
from bench.report import cells
from bench.report.blocks import Block
from bench.report.scores.extremes import End, ScoredImage, extremes, group_size, shown
from bench.report.scores.splits import Group, split_scores
from bench.report.sides import Found
from bench.runs.evidence.files import evidence_of
from bench.runs.record import Record
from bench.runs.records import read_record, records_beside
from bench.runs.repeat import command_of


@dataclass(frozen=True, eq=False)
class Scored:
    """A result with the scores of its images."""

    record: Record
    scores: ImageScores

    @property
    def images_per_prompt(self) -> int:
        """Number of consecutive images that share a prompt."""
        found = self.record.protocol.get("images_per_prompt", 1)
        if not isinstance(found, int) or found < 1:
            raise UserError(
                f"{self.record.run_id}: its protocol has {found!r} images per prompt; fix: leave it out"
            )
        return found

    def title(self, metric: str) -> str:
        """Return a metric's heading."""
        recorded = {one.name: one.title for one in self.record.metrics}
        return shown_title(metric, recorded.get(metric, metric), self.record.protocol)

    def direction(self, metric: str) -> Literal["lower", "higher"]:
        """Return which scores of a metric are better."""
        found: dict[str, Literal["lower", "higher"]] = {one.name: one.direction for one in self.record.metrics}
        return found.get(metric, "higher")


def scored(found: Found, metrics: Sequence[str]) -> Scored:
    """Return a result with its scores in these metrics, or in all.

    Raises UserError if it has no scores, or none of a metric.
    """
    record, path = found.record, evidence_of(found.path).scores
    if path is None:
        raise UserError(
            f"{record.run_id} has no scores of single images beside its record; fix: {command_of(record)}, with a "
            "metric that gives them"
        )
    scores = read_scores(path)
    for name in metrics:
        if name not in scores:
            fix = _elsewhere(found, name) or hint(name, scores)
            raise UserError(f"unknown metric with scores of {record.run_id}: {name!r}; {fix}")
    return Scored(record, {name: scores[name] for name in metrics or scores})


def _elsewhere(found: Found, metric: str) -> str:
    """Say under which other protocols the same student was measured by a metric; empty if under none."""
    others = [read_record(one) for one in records_beside(found.path)]
    names = [str(one.protocol.get("name")) for one in others if metric in [each.name for each in one.metrics]]
    return f"it was measured by it under {listed(names)}; fix: --protocol {names[0]}" if names else ""


@dataclass(frozen=True)
class Listed:
    """The images at one end of a result's scores in one metric."""

    run: str
    metric: str
    end: End
    images: tuple[ScoredImage, ...]


@dataclass(frozen=True)
class Row:
    """One group of one result in one metric."""

    metric: str
    run: str
    group: Group


def rows_of(results: Sequence[Scored], by: str, level: float, bins: int) -> list[Row]:
    """Return the groups of all results, metric by metric."""
    found = [split_scores(one.scores, by, one.images_per_prompt, level, bins) for one in results]
    names = dict.fromkeys(name for groups in found for name in groups)
    return [
        Row(name, one.record.run_id, group)
        for name in names
        for one, groups in zip(results, found, strict=True)
        for group in groups.get(name, ())
    ]


def split_blocks(results: Sequence[Scored], rows: Sequence[Row], by: str, level: float) -> list[Block]:
    """Return a table for each metric: a line for each group of each result."""
    blocks = []
    for name in dict.fromkeys(row.metric for row in rows):
        one = next(one for one in results if name in one.scores)
        lines = tuple(_line(row, len(results) > 1) for row in rows if row.metric == name)
        columns = ("result",) * (len(results) > 1) + (
            *("images" if by == "all" else by, "prompts", "mean"),
            f"{cells.percent(level)} interval",
        )
        blocks.append(Block(cells.header(one.title(name), one.direction(name)), columns, lines))
    return [*blocks, Block("Intervals", (), (), (f"Student's t over prompts, {NOTE}",))] if blocks else []


NOTE = (
    "or over images where conditions are classes; a prompt's images are averaged first. Intervals of several "
    "groups are not adjusted for their number."
)


def _line(row: Row, several: bool) -> tuple[str, ...]:
    group = row.group
    interval = "" if group.low is None or group.high is None else f"[{group.low:.4g}, {group.high:.4g}]"
    run = (row.run,) if several else ()
    return (*run, group.name, str(group.prompts), f"{group.mean:.4g}", interval)


def listed_images(results: Sequence[Scored], ends: Mapping[End, int]) -> list[Listed]:
    """Return so many images from these ends of each metric of each result."""
    return [
        Listed(one.record.run_id, metric, end, tuple(extremes(scores, count, end, one.direction(metric))))
        for one in results
        for metric, scores in one.scores.items()
        for end, count in ends.items()
    ]


def listed_blocks(results: Sequence[Scored], found: Sequence[Listed]) -> list[Block]:
    """Return a table for each list of images."""
    by_run = {one.record.run_id: one for one in results}
    return [_listed(by_run[listed.run], listed) for listed in found]


def _listed(one: Scored, listed: Listed) -> Block:
    size = group_size(one.scores[listed.metric])
    below = (f"Each score is of the {size} images of a prompt, of which the first is named.",) * (size > 1)
    title = cells.header(one.title(listed.metric), one.direction(listed.metric))
    columns = ("repetition:index", "seed", "score", "condition", "reason")
    return Block(f"{listed.run}: {listed.end} in {title}", columns, tuple(shown(listed.images)), below)


def to_csv(rows: Sequence[Row]) -> str:
    """Return the groups as tidy CSV, with floats that read back exactly."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("metric", "run", "group", "prompts", "images", "mean", "low", "high"))
    for row in rows:
        numbers = (
            "" if value is None else repr(value) for value in (row.group.mean, row.group.low, row.group.high)
        )
        names = map(csv_text, (row.metric, row.run, row.group.name))
        writer.writerow((*names, row.group.prompts, row.group.images, *numbers))
    return out.getvalue()


def to_data(rows: Sequence[Row], found: Sequence[Listed], by: str, level: float) -> dict[str, Any]:
    """Return groups and images as data for JSON."""
    return {
        "by": by,
        "level": level,
        "groups": [{"metric": row.metric, "run": row.run, **vars(row.group)} for row in rows],
        "images": [
            {"run": listed.run, "metric": listed.metric, "end": listed.end, **vars(one)}
            for listed in found
            for one in listed.images
        ],
    }
