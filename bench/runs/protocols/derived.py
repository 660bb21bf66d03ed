"""Protocols that are made from a task's own, with another name and digest. Imports no torch.

Their names say how they are made, so that every command that takes the name of a protocol can make them again:
`fashion.fd+recall` measures two metrics alone, `fashion.bf16` samples in bf16, and `fashion.sweep-1000` has 1,000
images on a sweep's own seeds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from bench.core.errors import UserError
from bench.runs.protocols.networks import with_metrics
from bench.task.base import Task
from bench.task.pinned import PinnedTask
from bench.task.protocol import Protocol

if TYPE_CHECKING:
    from bench.metrics.info import MetricInfo
    from bench.runs.registry import Catalogue

T = TypeVar("T", bound=Task)
BF16: Final = "bf16"
"""The end of the names of protocols that sample in bf16."""
MADE: Final = (
    f"each NAME is there also as NAME.{BF16} (networks in bf16), NAME.METRIC+METRIC (these alone) and "
    "NAME.sweep-IMAGES (seeds of a sweep)"
)
"""What can be made of each protocol of a task, for people."""
_SWEEP = re.compile(r"sweep-([1-9]\d*)(?:x([1-9]\d*))?")


def is_of_sweep(protocol: str) -> bool:
    """Whether a protocol of this name has the seeds of a sweep, which no reported number uses."""
    return any(_SWEEP.fullmatch(part) for part in protocol.split(".")[1:])


def under_protocol(task: Task, protocol: str, catalogue: Catalogue) -> Task:
    """Return the task under one of its protocols or one made from them. Raises UserError if there is none."""
    try:
        return task.under(protocol)
    except UserError as error:
        base, _, made = protocol.rpartition(".")
        if made == BF16 and base:
            return sampled_in_bf16(task.under(base))
        sweep = _SWEEP.fullmatch(made)
        metrics = made.split("+")
        if not base or not (sweep or all(name in catalogue.metrics.entries for name in metrics)):
            raise UserError(f"{error}; {MADE}") from None
    task = under_protocol(task, base, catalogue)
    if sweep is None:
        return with_metrics(task, metrics, catalogue)
    return with_selection_seeds(task, int(sweep[1]), int(sweep[2] or 1))


def sampled_in_bf16(task: T) -> T:
    """Return the task under a protocol of its own name and digest, whose networks make the images in bf16."""
    protocol = task.protocol
    return replace(task, protocol=replace(protocol, name=f"{protocol.name}.{BF16}", sampling_precision=BF16))


def without_metrics(task: T, samples: int) -> T:
    """Return the task under a protocol of so many images that measures nothing, and requires what makes them."""
    protocol = task.protocol
    bare = replace(protocol, samples=samples, metrics=(), extractors={}, teacher_reference=None)
    return replace(task, protocol=bare)


def seeds_of(protocol: Protocol) -> tuple[int, int]:
    """Return the first and the last seed of a protocol's images."""
    return protocol.first_seed, protocol.first_seed + protocol.samples * protocol.repetitions - 1


def with_selection_seeds(task: T, samples: int | None = None, repetitions: int = 1) -> T:
    """Return the task under a protocol of its own name and digest, whose seeds no reported number uses.

    They follow the last seed of all the task's protocols. `samples` are the images of a repetition, by default as
    many as the protocol's. Raises UserError for more than those, and for a number that splits a prompt's images.
    """
    protocol = task.protocol
    count = protocol.samples if samples is None else samples
    if count > protocol.samples:
        raise UserError(
            f"--samples {count} is more than the {protocol.samples} of protocol {protocol.name!r}; "
            f"fix: --samples {protocol.samples}, and --repetitions 2 for more images"
        )
    if count % protocol.images_per_prompt:
        each = protocol.images_per_prompt
        raise UserError(
            f"--samples {count} is no multiple of the {each} images of a prompt; "
            f"fix: --samples {max(each, count // each * each)}"
        )
    known = (protocol, *(task.protocols.values() if isinstance(task, PinnedTask) else ()))
    last = max(seeds_of(one)[1] for one in known)
    size = f"{count}x{repetitions}" if repetitions > 1 else str(count)
    name = f"{protocol.name}.sweep-{size}"
    selecting = replace(protocol, name=name, samples=count, repetitions=repetitions, first_seed=last + 1)
    return replace(task, protocol=selecting)


def require_samples(protocol: Protocol, metrics: Sequence[MetricInfo]) -> None:
    """Raise UserError if a protocol has fewer images than one of its metrics requires; smoke protocols may."""
    for info in metrics:
        if protocol.samples < info.min_samples and not protocol.smoke:
            raise UserError(
                f"metric {info.name!r} requires at least {info.min_samples} images, not {protocol.samples}; "
                f"fix: --samples {info.min_samples}, or other metrics with --metric"
            )
