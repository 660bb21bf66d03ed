"""Networks that one recipe made on different processors, and that differ by rounding alone.

The teacher and the feature network of a micro task are trained where they are first used. On another kind of
processor their last bits are other ones. Whether that matters is not assumed but seen: a sampler of the teacher
needs no training, so its numbers tell whether two teachers, and the networks that measure them, are the same.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

AGREEMENT = 1e-3
"""Largest relative difference of a sampler's values in one generation seed. Rounding changes an FD by 5e-6, and a
share of 10,000 images by one image; a teacher that was trained with another seed has an FD of its own."""


class Sampled(NamedTuple):
    """What a sampler of the teacher gave."""

    plan: Hashable
    """The sampler with its settings, the task and the protocol."""
    networks: str
    """The digest of the teacher and the feature networks."""
    values: Mapping[str, Sequence[float]]
    """Values by metric, one for each generation seed."""


def find_twins(samplers: Iterable[Sampled]) -> dict[str, str]:
    """Return digests of networks, each with that of the first networks from which they differ by rounding alone.

    Those are networks with which a sampler of one plan gave the same numbers: all metrics that both have, at least
    one, agree in each generation seed. Digests without such a twin are left out.
    """
    by_plan: dict[Hashable, list[Sampled]] = defaultdict(list)
    first: dict[str, str] = {}
    for one in samplers:
        earlier = by_plan[one.plan]
        twin = next((other for other in earlier if _agree(one.values, other.values)), one)
        earlier.append(one)
        if one.networks != twin.networks and one.networks not in first:
            first[one.networks] = first.get(twin.networks, twin.networks)
    return first


def _agree(one: Mapping[str, Sequence[float]], other: Mapping[str, Sequence[float]]) -> bool:
    shared = [(values, other[name]) for name, values in one.items() if name in other]
    return bool(shared) and all(map(_close, *zip(*shared, strict=True)))


def _close(mine: Sequence[float], theirs: Sequence[float]) -> bool:
    return len(mine) == len(theirs) and all(
        math.isclose(a, b, rel_tol=AGREEMENT) for a, b in zip(mine, theirs, strict=True)
    )
