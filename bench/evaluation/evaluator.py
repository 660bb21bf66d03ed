"""Evaluation as a stream: every image is made or read once and passes through the extractors to all metrics."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from bench.core.distributed import from_main
from bench.core.errors import UserError, unknown
from bench.core.escape import shell_path
from bench.core.files import write_text
from bench.core.progress import Progress, SilentProgress
from bench.core.stopping import DivergedError
from bench.evaluation.feature_spaces import LoadedSpace, own_spaces, with_teacher
from bench.evaluation.image_labels import image_labels
from bench.evaluation.image_scores import ImageScores, scores_of
from bench.evaluation.image_source import ImageSource
from bench.evaluation.kept import Keeping, KeptRepetition, made_of_images
from bench.evaluation.plain_numbers import plain
from bench.evaluation.png import as_png
from bench.features.batch import Extract, ImageBatch, features_by
from bench.features.views import Features
from bench.metrics.base import Measured, Metric, make_metric
from bench.metrics.info import MetricInfo
from bench.metrics.intervals import t_interval
from bench.metrics.result import MetricResult
from bench.metrics.titles import name_of, title_of
from bench.task.base import PreparedTask
from bench.task.protocol import Protocol

Extracted = Mapping[str, Features]
"""The output of each extractor for a batch of images."""


@dataclass(frozen=True)
class Batch:
    """What the stream gives of a batch of images."""

    start: int
    """Index of its first sample."""
    found: Extracted
    images: Sequence[bytes] = ()
    """The images as PNG files, if they are to be kept."""


def extracted(
    source: ImageSource,
    protocol: Protocol,
    extractors: Mapping[str, Extract],
    repetition: int,
    batch_size: int,
    with_images: bool = False,
) -> Iterator[Batch]:
    """Yield the output of each extractor for one repetition's images, in the order of the samples.

    With several processes each makes every n-th batch, and every process gets all of them. Raises DivergedError if
    an image is not finite.
    """
    state = PartialState()
    for begin in range(0, protocol.samples, batch_size * state.num_processes):
        start = min(begin + batch_size * state.process_index, protocol.samples)
        stop = min(start + batch_size, protocol.samples)
        own: list[tuple[int, Batch | None]] = []
        if start < stop:
            batch = source.batch(repetition, start, stop)
            own = [(start, _extracted(batch, start, extractors, with_images) if batch.finite else None)]
        for first, done in gather_object(own):
            if done is None:
                raise DivergedError(f"the generator made images that are not finite (samples from {first} on)")
            yield done


def _extracted(batch: ImageBatch, start: int, extractors: Mapping[str, Extract], with_images: bool) -> Batch:
    found = {name: features_by(name, extract, batch) for name, extract in extractors.items()}
    return Batch(start, found, as_png(batch.images) if with_images else ())


def batches_of(
    source: ImageSource,
    protocol: Protocol,
    extractors: Mapping[str, Extract],
    repetition: int,
    batch_size: int,
    kept: KeptRepetition,
) -> Iterator[Extracted]:
    """Yield what `extracted` gives; what is kept of it is read, and what is to be kept is written at the end."""
    features = kept.all_features(extractors) if PartialState().is_main_process else {}
    there = from_main(lambda: [*features])
    missing = {name: extract for name, extract in extractors.items() if name not in there}
    keep_images = "images" in kept.keeping.kinds
    has_images = bool(missing or keep_images) and from_main(kept.has_images)
    write_images = keep_images and not has_images
    if missing or write_images:
        images = kept.images() if has_images else source
        stream = extracted(images, protocol, missing, repetition, batch_size, write_images)
    else:
        stream = (Batch(start, {}) for start in range(0, protocol.samples, batch_size))
    write_features = missing if "features" in kept.keeping.kinds else ()
    with kept.writing(write_features, write_images) if PartialState().is_main_process else nullcontext() as writer:
        for number, batch in enumerate(stream):
            if writer is not None:
                writer.add(batch.start, batch.found, batch.images)
            yield {**batch.found, **{name: parts[number] for name, parts in features.items()}}


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
    batch_size: int | None = None,
    kept: KeptRepetition | None = None,
) -> dict[str, Measured]:
    """Measure one repetition: one pass over the images updates all metrics, in the first process.

    What is `kept` of the repetition is read instead of made again.
    """
    names = {info.extractor for info in metrics.values()}
    running = started(prepared, protocol, metrics, spaces)
    with progress.bar(f"evaluation {repetition + 1}/{protocol.repetitions}", protocol.samples) as bar:
        at_once = batch_size or prepared.evaluation_batch
        extractors = {name: spaces[name].extract for name in sorted(names)}
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


@dataclass(frozen=True)
class Repetition:
    """The content of the file of one pass over a protocol's images."""

    made_of: Mapping[str, Any]
    """The hashes that decide it: of the subject, the protocol and the references."""
    metrics: Mapping[str, Measured]
    seconds: float

    def write(self, path: Path) -> None:
        """Write the file, which appears whole."""
        content = {**vars(self), "metrics": {name: vars(measured) for name, measured in self.metrics.items()}}
        write_text(path, json.dumps(content, indent=2) + "\n")


def read_repetition(path: Path) -> Repetition:
    """Read a repetition's file. Raises UserError if it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        metrics = {name: Measured(**measured) for name, measured in found["metrics"].items()}
        return Repetition(found["made_of"], metrics, float(found["seconds"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged; fix: rm {shell_path(path)}, and run again") from None


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
        if "fd" not in self.metrics:
            return {}
        # A smoke protocol accepts fewer images than features; this number is not a result.
        fewer = replace(self.protocol, samples=min(samples, self.protocol.samples), smoke=True)
        fd = {"fd": self.metrics["fd"]}
        found = measure(source, self.prepared, fewer, fd, self.spaces, 0, SilentProgress())
        return {"fd": found["fd"].value, "fd_samples": fewer.samples}
