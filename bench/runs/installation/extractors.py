"""Registered feature extractors on images made by a formula: known answers, and that the same images agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from bench.core.errors import UserError
from bench.features.base import FeatureExtractor
from bench.features.batch import Extract, ImageBatch
from bench.features.known import KnownImages
from bench.features.known_resizes import formula_image
from bench.features.pinned import weights_for
from bench.features.statistics import row_blocks
from bench.features.views import Features
from bench.features.weights import FoundWeights
from bench.runs.installation.checked import Checked, compared, failed, left_out
from bench.runs.registry import Entry

IMAGES, PARTS, SIDE = 8, 2, 96
"""Images made by the formula, the batches that they are split into, and their pixels."""
PROMPTS = ("a red cat", "two dogs on the mat")
AGAIN, SPLIT, OTHER_DEVICE = 1e-7, 1e-4, 1e-3
"""The greatest differences that are right, relative to the largest feature: of the same batch again, of parts of
it, and of the CPU's features. Float32 makes 1e-6 in another order, and TF32 1e-2."""


def extractor_checks(
    entry: Entry[FeatureExtractor], here: Mapping[str, FoundWeights], device: torch.device
) -> Iterator[Checked]:
    """Test an extractor on the CPU and on `device`; if its weights are not `here`, it is listed as not checked."""
    try:
        extractor = entry.load()
        known = extractor.known_answers()
    except Exception as error:  # a stranger's plug-in may raise anything
        yield failed("extractor", entry.name, "its known answers", error)
        return
    for one in extractor.weights:
        if one.name not in here:
            yield left_out("extractor", entry.name, "", f"no weights {one.name!r}; fix: {one.command}")
            return
    try:
        files = weights_for(extractor, here)
    except UserError as changed:
        yield failed("extractor", entry.name, "its weights", changed)
        return
    yield from _loaded_checks(extractor, files, known, device)


def _loaded_checks(
    extractor: FeatureExtractor, files: Mapping[str, Path], known: Sequence[KnownImages], device: torch.device
) -> Iterator[Checked]:
    name, found, batch = extractor.name, {}, batch_of(known)
    for where in dict.fromkeys(("cpu", str(device))):
        try:
            extract = extractor.load(files, where)
        except Exception as error:
            yield failed("extractor", name, f"{where}: its weights", error)
            return
        yield from (_known(name, where, answer, extract) for answer in known)
        try:
            found[where] = numbers_of([extract(batch)])
        except UserError as error:  # for example prompts that are none of its benchmark's
            yield left_out("extractor", name, f"{where}: images made by a formula", str(error))
            return
        yield from _same(name, where, extract, batch, found[where])
    if len(found) > 1:
        yield compared(
            *("extractor", name, f"{device}: as on the CPU", 0.0, OTHER_DEVICE),
            lambda: apart(found[str(device)], found["cpu"]),
        )


def _same(name: str, where: str, extract: Extract, batch: ImageBatch, first: np.ndarray) -> Iterator[Checked]:
    """Test that the same images get the same output, and others another."""

    def again() -> float:
        if np.ptp(first) == 0:
            raise UserError(f"its output is {first.flat[0]:g} for every image")
        return apart(numbers_of([extract(ImageBatch(batch.images, prompts=batch.prompts))]), first)

    def in_parts() -> float:
        rows = row_blocks(len(batch), len(batch) // PARTS)
        parts = [ImageBatch(batch.images[some], prompts=batch.prompts[some]) for some in rows]
        return apart(numbers_of([extract(part) for part in parts]), first)

    yield compared("extractor", name, f"{where}: the same images again", 0.0, AGAIN, again)
    yield compared("extractor", name, f"{where}: in {PARTS} batches", 0.0, SPLIT, in_parts)


def batch_of(known: Sequence[KnownImages]) -> ImageBatch:
    """Return the known images whose prompts an extractor reads, or images made by a formula with any prompts."""
    if known and known[0].prompts:
        return ImageBatch(torch.from_numpy(known[0].images), prompts=known[0].prompts)
    images = torch.cat(formula_image(SIDE, SIDE * IMAGES).split(SIDE, dim=3))
    return ImageBatch(images, prompts=[prompt for prompt in PROMPTS for _ in range(IMAGES // len(PROMPTS))])


def _known(name: str, where: str, answer: KnownImages, extract: Extract) -> Checked:
    """Compare an extractor with its known answer: the largest difference of any score or feature."""

    def largest() -> float:
        given = extract(ImageBatch(torch.from_numpy(answer.images), prompts=answer.prompts))
        gaps = [0.0]
        for score, values in answer.scores.items():
            if score not in given.scores:
                raise UserError(f"it gives no scores {score!r}, only {', '.join(given.scores) or 'none'}")
            gaps.append(_gap(given.scores[score], np.asarray(values, np.float64), score))
        if answer.features is not None:
            gaps.append(_gap(given.features, answer.features, "features"))
        return max(gaps)

    return compared("extractor", name, f"{where}: {answer.case}", 0.0, answer.tolerance, largest)


def _gap(found: np.ndarray, expected: np.ndarray, what: str) -> float:
    if found.shape != expected.shape:
        raise UserError(f"it gives {what} {list(found.shape)}, not {list(expected.shape)}")
    return float(np.abs(found - expected).max())


def numbers_of(given: Sequence[Features]) -> np.ndarray:
    """Return the features, logits and scores of batches as one array of float64, each in the images' order."""
    parts = [one.features for one in given] + [one.logits for one in given if one.logits is not None]
    parts += [one.scores[name] for name in given[0].scores for one in given]
    return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference of two arrays, relative to the largest number. Raises UserError."""
    if one.shape != other.shape:
        raise UserError(f"{len(one)} numbers, and {len(other)} before")
    return float(np.abs(one - other).max() / max(np.abs(other).max(), np.finfo(np.float64).tiny))
