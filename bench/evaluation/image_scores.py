"""The scores of single images: `scores.csv` in a run's folder, for tests that pair the images of two results."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.core.errors import UserError
from bench.core.escape import is_name
from bench.core.files import read_bytes, write_text
from bench.metrics.base import Measured

COLUMNS = ("metric", "repetition", "index", "value")
MOST_BYTES = 2**28
"""Three repetitions of 50,000 images under ten metrics have about 40 MB."""

ImageScores = Mapping[str, Mapping[tuple[int, int], float]]
"""The scores of each metric, by repetition and index of the image."""


def scores_of(repetitions: Sequence[Mapping[str, Measured]]) -> ImageScores:
    """Return the scores that metrics gave in every repetition; a metric without them is left out."""
    names = [name for name in (repetitions[0] if repetitions else ()) if all(r[name].scores for r in repetitions)]
    return {
        name: {
            (number, index): value
            for number, measured in enumerate(repetitions)
            for index, value in measured[name].indexed_scores()
        }
        for name in names
    }


def write_scores(path: Path, scores: ImageScores) -> None:
    """Write a file that appears whole, with floats that read back exactly; nothing if there are no scores."""
    if not scores:
        return
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows(
        (name, repetition, index, repr(float(value)))
        for name, values in scores.items()
        for (repetition, index), value in values.items()
    )
    write_text(path, out.getvalue())


def read_scores(path: Path) -> ImageScores:
    """Read a file of scores. Raises UserError with the line that is not as `write_scores` writes it."""
    try:
        rows = csv.reader(read_bytes(path, MOST_BYTES).decode().splitlines())
        if tuple(next(rows, ())) != COLUMNS:
            raise ValueError(f"the first line is not {','.join(COLUMNS)}")
        return _scores(rows)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: the scores cannot be read: {error}; fix: evaluate the run again") from None


def _scores(rows: Iterable[Sequence[str]]) -> ImageScores:
    found: dict[str, dict[tuple[int, int], float]] = {}
    for line, row in enumerate(rows, start=2):
        if len(row) != len(COLUMNS) or not is_name(row[0]):
            raise ValueError(f"line {line} is no metric with repetition, index and value")
        name, *numbers = row
        place = _count(numbers[0]), _count(numbers[1])
        value = float(numbers[2])
        if not math.isfinite(value):
            raise ValueError(f"line {line} has the value {value}")
        if place in found.setdefault(name, {}):
            raise ValueError(f"line {line} repeats an image of the metric {name}")
        found[name][place] = value
    return found


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValueError(f"{text[:20]!r} is no count")
    return int(text)


def by_prompt(scores: Mapping[tuple[int, int], float], images_per_prompt: int) -> dict[int, float]:
    """Return the mean score of each prompt, over its images in all repetitions, by the prompt's number.

    Images of a prompt are not independent; the means of prompts are. Where a condition is a class, each image
    stands for a prompt. Raises ValueError unless the number of images of a prompt is positive.
    """
    if images_per_prompt < 1:
        raise ValueError(f"{images_per_prompt} images per prompt")
    prompts = np.array([index // images_per_prompt for _, index in scores])
    numbers, positions = np.unique(prompts, return_inverse=True)
    values = np.fromiter(scores.values(), dtype=np.float64, count=len(scores))
    means = np.bincount(positions, values) / np.bincount(positions)
    return dict(zip(numbers.tolist(), means.tolist(), strict=True))
