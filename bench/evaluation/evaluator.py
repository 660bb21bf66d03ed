"""Evaluation as a stream: every image is generated once and passes through the extractor to all metrics."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from bench.core.device import this_device
from bench.core.distributed import from_main
from bench.core.errors import UserError, unknown
from bench.core.files import write_text
from bench.core.progress import Progress, SilentProgress
from bench.core.stopping import DivergedError
from bench.features.reference_store import ReferenceStatistics
from bench.features.views import Features
from bench.metrics.base import AnyReference, GaussianReference, Measured, Metric, Reference
from bench.metrics.intervals import t_interval
from bench.metrics.titles import name_of, title_of
from bench.models.samplers import BatchSeededNoise, SampleNoise, Sampler
from bench.runs.records import MetricResult
from bench.task.prepared import PreparedTask, RealImages, Samples, to_uint8
from bench.task.protocol import Protocol

Seen = Mapping[str, Features]
"""A batch of images by view."""


@dataclass(frozen=True)
class Generated(Samples):
    """One batch of the stream."""

    finite: bool
    """Whether the sampler's numbers were; the images of a batch that were not mean nothing."""


@torch.no_grad()
def generate(
    sampler: Sampler, prepared: PreparedTask, protocol: Protocol, repetition: int, start: int, stop: int
) -> Generated:
    """Generate samples start ... stop - 1 of a repetition; sample i's noise and condition depend on i alone."""
    device = this_device()
    first = protocol.first_seed + repetition * protocol.samples
    indices = torch.arange(start, stop)
    seeds, shape = (first + indices).tolist(), prepared.sample_shape
    noise = SampleNoise(seeds, shape, device)
    if protocol.text is not None and protocol.text.noise_batch:
        noise = BatchSeededNoise(seeds, shape, protocol.text.noise_batch, device)
    if protocol.labels == "random":
        conditions = prepared.training_condition(noise.labels(prepared.training_conditions))
    else:
        conditions = prepared.conditions(indices.to(device))
    images = prepared.decode(sampler(noise, conditions.to(device)))
    levels = to_uint8(images, protocol.uint8).cpu()
    return Generated(indices, levels, conditions.cpu(), bool(images.isfinite().all()))


def seen(
    sampler: Sampler,
    prepared: PreparedTask,
    protocol: Protocol,
    views: Collection[str],
    repetition: int,
    batch_size: int,
) -> Iterator[Seen]:
    """Yield one repetition's images in each of the views, in the order of the samples.

    With several processes each makes every n-th batch, and all are given all of them. Raises DivergedError.
    """
    state = PartialState()
    for begin in range(0, protocol.samples, batch_size * state.num_processes):
        start = min(begin + batch_size * state.process_index, protocol.samples)
        stop = min(start + batch_size, protocol.samples)
        own: list[tuple[int, Seen | None]] = []
        if start < stop:
            samples = generate(sampler, prepared, protocol, repetition, start, stop)
            own = [(start, prepared.extract(samples, views) if samples.finite else None)]
        for first, batch in gather_object(own):
            if batch is None:
                raise DivergedError(f"the generator made images that are not finite (samples from {first} on)")
            yield batch


def measure(
    sampler: Sampler,
    prepared: PreparedTask,
    protocol: Protocol,
    metrics: Mapping[str, type[Metric]],
    references: Mapping[str, AnyReference],
    repetition: int,
    progress: Progress,
    batch_size: int | None = None,
) -> dict[str, Measured]:
    """Measure one repetition: one pass over the images feeds all metrics, in the first process."""
    is_main = PartialState().is_main_process
    views = {metric.info.view for metric in metrics.values()}
    if unknown_views := views - set(prepared.views):
        raise unknown(f"view of task {prepared.task.name!r}:", unknown_views.pop(), prepared.views)
    running: dict[str, Metric] = {}
    if is_main:
        running = {name: metric(references.get(metric.info.view), protocol) for name, metric in metrics.items()}
    with progress.bar(f"evaluation {repetition + 1}/{protocol.repetitions}", protocol.samples) as bar:
        at_once = batch_size or prepared.evaluation_batch
        for batch in seen(sampler, prepared, protocol, sorted(views), repetition, at_once):
            for metric in running.values():
                metric.update(batch[metric.info.view])
            bar.advance(len(next(iter(batch.values()))))
    return from_main(lambda: {name: metric.result() for name, metric in running.items()})


def references_of(prepared: PreparedTask) -> dict[str, AnyReference]:
    """The real images of a prepared task in each view, as the metrics want them."""
    name = prepared.task.protocol.reference
    return {view: _as_reference(real, name) for view, real in prepared.references.items()}


def _as_reference(real: RealImages, name: str) -> AnyReference:
    if isinstance(real.seen, ReferenceStatistics):
        about = real.seen.description
        return GaussianReference(
            real.seen.mean, real.seen.cov, about.samples, name, real.sha256, real.seen.rows, about.fallbacks
        )
    return Reference(real.seen, name, real.sha256)


@dataclass(frozen=True)
class Repetition:
    """One pass over a protocol's images, as its file has it."""

    made_of: Mapping[str, Any]
    """What decides it: the subject's hash, the protocol's, the references'."""
    metrics: Mapping[str, Measured]
    seconds: float

    def write(self, path: Path) -> None:
        """Write its file, which appears whole."""
        content = {**vars(self), "metrics": {name: vars(measured) for name, measured in self.metrics.items()}}
        write_text(path, json.dumps(content, indent=2) + "\n")


def read_repetition(path: Path) -> Repetition:
    """Read a repetition's file. Raises UserError if it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        metrics = {name: Measured(**measured) for name, measured in found["metrics"].items()}
        return Repetition(found["made_of"], metrics, float(found["seconds"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged; delete it and run again: rm {shlex.quote(str(path))}") from None


class Evaluator:
    """Evaluates samplers on one prepared task under its protocol."""

    def __init__(self, prepared: PreparedTask, metrics: Mapping[str, type[Metric]], progress: Progress) -> None:
        self.prepared = prepared
        self.protocol = prepared.task.protocol
        self.metrics = metrics
        self.references = references_of(prepared)
        self.progress = progress

    def evaluate(self, sampler: Sampler, folder: Path, subject: str) -> tuple[list[MetricResult], float]:
        """Measure all repetitions; each lands in `folder` when done, so that a killed evaluation goes on.

        `subject` is the hash of what is evaluated: a finished repetition of other weights is not taken over.
        Returns the metrics and the seconds they took, over all attempts.
        """
        finished = [self._repetition(sampler, folder, r, subject) for r in range(self.protocol.repetitions)]
        results = [self._summary(name, [part.metrics[name] for part in finished]) for name in self.metrics]
        return results, sum(part.seconds for part in finished)

    def _repetition(self, sampler: Sampler, folder: Path, repetition: int, subject: str) -> Repetition:
        path = folder / f"repetition-{repetition}.json"
        made_of = {
            "subject": subject,
            "protocol": self.protocol.digest(),
            "references": {view: reference.sha256 for view, reference in self.references.items()},
            "quantities": {name: self._name(name) for name in self.metrics},
        }
        before = from_main(lambda: self._finished(path, made_of))
        if before is not None:
            return before
        begun = time.perf_counter()
        measured = measure(
            sampler, self.prepared, self.protocol, self.metrics, self.references, repetition, self.progress
        )
        done = Repetition(made_of, measured, time.perf_counter() - begun)
        if PartialState().is_main_process:
            done.write(path)
        return done

    def _finished(self, path: Path, made_of: Mapping[str, Any]) -> Repetition | None:
        """Read a repetition that was measured before, if it is of the same weights, protocol, reference and
        quantities: a metric may have come to mean another."""
        if not path.exists():
            return None
        found = read_repetition(path)
        return found if found.made_of == made_of and found.metrics.keys() == self.metrics.keys() else None

    def _summary(self, name: str, parts: Sequence[Measured]) -> MetricResult:
        info = self.metrics[name].info
        values = [part.value for part in parts]
        interval = t_interval(values)
        is_minimum = name == "fd" and self.protocol.aggregate == "minimum" and len(values) > 1
        return MetricResult(
            name=self._name(name),
            title=title_of(info, self.protocol.network(info.view))
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
        """The name under which a metric's value is recorded."""
        info = self.metrics[metric].info
        return name_of(info, self.protocol.network(info.view))

    def validate(self, sampler: Sampler, samples: int) -> dict[str, float]:
        """Measure FD quickly on the first samples: for progress, never for a table."""
        if "fd" not in self.metrics:
            return {}
        # Fewer images than features would be refused: nobody takes this number for a result.
        fewer = replace(self.protocol, samples=min(samples, self.protocol.samples), smoke=True)
        fd = {"fd": self.metrics["fd"]}
        found = measure(sampler, self.prepared, fewer, fd, self.references, 0, SilentProgress())
        return {"fd": found["fd"].value, "fd_samples": fewer.samples}
