"""GenEval's score of each image, with the reason: a detector, a classifier of colours, and the published rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.errors import UserError, hint
from bench.data.text.geneval import TASKS, GenEvalPrompt, read_geneval
from bench.features.base import FeatureExtractor
from bench.features.prompt_following.geneval_rules import Detection, judge
from bench.features.scoring import CLIP_L14, clip_protocol
from bench.features.views import Features
from bench.features.weights import FoundWeights

if TYPE_CHECKING:
    import torch

    from bench.features.batch import Extract, ImageBatch

Detect = Callable[["torch.Tensor"], Sequence[Detection]]
"""The objects in an image [3, H, W] uint8."""
Colours = Callable[["torch.Tensor", Sequence[Detection]], Sequence[str]]
"""The colours of objects of one kind in an image."""


def geneval_scores(
    detect: Detect, colours: Colours, prompts: Mapping[str, GenEvalPrompt], batch: ImageBatch
) -> Features:
    """Return 1 or 0 for each image, the number of its task, and what is wrong with it in words.

    `prompts` are the benchmark's by their text. Raises UserError for a prompt that is not among them.
    """
    if len(batch.prompts) != len(batch):
        raise UserError("GenEval reads the prompts of images, and these have none; fix: leave geneval out")
    correct, tasks, reasons = [], [], []
    for image, text in zip(batch.images, batch.prompts, strict=True):
        if text not in prompts:
            raise UserError(
                f"prompt {text[:80]!r} is not in GenEval's metadata; {hint(text, prompts)[:200]} fix: evaluate on "
                "the prompts of evaluation_metadata.jsonl: --task geneval"
            )
        rgb, prompt = image.expand(3, -1, -1), prompts[text]
        found = judge(prompt, detect(rgb), partial(colours, rgb))
        correct.append(float(found.correct))
        tasks.append(float(TASKS.index(prompt.task)))
        reasons.append(found.reason)
    scores = {"geneval": np.array(correct), "geneval_task": np.array(tasks)}
    return Features(np.zeros((len(batch), 0)), scores=scores, reasons={"geneval": reasons})


@dataclass(frozen=True)
class GenEvalExtractor(FeatureExtractor):
    """GenEval by networks that transformers and open_clip read."""

    def load(self, files: Mapping[str, Path], device: torch.device | str) -> Extract:
        """Load the detector, the classifier of colours and the prompts, in the order of `weights`."""
        from bench.features.networks.clip import load_clip
        from bench.features.prompt_following.detector import load_detector
        from bench.features.prompt_following.object_colours import ColourClassifier

        detector, clip, metadata = (files[one.name] for one in self.weights)
        prompts = {one.prompt: one for one in read_geneval(metadata)}
        colours = ColourClassifier(load_clip(clip_protocol(CLIP_L14.name), clip, device=device))
        return partial(geneval_scores, load_detector(detector, device), colours, prompts)

    def network(self, found: Mapping[str, FoundWeights], code_sha256: str = "") -> str:
        """Return a name that says which detector it is, with the hashes of all files."""
        shown = f"{self.name} by transformers' Mask2Former (not mmdet's)"
        return super().network(found, code_sha256).replace(self.name, shown, 1)
