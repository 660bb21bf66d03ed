"""Shell completion of the names of methods, tasks, metrics and suites; imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from bench.core.errors import UserError


def method_names(incomplete: str) -> list[str]:
    """Complete the last of several methods that are separated by commas."""
    from bench.runs.registry import load_catalogue

    return _last_of_list(incomplete, load_catalogue().methods.entries)


def metric_names(incomplete: str) -> list[str]:
    """Complete the last of several metrics that are separated by commas."""
    from bench.runs.registry import load_catalogue

    return _last_of_list(incomplete, load_catalogue().metrics.entries)


def task_names(incomplete: str) -> list[str]:
    """Complete a task."""
    from bench.runs.registry import load_catalogue

    return _beginning(incomplete, load_catalogue().tasks.entries)


def suite_names(incomplete: str) -> list[str]:
    """Complete a suite."""
    from bench.runs.suites.reading import suite_names as every

    return _beginning(incomplete, every())


def described_names(incomplete: str) -> list[str]:
    """Complete any name that `bench describe` takes."""
    from bench.runs.registry import load_catalogue

    catalogue = load_catalogue()
    names = [name for registry in catalogue.registries.values() for name in registry.entries]
    return [*_beginning(incomplete, names), *suite_names(incomplete)]


def sampler_names(context: typer.Context, incomplete: str) -> list[str]:
    """Complete a sampler of the task that `--task` names; without a task there is nothing to complete."""
    from bench.runs.registry import load_catalogue

    try:
        return _beginning(incomplete, load_catalogue().tasks.get(context.params.get("task") or "").baselines)
    except UserError:  # an unknown or broken task: the command itself says so
        return []


def tracker_names(incomplete: str) -> list[str]:
    """Complete the last of several trackers that are separated by commas."""
    from bench.training.trackers import TRACKERS

    return _last_of_list(incomplete, TRACKERS)


def weights_names(incomplete: str) -> list[str]:
    """Complete the weights of a registered feature extractor."""
    from bench.runs.registry import load_catalogue

    extractors = load_catalogue().extractors.loaded().values()
    return _beginning(incomplete, {weights.name for one in extractors for weights in one.weights})


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))


def _last_of_list(incomplete: str, names: Iterable[str]) -> list[str]:
    """Complete the last name of a list with commas, without the names that the list already has."""
    before, comma, last = incomplete.rpartition(",")
    used = before.split(",")
    return [f"{before}{comma}{name}" for name in _beginning(last, names) if name not in used]
