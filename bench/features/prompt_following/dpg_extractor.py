"""The extractor of DPG-Bench's scores. Imports no torch until it loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.text.dpg import read_dpg
from bench.features.base import FeatureExtractor
from bench.features.weights import FoundWeights

if TYPE_CHECKING:
    import torch

    from bench.features.batch import Extract


@dataclass(frozen=True)
class DPGExtractor(FeatureExtractor):
    """DPG-Bench with BLIP's answers."""

    def load(self, files: Mapping[str, Path], device: torch.device | str) -> Extract:
        """Load the network and the questions, in the order of `weights`."""
        from bench.features.prompt_following.blip_vqa import load_blip_vqa
        from bench.features.prompt_following.dpg import dpg_scores

        network, questions = (files[one.name] for one in self.weights)
        prompts = {one.prompt: one for one in read_dpg(questions)}
        return partial(dpg_scores, load_blip_vqa(network, device), prompts)

    def network(self, found: Mapping[str, FoundWeights], code_sha256: str = "") -> str:
        """Return a name that says which network answers, with the hashes of all files."""
        shown = f"{self.name} by BLIP-VQA (not mPLUG)"
        return super().network(found, code_sha256).replace(self.name, shown, 1)
