"""DPG-Bench: the mean share of questions whose answer is yes, with that of each category."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from bench.core.errors import UserError
from bench.data.text.dpg import CATEGORIES
from bench.features.views import Features
from bench.metrics.base import Measured, Metric, Reference
from bench.metrics.info import MetricInfo
from bench.metrics.known import KnownAnswer
from bench.metrics.recorded import Recorded
from bench.metrics.scores import MeanScore, Scores, mean_of_groups, score_of
from bench.task.protocol import Protocol


def _no_categories(info: MetricInfo, images: int) -> dict[str, list[float]]:
    """Return the counts of images that are asked about no category."""
    names = [f"{info.name}_{category}_{what}" for category in CATEGORIES for what in ("yes", "questions")]
    return {name: [0.0] * images for name in names}


class CategoryMeans:
    """The share of questions of each category whose answer is yes."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self._counts: defaultdict[str, Scores] = defaultdict(lambda: Scores(metric))

    def update(self, batch: Features) -> None:
        """Add the counts of a batch's images."""
        for name in (f"{category}_{what}" for category in CATEGORIES for what in ("yes", "questions")):
            self._counts[name].update(score_of(batch, f"{self.metric}_{name}", self.metric))

    def means(self, images: np.ndarray) -> dict[str, float | int | bool]:
        """Return the shares over the images that `images` [n] marks, of each category that they are asked of."""
        found: dict[str, float | int | bool] = {}
        for category in CATEGORIES:
            yes, questions = (
                float(self._counts[f"{category}_{what}"].values()[images].sum()) for what in ("yes", "questions")
            )
            if questions:
                found[category] = yes / questions
        return found


class DPG(MeanScore):
    """The mean over questions, images and prompts; a question counts only if all that it depends on are yes."""

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:
        """Return two images of two questions each."""
        batches = {info.name: [0.5], **_no_categories(info, 1)}, {info.name: [1.0], **_no_categories(info, 1)}
        return (KnownAnswer.of_scores("the mean of two images", 0.75, *batches),)

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        super().__init__(reference, protocol, info)
        self._categories = CategoryMeans(info.name)

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:
        """Yield what it yields of any mean of scores."""
        yield from super().contradictions(info, found)

    def update(self, batch: Features) -> None:
        """Add the batch's images. Raises UserError if it has no answers."""
        super().update(batch)
        self._categories.update(batch)

    def result(self) -> Measured:
        """Return the mean with its interval over prompts, and the categories' shares."""
        found = super().result()
        every = np.ones(found.samples, dtype=bool)
        return Measured(
            found.value,
            found.samples,
            found.diagnostics | self._categories.means(every),
            found.scores,
            found.reasons,
        )


class OfficialDPG(Metric):
    """The number as the official script computes it.

    Prompts on which that script fails are left out, and counted. Its categories' shares ignore dependencies, and
    read only the last image of each prompt. Because images are left out, single images have no scores here: those
    of `dpg` are of the same answers.
    """

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:
        """Return three images, one of which the official script leaves out."""
        scores = {info.name: [0.5, 0.0, 1.0], f"{info.name}_left_out": [0.0, 1.0, 0.0]}
        return (KnownAnswer.of_scores("the mean of two images of three", 0.75, scores | _no_categories(info, 3)),)

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        super().__init__(reference, protocol, info)
        self._scores, self._left_out = Scores(info.name), Scores(info.name)
        self._categories = CategoryMeans(info.name)

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:  # noqa: ARG003
        """Yield whether the prompts are not those that are not left out."""
        counts = found.numbers("prompts", "left_out")
        if counts is not None and counts[0] != (found.samples - counts[1]) // found.images_per_prompt:
            yield f"it has {counts[0]:g} prompts, and leaves out {counts[1]:g} of {found.samples} images"

    def update(self, batch: Features) -> None:
        """Add the batch's images. Raises UserError if it has no answers."""
        self._scores.update(score_of(batch, self.info.name, self.info.name))
        self._left_out.update(score_of(batch, f"{self.info.name}_left_out", self.info.name))
        self._categories.update(batch)

    def result(self) -> Measured:
        """Return the mean over the images that the script scores. Raises UserError if there are none."""
        values, size = self._scores.values(), self.protocol.images_per_prompt
        self.require(len(values), "generated", defined=1)
        scored = self._left_out.values() == 0
        if not scored.any():
            raise UserError(f"metric {self.info.name!r}: the official script fails on every prompt; fix: take dpg")
        last = np.arange(len(values)) % size == size - 1
        over = mean_of_groups(values[scored], size)
        diagnostics = {
            "prompts": int(scored.sum()) // size,
            "left_out": int((~scored).sum()),
            **self._categories.means(scored & last),
        }
        return Measured(over.mean, len(values), diagnostics)
