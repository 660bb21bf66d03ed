"""Stored reference statistics against themselves: two distances that are known of every covariance."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from bench.core.errors import UserError
from bench.features.references.store import ReferenceStatistics, list_references, load_reference
from bench.metrics.frechet import frechet_distance
from bench.runs.installation.checked import Checked, compared, failed

RELATIVE = 1e-9
"""Rounding in float64, relative to the trace; covariances of features have eigenvalues over ten powers of ten."""
APART = 0.125
"""How far the mean is moved in every feature."""


def reference_checks(store: Path) -> Iterator[Checked]:
    """Test every stored reference: its hash, and the distances of its statistics from themselves."""
    try:
        stored = list_references(store)
    except UserError as damaged:
        yield failed("reference", store.name, "the descriptions", damaged)
        return
    for about in stored:
        yield from _checks(store, about.name)


def _checks(store: Path, name: str) -> Iterator[Checked]:
    @cache
    def loaded() -> ReferenceStatistics:
        return load_reference(store, name)

    def trace() -> float:
        return float(np.trace(loaded().cov))

    def themselves() -> float:
        found = loaded()
        return frechet_distance(found.mean, found.cov, found.mean, found.cov).value / trace()

    def moved() -> float:
        found = loaded()
        distance = frechet_distance(found.mean + APART, 4 * found.cov, found.mean, found.cov).value
        return distance / (trace() + len(found.mean) * APART**2)

    yield compared("reference", name, "against itself, relative to its trace", 0.0, RELATIVE, themselves)
    yield compared("reference", name, "moved and twice as wide, relative to its closed form", 1.0, RELATIVE, moved)
