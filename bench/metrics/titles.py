"""Names and headings of a metric's values, which may depend on its feature network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.features.names import CLEAN_FEATURES, FID_FEATURES, SPATIAL_FEATURES
from bench.metrics.catalogue import DIVERSITY, KID
from bench.metrics.catalogue_images import DIVERSITY_DINO, VENDI, VENDI_DINOV2, VENDI_PROMPT
from bench.metrics.info import MetricInfo

INCEPTIONS = (FID_FEATURES, CLEAN_FEATURES, SPATIAL_FEATURES)
LPIPS = "lpips"
"""Prefix of the names of LPIPS networks."""
EARLIER_DIVERSITY = "LPIPS diversity"
"""Title of every diversity in older records, whose headings did not name the network."""
SCALED_KID = "kid-rms"
"""Name of a KID of features that were divided by their root mean square over the real images."""
UNSCALED_KID = "kid-unscaled"
"""Name in tables of a KID of unscaled features, which older records call `kid`."""
NO_SPREAD = "no spread"
"""What is shown in place of an interval where all values are equal, from which no error follows."""

TIMES = {KID.name: 1000, SCALED_KID: 1000}
"""Factors by which tables multiply a metric's values, as is customary; records and CSV have the plain values."""


IN_A_SPACE = tuple(one.name for one in (VENDI, VENDI_DINOV2, VENDI_PROMPT, DIVERSITY_DINO))
"""Metrics whose heading always names their feature network."""


def has_published_scale(network: str) -> bool:
    """Return whether KID uses a network's features without scaling: true for any Inception."""
    return network.startswith("inception")


def name_of(info: MetricInfo, network: str) -> str:
    """Return the name under which a metric's value in the features of `network` is recorded.

    KID of scaled features is another quantity than the published KID, and has another name.
    """
    return SCALED_KID if info.name == KID.name and not has_published_scale(network) else info.name


def title_of(info: MetricInfo, network: str) -> str:
    """Return the metric's heading in the features of `network`.

    Only a Fréchet distance in the published Inception's features is called FID, and only the network that LPIPS's
    authors published is called LPIPS.
    """
    if "FD" in info.title:
        return info.title.replace("FD", "FID") if network in INCEPTIONS else f"{info.title} ({network})"
    if info.name == DIVERSITY.name:
        return f"{'LPIPS diversity' if network.startswith(LPIPS) else info.title} ({network})"
    if info.name in IN_A_SPACE:
        return f"{info.title} ({network})"
    if name_of(info, network) == SCALED_KID:
        return f"KID of {network} / RMS"
    return info.title


def shown_name(name: str, protocol: Mapping[str, Any]) -> str:
    """Return the name of a recorded metric in tables: as recorded, except for older KIDs of unscaled features."""
    if name == KID.name and not has_published_scale(str(protocol.get("features", ""))):
        return UNSCALED_KID
    return name


def shown_title(name: str, recorded: str, protocol: Mapping[str, Any]) -> str:
    """Return the heading of a recorded metric: as recorded, with the factor of its values.

    Older diversities get today's heading.
    """
    if (name, recorded) == (DIVERSITY.name, EARLIER_DIVERSITY):
        return title_of(DIVERSITY, protocol.get("extractors", {}).get(DIVERSITY.extractor, LPIPS))
    name = shown_name(name, protocol)
    if name == UNSCALED_KID:
        return f"{recorded} of unscaled features"
    return f"{recorded} × {TIMES[name]:,}" if name in TIMES else recorded
