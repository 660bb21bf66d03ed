"""The protocol on which something is chosen: a task's own, with seeds that none of its protocols reports with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from bench.core.errors import UserError
from bench.task.base import Task
from bench.task.pinned import PinnedTask
from bench.task.protocol import Protocol

if TYPE_CHECKING:
    from bench.metrics.info import MetricInfo

T = TypeVar("T", bound=Task)


def seeds_of(protocol: Protocol) -> tuple[int, int]:
    """Return the first and the last seed of a protocol's images."""
    return protocol.first_seed, protocol.first_seed + protocol.samples * protocol.repetitions - 1


def with_selection_seeds(task: T, samples: int | None, repetitions: int, metrics: Sequence[MetricInfo]) -> T:
    """Return the task under a protocol of its own name and digest, whose seeds no reported number uses.

    They follow the last seed of all the task's protocols. `samples` are the images of a repetition, by default as
    many as the protocol's. Raises UserError for more than those, for fewer than a metric requires, and for a
    number that splits the images of a prompt.
    """
    protocol = task.protocol
    count = protocol.samples if samples is None else samples
    if count > protocol.samples:
        raise UserError(
            f"--samples {count} is more than the {protocol.samples} of protocol {protocol.name!r}, whose prompts "
            f"or classes are as many; fix: --samples {protocol.samples}, and --repetitions 2 for more images"
        )
    if count % protocol.images_per_prompt:
        each = protocol.images_per_prompt
        raise UserError(
            f"--samples {count} is no multiple of the {each} images of a prompt; "
            f"fix: --samples {max(each, count // each * each)}"
        )
    for info in metrics:
        if count < info.min_samples and not protocol.smoke:
            raise UserError(
                f"metric {info.name!r} requires at least {info.min_samples} images, not {count}; "
                f"fix: --samples {info.min_samples}, or other metrics with --metric"
            )
    last = max(seeds_of(one)[1] for one in _every_protocol(task))
    size = f"{count}x{repetitions}" if repetitions > 1 else str(count)
    name = f"{protocol.name}.sweep-{size}"
    selecting = replace(protocol, name=name, samples=count, repetitions=repetitions, first_seed=last + 1)
    return replace(task, protocol=selecting)


def _every_protocol(task: Task) -> Iterable[Protocol]:
    return (task.protocol, *(task.protocols.values() if isinstance(task, PinnedTask) else ()))
