"""A search for baselines' weights in the hub's cache on this machine. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from tasks.text.baselines import HubWeights

FIRST_FILE = {"pipeline": "model_index.json", "folder": "config.json"}
"""The file that marks a downloaded pipeline or folder."""


def in_cache(weights: HubWeights) -> Path | None:
    """Return the path of a baseline's weights in the hub's cache, or None, without network access."""
    from huggingface_hub import try_to_load_from_cache

    repository, folder = weights.place
    found = try_to_load_from_cache(repository, folder + (weights.file or FIRST_FILE[weights.kind]))
    return Path(found) if isinstance(found, str) else None
