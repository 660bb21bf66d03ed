"""What a feature extractor is: a named network with its weights and its preprocessing. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.features.weights import FoundWeights, WeightsFile

if TYPE_CHECKING:
    import torch

    from bench.features.batch import Extract


@dataclass(frozen=True)
class Weights:
    """Weights that an extractor reads: `bench prepare --weights NAME=PATH` says where they are."""

    name: str
    files: str
    """What PATH is: a file's name, or what a folder holds."""
    source: str
    """Where they are published."""
    licence: str
    file: WeightsFile | None = None
    """The published file, where it is one that is known by its hash, and can be downloaded."""

    @classmethod
    def of_file(cls, name: str, file: WeightsFile) -> Weights:
        """Describe weights that are one published file."""
        return cls(name, file.name, file.url, file.licence, file)


@dataclass(frozen=True)
class FeatureExtractor(ABC):
    """A feature extractor as it is declared; `load` makes it ready to run."""

    name: str
    """What metrics name it by."""
    summary: str
    weights: tuple[Weights, ...]
    preprocessing: str
    """What is done to uint8 images before the network reads them."""
    output: str
    """What it gives of an image: `2,048 features`, `a score`."""

    @abstractmethod
    def load(self, files: Mapping[str, Path], device: torch.device | str) -> Extract:
        """Read the weights `files`, by their names, and return the network, ready on a device.

        Raises UserError if a file is damaged, or holds another network.
        """

    def network(self, found: Mapping[str, FoundWeights], code_sha256: str = "") -> str:
        """Name it by all that decides its numbers: its weights' hashes, and the plug-in file's, if any."""
        parts = [self.name, *([f"plug-in {code_sha256[:12]}"] if code_sha256 else [])]
        for one in self.weights:
            parts.append(f"weights {found[one.name].sha256[:12]}" if one.name in found else f"no {one.name}")
        return ", ".join(parts)
