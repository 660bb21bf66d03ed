"""The text of a table's cells."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tasks.files import human_size

NOTHING = "–"
NO_RECORD = ("missing", "quoted")
"""Statuses of lines without any record."""
_COST = (
    *("checkpoint", "NFE", "iterations", "generator updates", "training images"),
    *("train s", "compute", "evaluate s", "peak memory"),
)


def header(title: str, direction: str) -> str:
    """Return a metric's title with the arrow that says which values are better."""
    return f"{title} {'↓' if direction == 'lower' else '↑'}"


def number(value: float | None) -> str:
    """Format a value as the paper does: a whole number, two decimals, or three below 1."""
    if value is None:
        return NOTHING
    if isinstance(value, int):
        return str(value)
    return f"{value:.{_decimals(value)}f}"


def measured(row: dict[str, Any]) -> str:
    """Format a summary row's value with its uncertainty: `mean ± half width (n=seeds)` over training seeds,
    or `value [low, high]` over generation seeds; else say why there is none: missing, at work, failed."""
    if row["status"] == "quoted":
        return NOTHING
    if row["status"] == "missing":
        return row.get("work") or "missing"
    if row["status"] == "failed":
        return f"failed: {row['error']}"
    if pd.isna(row.get("value")):
        return NOTHING
    value = row["value"]
    text = f"{value:.{_decimals(value)}f}"
    if row["interval"] == "training seeds":
        text += f" ± {row['high'] - value:.{_decimals(value)}f}"
    elif row["interval"]:
        text += f" [{row['low']:.{_decimals(value)}f}, {row['high']:.{_decimals(value)}f}]"
    failed = f"; {row['n_failed']} failed" if row["n_failed"] else ""
    return text if row["kind"] == "baseline" else f"{text} (n={row['n_seeds']}{failed})"


def recipe(row: dict[str, Any]) -> str:
    """Name a recipe: what the user overrode, and the first digits of the digest of everything."""
    if row["status"] in NO_RECORD:
        return NOTHING
    return f"{row['passed'] or 'default'} #{row['recipe_sha256'][:6]}"


def cost(row: dict[str, Any]) -> dict[str, str]:
    """Return the cells on weights and cost of a summary row."""
    if row["status"] in NO_RECORD:
        return dict.fromkeys(_COST, NOTHING)
    chosen = f"{row['selection']}, {row['weights']}" if row["selection"] else NOTHING
    counts = (_span(row, name) for name in ("iterations", "generator_updates", "training_images"))
    seconds = (f"{row['train_seconds']:.0f}", _compute(row), f"{row['evaluate_seconds']:.0f}")
    memory = human_size(row["peak_memory_bytes"])
    return dict(zip(_COST, (chosen, str(row["nfe"]), *counts, *seconds, memory), strict=True))


def _compute(row: dict[str, Any]) -> str:
    """What training took of the machine: hours of its GPUs, or of its cores where it has none."""
    for name, unit in (("gpu_hours", "GPU-hours"), ("core_hours", "core-hours")):
        if row[name]:
            return f"{row[name]:,.{0 if row[name] >= 100 else 2}f} {unit}"
    return NOTHING


def _decimals(value: float) -> int:
    return 2 if abs(value) >= 1 else 3


def _span(row: dict[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
