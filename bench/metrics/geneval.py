"""GenEval: the mean over its six tasks of the share of images that show what their prompts ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bench.core.errors import UserError
from bench.data.text.geneval import TASKS
from bench.features.views import Features
from bench.metrics.base import MEAN_OF_IMAGES, Measured, Metric, Reference
from bench.metrics.info import MetricInfo
from bench.metrics.known import KnownAnswer
from bench.metrics.recorded import Recorded, agree
from bench.metrics.scores import Scores, score_of
from bench.task.protocol import Protocol

NORMAL_95 = 1.959964
"""Two-sided 95 % quantile of the normal distribution."""


class GenEval(Metric):
    """The overall score; the diagnostics have those of the tasks.

    The score of an image is 1 or 0. Because the overall score is a mean of tasks, the mean of all images is
    another number: the tasks have 80 to 100 prompts.
    """

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:
        """Return a task of three images that are right, and five of one that is wrong."""
        right = {info.name: [1.0] * 3, f"{info.name}_task": [0.0] * 3}
        wrong = {info.name: [0.0] * 5, f"{info.name}_task": [1.0, 2.0, 3.0, 4.0, 5.0]}
        return (KnownAnswer.of_scores("the mean of six tasks, not of eight images", 1 / 6, right, wrong),)

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        super().__init__(reference, protocol, info)
        self._correct = Scores(info.name)
        self._tasks = Scores(f"{info.name}_task")
        self._reasons: list[str] = []

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:  # noqa: ARG003
        """Yield whether the value is not the mean of the tasks', or the interval not that of the value."""
        tasks = [share for share in map(found.number, TASKS) if share is not None]
        if tasks and not agree(found.value, float(np.mean(tasks))):
            yield f"its value is {found.value:.9g}, but the mean of its tasks is {float(np.mean(tasks)):.9g}"
        yield from found.with_interval(NORMAL_95)

    def update(self, batch: Features) -> None:
        """Add the batch's images, each with its task. Raises UserError if it has none."""
        self._correct.update(score_of(batch, self.info.name, self.info.name))
        self._tasks.update(score_of(batch, f"{self.info.name}_task", self.info.name))
        self._reasons.extend(batch.reasons.get(self.info.name, ()))

    def result(self) -> Measured:
        """Return the overall score with each task's, and a normal interval over prompts.

        Raises UserError if a task has no images; a smoke protocol averages the tasks that there are.
        """
        correct, tasks = self._correct.values(), self._tasks.values()
        self.require(len(correct), "generated", defined=1)
        images = {name: correct[tasks == number] for number, name in enumerate(TASKS)}
        if (missing := [name for name, found in images.items() if not len(found)]) and not self.protocol.smoke:
            raise UserError(
                f"metric {self.info.name!r} is the mean of {len(TASKS)} tasks, and no image is of "
                f"{', '.join(missing)}; fix: generate images of all prompts of evaluation_metadata.jsonl"
            )
        means = {name: float(found.mean()) for name, found in images.items() if len(found)}
        value = float(np.mean(list(means.values())))
        diagnostics: dict[str, float | int | bool] = {"prompts": len(correct) // self.protocol.images_per_prompt}
        diagnostics |= means | {"tasks": len(means), MEAN_OF_IMAGES: float(correct.mean())}
        error = self._standard_error([found for found in images.values() if len(found)])
        if error is not None:
            half = NORMAL_95 * error
            diagnostics |= {"standard_error": error, "low": value - half, "high": value + half}
        return Measured(value, len(correct), diagnostics, correct.tolist(), self._reasons)

    def _standard_error(self, tasks: list[np.ndarray]) -> float | None:
        """Return that of the mean of independent tasks; None if one has fewer than two prompts."""
        prompts = [images.reshape(-1, self.protocol.images_per_prompt).mean(axis=1) for images in tasks]
        if any(len(one) < 2 for one in prompts):
            return None
        return float(np.sqrt(sum(one.var(ddof=1) / len(one) for one in prompts)) / len(prompts))
