"""What a metric returned, in plain numbers: a plug-in's metric may return anything."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from bench.core.errors import UserError
from bench.metrics.base import MEAN_OF_IMAGES, Measured
from bench.metrics.info import ROUNDING, is_within


def plain(name: str, found: object, images: int, span: tuple[float, float] = (-math.inf, math.inf)) -> Measured:
    """Return the result of a metric over `images` images in Python's own numbers, converted from NumPy's.

    Raises UserError that names the metric, which may be a plug-in's, if it returned anything else, a value outside
    of its range `span`, or a value or scores of another number of images.
    """
    if not isinstance(found, Measured):
        raise UserError(f"metric {name!r} returned {found!r}; fix: let its result() return a Measured")
    if not isinstance(found.diagnostics, dict) or not all(isinstance(key, str) for key in found.diagnostics):
        raise UserError(f"metric {name!r} has the diagnostics {found.diagnostics!r}; fix: give them names")
    for what, several in (("scores", found.scores), ("reasons", found.reasons)):
        if isinstance(several, str) or not isinstance(several, Iterable):
            raise UserError(f"metric {name!r} has the {what} {several!r}; fix: give it a list, or none")
    value, samples = _number(found.value), _number(found.samples)
    diagnostics = {key: _number(one) for key, one in found.diagnostics.items()}
    scores, reasons = [_number(score) for score in found.scores], list(found.reasons)
    numbers = {"value": value, "samples": samples, **{f"score {n}": one for n, one in enumerate(scores)}}
    numbers |= {f"diagnostic {key!r}": one for key, one in diagnostics.items() if one is not None}
    for what, number in numbers.items():
        if not isinstance(number, int | float) or not math.isfinite(number):
            raise UserError(f"metric {name!r} has the {what} {number!r}; fix: let it return a finite number")
    if not is_within(value, span):
        raise UserError(
            f"metric {name!r} has the value {value!r}, and its range is from {span[0]:g} to {span[1]:g}; "
            "fix: correct its result(), or the range of its info"
        )
    if odd := [reason for reason in reasons if not isinstance(reason, str)]:
        raise UserError(f"metric {name!r} has the reason {odd[0]!r}; fix: give it in words")
    if samples < images or samples % images or (scores and samples != images):  # patches may be several an image
        raise UserError(
            f"metric {name!r} says that it measured {samples} samples, but {images} images were added to it; "
            "fix: let it count all of them, and name those that it leaves out in its diagnostics"
        )
    if scores and images % len(scores):
        raise UserError(
            f"metric {name!r} has {len(scores)} scores of {images} images; fix: let it return one for each image, "
            "or for each group of images of one prompt"
        )
    said, mean = diagnostics.get(MEAN_OF_IMAGES, value), math.fsum(scores) / max(1, len(scores))
    if scores and not math.isclose(mean, said, rel_tol=ROUNDING, abs_tol=ROUNDING):
        raise UserError(
            f"metric {name!r} says {said!r}, and its scores have the mean {mean!r}; fix: return no scores, or "
            f"their mean as the diagnostic {MEAN_OF_IMAGES!r}"
        )
    if len(reasons) not in (0, len(scores)):
        raise UserError(
            f"metric {name!r} has {len(reasons)} reasons for {len(scores)} scores; fix: return one each"
        )
    return Measured(value, samples, diagnostics, scores, reasons)


def _number(found: Any) -> Any:
    """Return a scalar of NumPy or torch as Python's number, and anything else as it is."""
    return found.item() if getattr(found, "shape", None) == () else found
