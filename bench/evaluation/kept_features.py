"""Files of features: what an extractor gave for each batch of a repetition, to the bit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import UserError
from bench.core.files import whole_file
from bench.features.views import Features

FEATURES, LOGITS, SCORES = "features", "logits", "scores."
"""Names of the arrays in a file; those of scores begin with the last."""
ABOUT = "batches"
"""Key of the metadata: for each array its lengths in the batches, and the reasons of each score."""


def write_features(path: Path, batches: Sequence[Features]) -> None:
    """Write the output of an extractor, one or more batches, as a safetensors file that appears whole."""
    from safetensors.numpy import save_file

    arrays = {name: [_arrays(batch)[name] for batch in batches] for name in _arrays(batches[0])}
    reasons = {name: [list(batch.reasons.get(name, ())) for batch in batches] for name in batches[0].scores}
    about = {
        "lengths": {name: [len(part) for part in parts] for name, parts in arrays.items()},
        "reasons": {name: parts for name, parts in reasons.items() if any(parts)},
    }
    joined = {name: np.ascontiguousarray(np.concatenate(parts)) for name, parts in arrays.items()}
    with whole_file(path) as temporary:
        save_file(joined, temporary, metadata={ABOUT: json.dumps(about)})


def _arrays(batch: Features) -> dict[str, np.ndarray]:
    found = {FEATURES: batch.features, **{f"{SCORES}{name}": values for name, values in batch.scores.items()}}
    return found if batch.logits is None else {**found, LOGITS: batch.logits}


def read_features(path: Path) -> list[Features]:
    """Read a file of `write_features`. Raises UserError if it is none, or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            about: dict[str, Any] = json.loads(file.metadata()[ABOUT])
            parts = {name: _split(file.get_tensor(name), about["lengths"][name]) for name in file.keys()}  # noqa: SIM118
        reasons = about["reasons"]
        return [
            Features(
                parts[FEATURES][number],
                parts[LOGITS][number] if LOGITS in parts else None,
                {
                    name.removeprefix(SCORES): ones[number]
                    for name, ones in parts.items()
                    if name.startswith(SCORES)
                },
                {name: ones[number] for name, ones in reasons.items() if ones[number]},
            )
            for number in range(len(parts[FEATURES]))
        ]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be read as kept features ({type(error).__name__}); "
            "fix: move it aside, and evaluate again"
        ) from None


def _split(array: np.ndarray, lengths: Sequence[int]) -> list[np.ndarray]:
    """Split an array [n, ...] into parts of these lengths. Raises ValueError unless they are all of it."""
    if sum(lengths) != len(array):
        raise ValueError("lengths")
    return np.split(array, np.cumsum(lengths)[:-1])
