"""What the images of a protocol's samples are of, in words: their prompts or classes, categories and seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.task.base import PreparedTask

AT_ONCE = 1000
"""Images whose conditions are drawn together."""


@dataclass(frozen=True)
class ImageLabels:
    """What the images of one repetition are of, in the order of their indices."""

    prompts: Sequence[str] = ()
    """The prompt or the class of each image; empty where conditions have no words."""
    categories: Sequence[str] = ()
    """The category of each image's prompt, an empty text for none; empty where the task gives none."""
    first_seed: int | None = None
    """The seed of the first image's noise; those that follow have the next ones. None: images were given."""


def image_labels(prepared: PreparedTask, repetition: int, seeded: bool) -> ImageLabels:
    """Return what the images of a repetition are of. `seeded` says whether they were made from seeds here."""
    import torch

    protocol = prepared.task.protocol
    every = torch.arange(protocol.samples)
    prompts = list(prepared.prompts_of(every)) or list(_classes(prepared, repetition))
    first = protocol.first_seed + repetition * protocol.samples if seeded else None
    return ImageLabels(prompts, list(prepared.categories_of(every)), first)


def _classes(prepared: PreparedTask, repetition: int) -> Iterator[str]:
    """Yield the class of each image by its name, or as `class 7`; nothing if conditions are no classes."""
    import torch

    from bench.evaluation.image_source import classes_of

    samples = prepared.task.protocol.samples
    for start in range(0, samples, AT_ONCE):
        indices = torch.arange(start, min(start + AT_ONCE, samples))
        conditions = classes_of(prepared, repetition, indices)
        names = prepared.condition_names(indices, conditions)
        if not names and conditions.ndim == 1 and not conditions.is_floating_point():
            names = [f"class {number}" for number in conditions.tolist()]
        yield from names
