"""The files that lie beside a record and show what its numbers do not: images, training curves, single scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.core.run_folder import METRICS, OLD_SCORES, OTHER_PROTOCOLS, RECORD, SCORES, SHEET

SUFFIXES = {"sheet": ".png", "curves": ".jsonl", "scores": ".parquet"}
"""The suffix of each file beside a record that is not in a run's folder: RUN.json has RUN.png, and so on."""
OLD_SCORES_SUFFIX = ".csv"
"""The suffix of scores that earlier versions wrote; the new file wins where there are both."""


@dataclass(frozen=True)
class Evidence:
    """The files beside a record; None for one that is not there."""

    sheet: Path | None
    """Sample sheet (bench.evaluation.sheet)."""
    curves: Path | None
    """Log of training (bench.training.log)."""
    scores: Path | None
    """Scores of single images (bench.evaluation.image_scores)."""


def evidence_of(record: Path) -> Evidence:
    """Return what lies beside a record's file, in a run's folder or in a folder of records."""
    if record.name == RECORD:
        found = {"sheet": record.with_name(SHEET), "curves": record.with_name(METRICS)}
        found["scores"] = record.with_name(SCORES)
        old = record.with_name(OLD_SCORES)
    else:
        found = {name: record.with_suffix(suffix) for name, suffix in SUFFIXES.items()}
        old = record.with_suffix(OLD_SCORES_SUFFIX)
    if not found["scores"].is_file():
        found["scores"] = old
    if record.parent.name == OTHER_PROTOCOLS:
        found["curves"] = record.parent.parent / METRICS  # another evaluation of the same training
    return Evidence(**{name: path if path.is_file() else None for name, path in found.items()})
