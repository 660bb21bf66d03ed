"""The stream of an evaluation: every image is made or read once and passes through all extractors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from accelerate import PartialState
from accelerate.utils import gather_object

from bench.core.distributed import from_main
from bench.core.stopping import DivergedError
from bench.evaluation.image_source import ImageSource
from bench.evaluation.kept import KeptRepetition
from bench.evaluation.png import as_png
from bench.features.batch import Extract, ImageBatch, features_by
from bench.features.views import Features
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
