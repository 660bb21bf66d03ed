"""Evaluation: the stream of images passes to all metrics, and repetitions become results with intervals."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState

from bench.core.distributed import from_main
from bench.core.errors import unknown
from bench.core.progress import Progress, SilentProgress
from bench.evaluation.feature_spaces import LoadedSpace, own_spaces, with_teacher
from bench.evaluation.image_labels import image_labels
from bench.evaluation.image_scores import ImageScores, scores_of
from bench.evaluation.image_source import ImageSource
from bench.evaluation.kept import Keeping, KeptRepetition, made_of_images
from bench.evaluation.plain_numbers import plain
from bench.evaluation.repetition import Repetition, read_repetition
from bench.evaluation.stream import Extracted, batches_of, extracted
from bench.metrics.base import Measured, Metric, make_metric
from bench.metrics.info import MetricInfo
from bench.metrics.intervals import t_interval
from bench.metrics.result import MetricResult
from bench.metrics.titles import name_of, title_of
from bench.task.base import PreparedTask
from bench.task.protocol import Protocol


def started(
    prepared: PreparedTask,
    protocol: Protocol,
    metrics: Mapping[str, MetricInfo],
    spaces: Mapping[str, LoadedSpace],
) -> dict[str, Metric]:
    """Return the metrics before their first image, by their names; those of the first process alone.

    Raises UserError, in all processes, for one that cannot be measured: without an extractor or a reference, or
    with too few images.
    """
    if missing := {info.extractor for info in metrics.values()} - spaces.keys():
        raise unknown(f"feature extractor for task {prepared.task.name!r}:", missing.pop(), spaces)
    running: dict[str, Metric] = {}

    def start() -> None:
        for name, info in metrics.items():
            running[name] = make_metric(info, spaces[info.extractor].reference_of(info), protocol)
            running[name].check()

    from_main(start)
    return running


def measure(
    source: ImageSource,
    prepared: PreparedTask,
    protocol: Protocol,
    metrics: Mapping[str, MetricInfo],
    spaces: Mapping[str, LoadedSpace],
    repetition: int,
    progress: Progress,
    kept: KeptRepetition | None = None,
) -> dict[str, Measured]:
    """Measure one repetition: one pass over the images updates all metrics, in the first process.

    What is `kept` of the repetition is read instead of made again.
    """
    names = {info.extractor for info in metrics.values()}
    running = started(prepared, protocol, metrics, spaces)
    with progress.bar(f"evaluation {repetition + 1}/{protocol.repetitions}", protocol.samples) as bar:
        extractors, at_once = {name: spaces[name].extract for name in sorted(names)}, prepared.evaluation_batch
        stream: Iterator[Extracted]
        if kept is None:
            stream = (batch.found for batch in extracted(source, protocol, extractors, repetition, at_once))
        else:
            stream = batches_of(source, protocol, extractors, repetition, at_once, kept)
        for batch in stream:
            for metric in running.values():
                metric.update(batch[metric.info.extractor])
            bar.advance(len(next(iter(batch.values()), ())))  # other processes do not read what is kept
    return from_main(lambda: {name: metric.result() for name, metric in running.items()})


def _path(folder: Path, repetition: int) -> Path:
    return folder / f"repetition-{repetition}.json"


class Evaluator:
    """An evaluation of sources of images on one prepared task under its protocol."""

    def __init__(
        self,
        prepared: PreparedTask,
        metrics: Mapping[str, MetricInfo],
        progress: Progress,
        further: Mapping[str, LoadedSpace] = {},
    ) -> None:
        """Take the task, the metrics, and the `further` feature spaces that the task does not provide."""
        self.prepared = prepared
        self.protocol = prepared.task.protocol
        self.metrics = metrics
        self.further = further
        self.spaces = with_teacher({**own_spaces(prepared), **further}, prepared)
        self.progress = progress

    def require(self) -> None:
        """Raise UserError if a metric cannot be measured here, before anything is trained or generated."""
        started(self.prepared, self.protocol, self.metrics, self.spaces)

    def evaluate(
        self, source: ImageSource, folder: Path, subject: str, keeping: Keeping | None = None
    ) -> tuple[list[MetricResult], float]:
        """Measure all repetitions; each is written to `folder` when done, so that a killed evaluation resumes.

        `subject` is the hash of what is evaluated, weights or images: repetitions of others are not reused.
        `keeping` says where images and features are kept. Returns the metrics and the seconds they took, over all
        attempts.
        """
        finished = [self._repetition(source, folder, r, subject, keeping) for r in range(source.repetitions)]
        results = [self._summary(name, [part.metrics[name] for part in finished]) for name in self.metrics]
        return results, sum(part.seconds for part in finished)

    def scores(self, folder: Path, seeded: bool = True) -> ImageScores:
        """Return the scores of single images of a finished evaluation, from the repetitions in its folder.

        `seeded` says whether the images were made from the protocol's seeds here.
        """
        found = {}
        for number in range(self.protocol.repetitions):
            if (path := _path(folder, number)).exists():
                found[number] = read_repetition(path).metrics
        if not any(measured.scores for metrics in found.values() for measured in metrics.values()):
            return {}
        labels = [image_labels(self.prepared, number, seeded) for number in found]
        return scores_of([*found.values()], labels)

    def _repetition(
        self, source: ImageSource, folder: Path, repetition: int, subject: str, keeping: Keeping | None
    ) -> Repetition:
        path = _path(folder, repetition)
        made_of = {
            "subject": subject,
            "protocol": self.protocol.digest(),
            "references": {
                name if whose == "real" else f"{name} of the {whose}": sha256
                for name, space in self.spaces.items()
                for whose, sha256 in space.hashes()
            },
            "quantities": {name: self._name(name) for name in self.metrics},
        }
        kept = None
        if keeping is not None and keeping.folder is not None:
            images = made_of_images(self.prepared, self.protocol, subject, keeping.sampler, repetition)
            kept = KeptRepetition(keeping, images, self.prepared)
        extractors = {info.extractor for info in self.metrics.values()}
        before = from_main(lambda: self._finished(path, made_of))
        if before is not None and (kept is None or from_main(lambda: kept.has_all(extractors))):
            return before
        begun = time.perf_counter()
        measured = measure(
            source, self.prepared, self.protocol, self.metrics, self.spaces, repetition, self.progress, kept=kept
        )
        measured = {
            name: plain(name, found, self.protocol.samples, self.metrics[name].range)
            for name, found in measured.items()
        }
        done = Repetition(made_of, measured, time.perf_counter() - begun)
        if PartialState().is_main_process:
            done.write(path)
        return done

    def _finished(self, path: Path, made_of: Mapping[str, Any]) -> Repetition | None:
        """Read a finished repetition if its weights, protocol, references and quantities are the same, or None."""
        if not path.exists():
            return None
        found = read_repetition(path)
        return found if found.made_of == made_of and found.metrics.keys() == self.metrics.keys() else None

    def _summary(self, name: str, parts: Sequence[Measured]) -> MetricResult:
        info = self.metrics[name]
        values = [part.value for part in parts]
        interval = t_interval(values)
        is_minimum = name == "fd" and self.protocol.aggregate == "minimum" and len(values) > 1
        return MetricResult(
            name=self._name(name),
            title=title_of(info, self.protocol.network(info.extractor))
            + (f", min of {len(values)}" if is_minimum else ""),
            direction=info.direction,
            value=min(values) if is_minimum else interval.mean,
            values=values,
            std=interval.std,
            low=None if is_minimum else interval.low,
            high=None if is_minimum else interval.high,
            samples=self.protocol.samples,
            diagnostics=[dict(part.diagnostics) for part in parts],
        )

    def _name(self, metric: str) -> str:
        """Return the name under which a metric's value is recorded."""
        info = self.metrics[metric]
        return name_of(info, self.protocol.network(info.extractor))

    def validate(self, source: ImageSource, samples: int) -> dict[str, float]:
        """Return a quick FD of the first samples, for progress and never for a table."""
        # A smoke protocol accepts fewer images than features; this number is not a result.
        fewer = replace(self.protocol, samples=min(samples, self.protocol.samples), smoke=True)
        fd = {"fd": self.metrics["fd"]}
        found = measure(source, self.prepared, fewer, fd, self.spaces, 0, SilentProgress())
        return {"fd": found["fd"].value, "fd_samples": fewer.samples}
