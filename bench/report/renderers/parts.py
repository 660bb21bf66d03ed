"""What the formats for people share: a value in two parts, and the sentences about it."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from bench.metrics.titles import NO_SPREAD

if TYPE_CHECKING:
    from bench.report.columns import Column
    from bench.report.measured import Measured
    from bench.report.table import Section


def telling_apart(section: Section) -> list[Column]:
    """Return the columns that tell the rows apart: the method, and the recipe and the weights where they must."""
    named = {column.name: column for column in section.columns}
    chosen: list[Column] = []
    for name in ("method", "recipe", "checkpoint", "NFE"):
        rows = set(zip(*(section.cells[column.name] for column in chosen), strict=True))
        if name in named and (not chosen or len(rows) < len(section.cells)):
            chosen.append(named[name])
    return chosen


def shows_n(section: Section) -> bool:
    """Return whether each value must say its training seeds: they differ between values, or there is only one."""
    counts = {value.n for value in section.values.values() if value.n}
    return len(counts) > 1 or counts == {1}


def parts(value: Measured, with_n: bool, ends: bool = False) -> tuple[str, str]:
    """Return the text of a number, and that of what follows it: its interval and its training seeds.

    `± half` is an interval over training seeds. Brackets mark any other in every format: `[± half]` over
    generation seeds, or `[low, high]` with `ends`, where it is not symmetric, and over the pairs of a study. A
    value's place says why there is none.
    """
    if value.value is None:
        return value.state or "–", ""
    more = []
    if value.low is not None and value.high is not None:
        below, above = value.value - value.low, value.high - value.value
        if value.ranks:
            more.append(value.half)
        elif not ends and value.over_generation_seeds and math.isclose(below, above, rel_tol=1e-6, abs_tol=1e-12):
            more.append(f"[{value.half}]")
        else:
            more.append(value.ends)
    if with_n and value.n:
        more.append(f"n={value.n}")
    if value.failed:
        more.append(f"{value.failed} failed")
    return value.format(value.value), " ".join(more)


def protocol_line(section: Section) -> str:
    """Say how many images and seeds the numbers of a section are of; empty without records, and for a study."""
    facts = section.facts
    if facts is None or facts.study:
        return ""
    seeds = ", ".join(map(str, facts.training_seeds))
    trained = f", training seed{'s' if len(facts.training_seeds) > 1 else ''} {seeds}" if seeds else ""
    return f"{facts.images} images, {facts.generation_seeds} generation seed(s){trained}{facts.precision}."


def interval_line(section: Section) -> str:
    """Say what ± and [±] mean, as far as the section has them."""
    found = [value for value in section.values.values() if value.value is not None]
    level = section.facts.levels if section.facts else ""
    counts = {value.n for value in found if value.ranks and value.n}
    seeds = f"n = {max(counts)}" if len(counts) == 1 and not shows_n(section) else "n"
    lines: list[str] = []
    if counts:
        lines.append(f"±: half width of the {level} Student-t interval over {seeds} training seeds.")
    if any(value.flat for value in found):
        lines.append(f"{NO_SPREAD}: all values are equal, from which no error follows.")
    if any(value.over_generation_seeds for value in found):
        over = "the generation seeds of one result, which cannot rank methods"
        lines.append(f"[±]: half width of the {level} interval over {over}.")
    return " ".join(lines)


def mark_line(section: Section, columns: Collection[str], best: str, second: str) -> str:
    """Say what the marks of the best and the second value mean, as far as these columns have them."""
    lines = []
    if any(name in columns for _, name in section.best):
        lines.append(f"{best}: better than every other trained student by more than both intervals")
    if any(name in columns for _, name in section.second):
        lines.append(f"{second}: better than all but that one in the same way")
    return "; ".join(lines) + "." if lines else ""
