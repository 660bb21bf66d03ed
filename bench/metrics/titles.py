"""The heading of a metric: its title, and the network that it looks through where that is part of its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.metrics.catalogue import DIVERSITY, MetricInfo
from tasks.references import CLEAN_FEATURES, FID_FEATURES, SPATIAL_FEATURES

INCEPTIONS = (FID_FEATURES, CLEAN_FEATURES, SPATIAL_FEATURES)
LPIPS = "lpips"
"""How the names of networks begin that are LPIPS."""
EARLIER_DIVERSITY = "LPIPS diversity"
"""Title of every diversity in records from before its heading named the network."""


def title_of(info: MetricInfo, network: str) -> str:
    """The metric's heading when it looks through `network`.

    FID is a Fréchet distance in the published Inception's features, and no other; LPIPS is what its authors
    published, and no other distance between networks' features.
    """
    if "FD" in info.title:
        return info.title.replace("FD", "FID") if network in INCEPTIONS else f"{info.title} ({network})"
    if info.name == DIVERSITY.name:
        return f"{'LPIPS diversity' if network.startswith(LPIPS) else info.title} ({network})"
    return info.title


def shown_title(name: str, recorded: str, protocol: Mapping[str, Any]) -> str:
    """The heading of a recorded metric: as recorded, but for earlier diversities, which get today's."""
    if (name, recorded) != (DIVERSITY.name, EARLIER_DIVERSITY):
        return recorded
    return title_of(DIVERSITY, protocol.get("views", {}).get(DIVERSITY.view, LPIPS))
