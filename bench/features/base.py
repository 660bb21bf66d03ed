"""The base class of feature extractors: a named network, its weights and its preprocessing. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.features.weights import FoundWeights, WeightsFile

if TYPE_CHECKING:
    import torch

    from bench.features.batch import Extract
    from bench.features.known import KnownImages


@dataclass(frozen=True)
class Weights:
    """Weights that an extractor reads; the user names their path, or downloads them, with `bench weights get`."""

    name: str
    files: str
    """A description of PATH: the name of a file, or the content of a folder."""
    source: str
    """Where they are published."""
    licence: str
    file: WeightsFile | None = None
    """The published file, if its hash is known, so that it can be downloaded."""

    @property
    def command(self) -> str:
        """The command that gets them: with a published hash they can be downloaded."""
        return f"bench weights get {self.name} {'--download' if self.file is not None else '--from PATH'}"

    @property
    def fix(self) -> str:
        """That command, with what it takes and where this is published."""
        return f"{self.command} ({self.files}; {self.source})"

    @classmethod
    def of_file(cls, name: str, file: WeightsFile) -> Weights:
        """Return weights that are one published file."""
        return cls(name, file.name, file.url, file.licence, file)


@dataclass(frozen=True)
class FeatureExtractor(ABC):
    """A feature extractor as it is declared; `load` makes it ready to run."""

    name: str
    """The name by which metrics refer to it."""
    summary: str
    weights: tuple[Weights, ...]
    preprocessing: str
    """A description of how uint8 images are prepared for the network."""
    output: str
    """A description of its output for an image: `2,048 features`, `a score`."""

    @abstractmethod
    def load(self, files: Mapping[str, Path], device: torch.device | str) -> Extract:
        """Read the weights `files`, by their names, and return the network, ready on a device.

        Raises UserError if a file is damaged, or contains another network.
        """

    def known_answers(self) -> Sequence[KnownImages]:
        """Return images whose scores or features are known, for `bench metrics check`; empty: none."""
        return ()

    def network(self, found: Mapping[str, FoundWeights], code_sha256: str = "") -> str:
        """Return a name with the hashes that decide its numbers: of its weights and of a plug-in file."""
        parts = [self.name, *([f"plug-in {code_sha256[:12]}"] if code_sha256 else [])]
        for one in self.weights:
            parts.append(f"weights {found[one.name].sha256[:12]}" if one.name in found else f"no {one.name}")
        return ", ".join(parts)
