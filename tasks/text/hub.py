"""The hub's cache on this machine: whether a baseline's weights are there. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from tasks.text.baselines import HubWeights

FIRST_FILE = {"pipeline": "model_index.json", "folder": "config.json"}
"""The file without which there is nothing to read."""


def in_cache(weights: HubWeights) -> Path | None:
    """Return where a baseline's weights are in the hub's cache, or None; asks nobody on the network."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(weights.repository, weights.file or FIRST_FILE[weights.kind])
    return Path(found) if isinstance(found, str) else None
