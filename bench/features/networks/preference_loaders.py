"""The preference models of text-to-image tasks, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from bench.core.errors import UserError, unknown
from bench.features.networks.image_reward import load_image_reward
from bench.features.networks.preference import PreferenceModel, load_hps, load_pickscore
from bench.features.scoring import PREFERENCES

LOADERS: Mapping[str, Callable[..., PreferenceModel]] = {
    "pickscore": load_pickscore,
    "hps": load_hps,
    "image-reward": load_image_reward,
}


def load_preference(name: str, path: Path, *, device: torch.device | str = "cpu") -> PreferenceModel:
    """Read a preference model from a path. Raises UserError for an unknown name or another network."""
    if name not in LOADERS:
        raise unknown("preference model", name, LOADERS)
    if not path.exists():
        raise UserError(f"no file or folder {path}; fix: --weights {name}=PATH with {PREFERENCES[name].files}")
    return LOADERS[name](path, device=device)
