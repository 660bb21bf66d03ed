"""A comparison as text: tables that fit 80 columns, as Markdown and for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bench.report import cells
from bench.report.blocks import Block
from bench.report.cells import percent
from bench.report.comparison.comparing import ASSUMPTIONS, Compared, Kind, Metric, Pair
from bench.report.comparison.recipe_differences import Difference
from bench.report.comparison.significance import Comparison, shown_p
from bench.report.measured import MOST_DECIMALS, bracketed, decimals, fixed
from bench.report.summary import GENERATION_SEEDS, TRAINING_SEEDS

FEW = 3
"""Up to this many sides, each has a column for its recipe values; with more, each value has a line."""


def blocks(compared: Compared) -> list[Block]:
    """Return the sides, each metric's values and tests, the recipe differences, and the tests in words."""
    return [
        _sides(compared),
        *(part for metric in compared.metrics for part in (_values(metric, compared), _pairs(metric, compared))),
        *_recipes(compared),
        _explained(compared),
    ]


def _sides(compared: Compared) -> Block:
    first = compared.sides[0].first
    rows = [
        (str(number), side.label, _of(side.first.train_seed, len(side.found)), _shown_runs(side.records))
        for number, side in enumerate(compared.sides, 1)
    ]
    heading = f"{first.task}: protocol {first.protocol.get('name')} {first.protocol_sha256[:12]}" + (
        " (smoke: these numbers are not results)" if first.protocol.get("smoke") else ""
    )
    return Block(heading, ("", "compared", "training seeds", "results"), tuple(rows), compared.warnings)


def _of(seed: int | None, count: int) -> str:
    return cells.NOTHING if seed is None else str(count)


def _shown_runs(records: Sequence[Any]) -> str:
    first = records[0].run_id
    return first if len(records) == 1 else f"{first} and {len(records) - 1} more"


def _values(metric: Metric, compared: Compared) -> Block:
    """Return the values of all sides in one metric."""
    rows = []
    for number, (side, measured) in enumerate(zip(compared.sides, metric.sides, strict=True), 1):
        times = metric.factor
        if measured.mean is None:
            rows.append((str(number), side.label, cells.NOTHING, "", ""))
            continue
        interval = ""
        if measured.low is not None and measured.high is not None:
            interval = bracketed(times * measured.low, times * measured.high, decimals(times * measured.mean))
        seeds = f"n = {len(measured.values)}"
        over = {TRAINING_SEEDS: seeds, GENERATION_SEEDS: "gen."}.get(measured.interval, "")
        rows.append((str(number), side.label, cells.number(times * measured.mean), interval, over))
    return Block(
        cells.header(metric.title, metric.direction),
        ("", "compared", "value", f"{percent(compared.level)} interval", "over"),
        tuple(rows),
    )


def _pairs(metric: Metric, compared: Compared) -> Block:
    """Return the tests of all pairs in one metric."""
    several = sum(pair.test is not None for pair in metric.pairs) > 1
    resampled = any(pair.bootstrap is not None for pair in metric.pairs)
    level = percent(compared.level)
    rows = []
    for pair in metric.pairs:
        name = f"{pair.first + 1} − {pair.second + 1}"
        if pair.test is None or pair.p is None:
            rows.append((name, cells.NOTHING, *[""] * (2 + several + resampled), pair.why))
            continue
        difference, low, high = signed(pair.test, compared.level, metric.factor)
        bootstrap = [_bootstrap(pair, metric.factor)] if resampled else []
        p = [_p(pair.test.p, compared.level)] + ([_p(pair.p, compared.level)] if several else [])
        rows.append((name, difference, f"[{low}, {high}]", *bootstrap, *p, _verdict(pair, compared)))
    columns = (
        *("pair", "difference", f"{level} interval", *(["bootstrap"] if resampled else [])),
        *("p", *(["Holm's p"] if several else []), "verdict"),
    )
    return Block(f"{metric.title}: {_count(metric, compared)}", columns, tuple(rows))


def _verdict(pair: Pair, compared: Compared) -> str:
    """Return the verdict of a pair, which says if it is about single trainings and not about their methods."""
    if not compared.differ(pair):
        return "no difference shown"
    level = percent(compared.level)
    trained = [compared.sides[side].first.kind == "method" for side in (pair.first, pair.second)]
    if pair.kind not in ("generation seeds", "prompts") or not any(trained):
        return f"differ at {level}"
    return f"{'these students differ' if all(trained) else 'this student differs'} at {level}"


def _count(metric: Metric, compared: Compared) -> str:
    """Say how many pairs differ, and how many have no test."""
    if len(metric.pairs) == 1:
        return "difference"
    differ = sum(compared.differ(pair) for pair in metric.pairs)
    untested = sum(pair.test is None for pair in metric.pairs)
    without = f", {untested} without a test" if untested else ""
    return f"{differ} of {len(metric.pairs)} pairs differ at {percent(compared.level)}{without}"


def signed(test: Comparison, level: float, factor: float = 1) -> tuple[str, str, str]:
    """Return the difference and the bounds of its interval, times a factor, with signs.

    They have the decimals of the standard error, or as many more as show on which side of 0 a bound is.
    """
    bounds = test.interval(level)
    digits = _digits(test, bounds, factor)
    difference, low, high = (_signed(factor * value, digits) for value in (test.difference, *bounds))
    return difference, low, high


def _bootstrap(pair: Pair, factor: float) -> str:
    """Return the bootstrap's interval of a pair, with as many decimals as `signed` gives."""
    if pair.test is None or pair.bootstrap is None:
        return ""
    digits = _digits(pair.test, pair.bootstrap, factor)
    return f"[{', '.join(_signed(factor * end, digits) for end in pair.bootstrap)}]"


def _digits(test: Comparison, bounds: tuple[float, float], factor: float) -> int:
    digits = decimals_of(factor * test.error)
    while digits < MOST_DECIMALS and any(end and not float(f"{factor * end:.{digits}f}") for end in bounds):
        digits += 1
    return digits


def _signed(value: float, digits: int) -> str:
    return ("" if value < 0 else "+") + fixed(value, digits).replace("-", "−")


def decimals_of(error: float) -> int:
    """Return the decimals that show one digit of a standard error, or two where the first is small."""
    if not 0 < error < math.inf:
        return MOST_DECIMALS
    return min(MOST_DECIMALS, max(0, -math.floor(math.log10(error / 3 or error))))  # a third of the least is 0


def _p(p: float, level: float) -> str:
    return shown_p(p, round(1 - level, 12)).removeprefix("= ")


def _recipes(compared: Compared) -> list[Block]:
    """Return the recipe values that differ between trained methods, if there are two."""
    if len(compared.trained) < 2:
        return []
    if not compared.differences:
        return [Block("Recipes", (), (), ("The recipes have the same values.",))]
    below = ("* set by the user",) if any(one.passed for row in compared.differences for one in row.values) else ()
    if len(compared.trained) <= FEW:
        columns = ("field", *(compared.sides[side].label for side in compared.trained))
        rows = tuple((row.field, *map(str, row.values)) for row in compared.differences)
    else:
        columns = ("field", "value", "in")
        rows = tuple(line for row in compared.differences for line in _by_value(row, compared.trained))
    return [Block("Recipe values that differ", columns, rows, below)]


def _by_value(row: Difference, sides: Sequence[int]) -> list[tuple[str, str, str]]:
    """Return a line for each value of a field, with the numbers of the sides that have it."""
    having: dict[str, list[str]] = {}
    for side, value in zip(sides, row.values, strict=True):
        having.setdefault(str(value), []).append(str(side + 1))
    return [(row.field, value, ", ".join(numbers)) for value, numbers in having.items()]


def _explained(compared: Compared) -> Block:
    """Return the tests that were used, with their assumptions, and what was left out."""
    counts: dict[Kind, set[str]] = {}
    for pair in (pair for metric in compared.metrics for pair in metric.pairs):
        if pair.kind is not None and pair.test is not None:
            counts.setdefault(pair.kind, set()).add(" and ".join(map(str, pair.test.n)))
    lines = [f"{ASSUMPTIONS[kind]} n = {', '.join(sorted(n))}." for kind, n in counts.items()]
    if any(sum(pair.test is not None for pair in metric.pairs) > 1 for metric in compared.metrics):
        lines.append(
            "Holm's p is adjusted for the tests of one metric, and decides the verdict; p and the interval of a "
            "difference are those of the pair alone. Metrics are not adjusted for each other."
        )
    lines.append("No difference shown does not mean equal: the interval says how large a difference may be.")
    if any(side.interval == GENERATION_SEEDS for metric in compared.metrics for side in metric.sides):
        lines.append(
            "gen.: interval over the generation seeds of one student or sampler, which leaves out how much "
            "another training would differ."
        )
    if compared.left_out:
        lines.append(f"Metrics left out: {', '.join(compared.left_out)}; fix: --metric NAME shows one.")
    return Block("Tests", (), (), tuple(lines))
