"""Networks that one recipe made on different processors, and that differ by rounding alone.

The teacher and the feature network of a micro task are trained where they are first used. On another kind of
processor their last bits are other ones. Whether that matters is not assumed but seen: a sampler of the teacher
needs no training, so its numbers tell whether two teachers, and the networks that measure them, are the same.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

AGREEMENT = 1e-3
"""Largest relative difference of a sampler's values in one generation seed. Rounding changes an FD by 5e-6, and a
share of 10,000 images by one image; a teacher that was trained with another seed has an FD of its own."""


Values = Mapping[str, Sequence[float]]
"""Values of a sampler by metric."""
Measured = Mapping[Hashable, Values]
"""What was measured with networks, by plan."""


class Sampled(NamedTuple):
    """What a sampler of the teacher gave."""

    plan: Hashable
    """The sampler with its settings, the task and the protocol."""
    networks: str
    """The digest of the teacher and the feature networks."""
    values: Values
    """Values by metric, one for each generation seed."""


def find_twins(samplers: Iterable[Sampled]) -> dict[str, str]:
    """Return digests of networks, each with that of the first networks from which they differ by rounding alone.

    Two networks do if samplers of the same plans gave the same numbers: all metrics that both have, at least one,
    agree in each generation seed. One plan in which they differ is enough to tell them apart, since a share of few
    images may agree by chance. Twins of twins are twins, whoever came first. Digests without a twin are left out.
    """
    measured: dict[str, dict[Hashable, Values]] = {}
    for one in samplers:
        measured.setdefault(one.networks, {}).setdefault(one.plan, one.values)
    groups: list[list[str]] = []
    for networks, plans in measured.items():
        joined = [group for group in groups if any(_agree(plans, measured[other]) for other in group)]
        groups = [group for group in groups if group not in joined]
        groups.append([*(other for group in joined for other in group), networks])
    place = {networks: number for number, networks in enumerate(measured)}
    ordered = [sorted(group, key=place.__getitem__) for group in groups]
    return {one: first for first, *others in ordered for one in others}


def _agree(mine: Measured, theirs: Measured) -> bool:
    """Whether all values of the plans and metrics that both have agree, and there are some."""
    shared = [
        (values, theirs[plan][name])
        for plan in mine.keys() & theirs.keys()
        for name, values in mine[plan].items()
        if values and theirs[plan].get(name)  # a metric that failed has no values, and shows nothing
    ]
    return bool(shared) and all(_close(*pair) for pair in shared)


def _close(mine: Sequence[float], theirs: Sequence[float]) -> bool:
    return len(mine) == len(theirs) and all(
        math.isclose(a, b, rel_tol=AGREEMENT) for a, b in zip(mine, theirs, strict=True)
    )
