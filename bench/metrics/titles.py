"""What a metric's values are called: by its name, and by the network that it looks through where that matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.features.names import CLEAN_FEATURES, FID_FEATURES, SPATIAL_FEATURES
from bench.metrics.catalogue import DIVERSITY, KID
from bench.metrics.info import MetricInfo

INCEPTIONS = (FID_FEATURES, CLEAN_FEATURES, SPATIAL_FEATURES)
LPIPS = "lpips"
"""How the names of networks begin that are LPIPS."""
EARLIER_DIVERSITY = "LPIPS diversity"
"""Title of every diversity in records from before its heading named the network."""
SCALED_KID = "kid-rms"
"""Name of a KID of features that were divided by their root mean square over the real images."""
UNSCALED_KID = "kid-unscaled"
"""Name in tables of a KID that records call `kid`, of features of any size: from before they were scaled."""
TIMES = {KID.name: 1000, SCALED_KID: 1000}
"""What tables multiply a metric's values by, as is customary; records and CSV have the values themselves."""


def has_published_scale(network: str) -> bool:
    """Whether KID is taken of a network's features as they are: of an Inception, whoever trained its weights."""
    return network.startswith("inception")


def name_of(info: MetricInfo, network: str) -> str:
    """The name under which a metric's value is recorded when it looks through `network`.

    KID of scaled features is another quantity than the published KID, and has another name.
    """
    return SCALED_KID if info.name == KID.name and not has_published_scale(network) else info.name


def title_of(info: MetricInfo, network: str) -> str:
    """The metric's heading when it looks through `network`.

    FID is a Fréchet distance in the published Inception's features, and no other; LPIPS is what its authors
    published, and no other distance between networks' features.
    """
    if "FD" in info.title:
        return info.title.replace("FD", "FID") if network in INCEPTIONS else f"{info.title} ({network})"
    if info.name == DIVERSITY.name:
        return f"{'LPIPS diversity' if network.startswith(LPIPS) else info.title} ({network})"
    if name_of(info, network) == SCALED_KID:
        return f"KID of {network} / RMS"
    return info.title


def shown_name(name: str, protocol: Mapping[str, Any]) -> str:
    """The name that tables use for a recorded metric: as recorded, but for earlier KIDs of unscaled features."""
    if name == KID.name and not has_published_scale(str(protocol.get("features", ""))):
        return UNSCALED_KID
    return name


def shown_title(name: str, recorded: str, protocol: Mapping[str, Any]) -> str:
    """The heading of a recorded metric: as recorded, but for earlier diversities, which get today's, and with what
    the values are multiplied by."""
    if (name, recorded) == (DIVERSITY.name, EARLIER_DIVERSITY):
        return title_of(DIVERSITY, protocol.get("extractors", {}).get(DIVERSITY.extractor, LPIPS))
    name = shown_name(name, protocol)
    if name == UNSCALED_KID:
        return f"{recorded} of unscaled features"
    return f"{recorded} × {TIMES[name]:,}" if name in TIMES else recorded
