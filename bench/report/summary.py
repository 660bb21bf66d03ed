"""Records become a tidy frame, and then one row per variant of a method and metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from bench.core.files import repeated_digest
from bench.metrics.intervals import t_interval
from bench.metrics.result import MetricResult
from bench.metrics.titles import shown_name
from bench.report.study.protocol import PAIRS
from bench.runs.recipes import FilledRecipes, recipe_sha256
from bench.runs.record import Record, is_study

RECIPE = ["task", "protocol_sha256", "networks_sha256", "kind", "method", "recipe_sha256"]
"""Records that agree in these columns are of the same recipe; only the training seed may differ."""
VARIANT = [*RECIPE, "variant_sha256"]
"""Records that agree in these also selected weights and drew samples alike; only such records are averaged."""

TRAINING_SEEDS = "training seeds"
"""An interval over these shows how far a method's results vary; methods are ranked by it alone."""
GENERATION_SEEDS = "generation seeds"
"""An interval over these shows how far the results of one student or sampler vary."""

_METRIC = ("title", "direction", "value", "low", "high", "level", "standard_error")
_SHARED = ("line", "protocol", "smoke", "passed", "selection", "weights", "nfe", "measured_over")
COUNTS = ("iterations", "generator_updates", "training_images", "passes")
"""Columns of what was counted in training; of several seeds a row has the least and the greatest."""
_MEANS = ("train_seconds", "gpu_hours", "core_hours", "evaluate_seconds")
_COPIED = (
    "iterations",
    "generator_updates",
    "train_seconds",
    "gpu_hours",
    "evaluate_seconds",
    "peak_memory_bytes",
)
"""Costs that have the same name in records."""
_FACTS = (
    *("run_id", "created", *VARIANT, "train_seed", "status", "error"),
    *(*_SHARED, *COUNTS, *_MEANS, "peak_memory_bytes"),
)


def tidy(
    records: Iterable[Record],
    line_of: Callable[[Record], int] = lambda _: 0,
    filled: FilledRecipes | None = None,
) -> pd.DataFrame:
    """Return one row per record and metric, oldest record first; a record without metrics has one row.

    Times are in seconds, sizes in bytes. `line_of` returns the line of a table that a record belongs to.
    `filled` knows the students from which runs start; the default is those of these records.
    """
    records = sorted(records, key=lambda record: record.provenance.time)
    recipes = filled or FilledRecipes.among(records)
    facts = pd.DataFrame(
        [{**_facts(record, recipes), "line": line_of(record)} for record in records], columns=_FACTS
    )
    values = [(row, *_measured(metric, record)) for row, record in enumerate(records) for metric in record.metrics]
    metrics = pd.DataFrame(values, columns=("row", "metric", *_METRIC)).set_index("row")
    frame = facts.join(metrics).reset_index(drop=True).fillna({"metric": ""})
    numbers = ["value", "low", "high", "level", "standard_error"]
    return frame.astype({"train_seed": "Int64"} | dict.fromkeys([*numbers, "passes"], "float64"))


def _measured(metric: MetricResult, record: Record) -> tuple[Any, ...]:
    """Return a metric's name in tables, and its numbers."""
    numbers = (metric.value, metric.low, metric.high, metric.level, standard_error(metric))
    return shown_name(metric.name, record.protocol), metric.title, metric.direction, *numbers


def standard_error(metric: MetricResult) -> float | None:
    """Return the standard error over images of one measurement: the root of the mean variance of several.

    None if the metric gives none.
    """
    found = [one.get("standard_error") for one in metric.diagnostics]
    errors = [one for one in found if isinstance(one, float) and math.isfinite(one)]
    return math.hypot(*errors) / math.sqrt(len(errors)) if errors else None


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Average a tidy frame over training seeds: one row per variant and metric.

    With two or more seeds, the interval is Student's over the training seeds. With one seed, it is the record's
    own interval over generation seeds, or over the pairs of a user study, which leaves out how much another
    training would differ. The column `interval` names the kind and is empty if there is none. `standard_error` is
    that of one measurement over its images, if the metric gives one. If a training seed was recorded twice, the
    newest record counts. A recipe without a successful run has one row with status failed.
    """
    ok = frame[frame["status"] == "ok"].drop_duplicates([*VARIANT, "metric", "train_seed"], keep="last")
    failed = frame[frame["status"] == "failed"].drop_duplicates([*RECIPE, "train_seed"], keep="last")
    failed = _without(failed, ok, [*RECIPE, "train_seed"])

    averages = _grouped(ok, [*VARIANT, "metric"])
    averages = averages.assign(**pd.DataFrame([_interval(row) for row in averages.to_dict("records")]))
    failures = failed.groupby(RECIPE, sort=False).size().rename("n_failed").reset_index()
    averages = averages.merge(failures, on=RECIPE, how="left")
    hopeless = _without(_grouped(failed, RECIPE), ok, RECIPE).merge(failures, on=RECIPE, how="left")
    summary = pd.concat([averages, hopeless.assign(n_seeds=0)], ignore_index=True)
    return summary.fillna({"n_failed": 0}).astype({"n_failed": int})


def _without(frame: pd.DataFrame, other: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the rows of `frame` whose keys do not occur in `other`."""
    joined = frame.merge(other[keys].drop_duplicates(), on=keys, how="left", indicator=True)
    return joined[joined["_merge"] == "left_only"].drop(columns="_merge")


def _grouped(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return one row per group: shared values, ranges of counts, mean times, and the greatest memory."""
    shared = [name for name in ("variant_sha256", "metric", *_SHARED, *_METRIC) if name not in keys]
    columns: dict[str, Any] = {name: (name, "first") for name in ("status", "error", *shared)}
    columns |= {f"{name}_low": (name, "min") for name in COUNTS}
    columns |= {f"{name}_high": (name, "max") for name in COUNTS}
    columns |= {name: (name, "mean") for name in _MEANS} | {"peak_memory_bytes": ("peak_memory_bytes", "max")}
    columns |= {"values": ("value", list), "seeds": ("train_seed", list)}
    columns |= {"standard_error": ("standard_error", "mean")}
    groups = frame.groupby(keys, sort=False).agg(**columns).reset_index()
    groups["seeds"] = [_seeds(*group) for group in zip(groups["seeds"], groups["values"], strict=True)]
    return groups


def _seeds(seeds: Sequence[Any], values: Sequence[float]) -> str:
    """Name the training seeds that have a value; all of them if none has one."""
    valued = [seed for seed, value in zip(seeds, values, strict=True) if pd.notna(value)]
    return " ".join(str(seed) for seed in sorted(set(valued or seeds) - {pd.NA}))


def _interval(row: dict[str, Any]) -> dict[str, Any]:
    """Return the mean and interval of a group, and the kind of the interval."""
    values = [value for value in row["values"] if pd.notna(value)]
    if len(values) >= 2:
        mean, std, low, high = t_interval(values, row["level"])
        found = {"value": mean, "std": std, "low": low, "high": high, "interval": TRAINING_SEEDS}
    else:
        found = {name: row[name] for name in ("value", "low", "high")} | {"std": None}
        found["interval"] = row["measured_over"] if pd.notna(row["low"]) else ""
    return found | {"n_seeds": len(values)}


def _facts(record: Record, filled: FilledRecipes) -> dict[str, Any]:
    checkpoint = record.checkpoint
    selection, weights = (checkpoint.selection, checkpoint.weights) if checkpoint else ("", "")
    passed = (f"{name}={value}" for name, value in filled.passed(record.method).items())
    return {
        "run_id": record.run_id,
        "created": record.provenance.created,
        "task": record.task,
        "protocol": record.protocol.get("name", ""),
        "protocol_sha256": record.protocol_sha256,
        "networks_sha256": record.networks_sha256,
        "smoke": bool(record.protocol.get("smoke", False)),
        "measured_over": PAIRS if is_study(record.protocol) else GENERATION_SEEDS,
        "kind": record.kind,
        "method": record.method.name,
        "passed": ", ".join([*passed, *["tuning"] * record.of_tuning]),
        "recipe_sha256": recipe_sha256(record.method, filled),
        "selection": selection,
        "weights": weights,
        "variant_sha256": variant_sha256(record),
        "train_seed": record.train_seed,
        "status": record.status,
        "error": record.error.type if record.error else "",
        "nfe": math.nan if record.cost.network_evaluations is None else record.cost.network_evaluations,
        "training_images": record.cost.generated_images,
        "passes": record.cost.work,
        "core_hours": _core_hours(record),
        **{name: getattr(record.cost, name) for name in _COPIED},
    }


def _core_hours(record: Record) -> float:
    """Return the core-hours of training on CPUs; 0 for training on a GPU."""
    cost = record.cost
    return 0.0 if record.provenance.gpu else cost.train_seconds * cost.threads * cost.processes / 3600


def variant_sha256(record: Record) -> str:
    """Return the digest of how a record's weights were selected and its samples drawn.

    A run that chose its own recipe, or could have, is never averaged with others.
    """
    checkpoint = record.checkpoint
    selection, weights = (checkpoint.selection, checkpoint.weights) if checkpoint else ("", "")
    # The best iteration by a metric differs between seeds. In all other cases another iteration is another result.
    iteration = checkpoint.iteration if checkpoint and selection != "best-by-test-metric" else None
    return repeated_digest([record.sampler, selection, weights, iteration, *["tuning"] * record.of_tuning])
