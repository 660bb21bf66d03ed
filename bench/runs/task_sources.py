"""The task of a command with its pinned assets, and the sources of its files. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import UserError
from bench.core.escape import shell_path
from bench.runs.argv import cache_option, plugin_options
from bench.runs.protocols.derived import under_protocol
from bench.runs.protocols.networks import with_metrics, with_registered_networks
from bench.task.base import Task
from bench.task.declaration import Sources, default_cache

if TYPE_CHECKING:
    from bench.runs.registry import Catalogue


def pinned_task(
    catalogue: Catalogue,
    name: str,
    cache: Path | None,
    protocol: str | None = None,
    metrics: Sequence[str] = (),
) -> Task:
    """Return the task of this name under a protocol, with its assets that are pinned in the cache.

    `metrics` replace those of the protocol. Raises UserError for an unknown name.
    """
    where = cache or default_cache()
    options = plugin_options(catalogue.plugins) + cache_option(where)
    task = replace(catalogue.tasks.get(name), options=options).located(where)
    if protocol:
        task = under_protocol(task, protocol, catalogue)
    if metrics:
        task = with_metrics(task, metrics, catalogue)
    return with_registered_networks(task, catalogue, where)


def sources_of(task: Task, cache: Path | None, data: Path | None = None, download: bool = False) -> Sources:
    """Return the sources of a task's files. Raises UserError if only `bench prepare` accepts these options.

    If everything that the task runs on is pinned, `download` lets baselines download their own weights.
    """
    found = Sources(cache or default_cache(), data, download)
    if task.pinned_by_prepare and (data is not None or (download and task.missing(found))):
        named = [] if data is None else [f"--data {shell_path(data)}"]
        raise UserError(
            f"task {task.name!r} runs on assets that are pinned before its runs are planned; "
            f"fix: bench prepare {task.called} {' '.join([*named, *['--download'] * download])}"
        )
    return found
