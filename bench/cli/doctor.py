"""`bench doctor` checks the installation and shows the fix for everything that is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.options import CacheOption, PluginOption
from bench.cli.requirements import requirement_lines
from bench.cli.terminal import print
from bench.core.errors import UserError
from bench.core.imports import installed_version
from bench.runs.task_sources import pinned_task
from bench.task.declaration import default_cache

if TYPE_CHECKING:
    from bench.runs.registry import Catalogue

PACKAGES = ("torch", "diffusers", "accelerate", "numpy", "scipy", "scikit-learn", "pandas", "typer")
"""The packages that every run imports."""


def doctor(cache: CacheOption = None, plugin: PluginOption = []) -> None:
    """Check the installation: packages, devices, caches, and what is missing for which task."""
    from bench.runs.registry import load_catalogue

    catalogue = load_catalogue(plugin)
    healthy = _packages()
    _trackers()
    _devices(catalogue)
    _cache(cache or default_cache())
    healthy = _tasks(catalogue, cache) and healthy
    _weights(cache or default_cache())
    print("numbers\n  to test that they come out right: bench metrics check")
    print("everything is installed and prepared" if healthy else "something is missing; fix: the commands above")


def _packages() -> bool:
    """Show the versions of the packages; return whether all are installed."""
    versions = {package: installed_version(package) for package in PACKAGES}
    print("packages")
    for package, version in versions.items():
        print(f"  {package:<14}{version or f'MISSING; fix: pip install {package}'}")
    return None not in versions.values()


def _trackers() -> None:
    """Show which trackers `--track` can send logs to; no run requires one."""
    from bench.training.trackers import TRACKERS, is_installed

    print("trackers")
    for name in TRACKERS:
        fix = f'not installed; to use it: pip install "distillation-bench[{name}]"'
        print(f"  {name:<14}{'installed' if is_installed(name) else fix}")


LARGE = ("dmd2-4step", "coco10k")
"""The method and the task of the paper's largest training: each GPU is checked for whether it fits."""


def _devices(catalogue: Catalogue) -> None:
    """Show what computes here: cores, and what each GPU can do."""
    import torch

    from bench.core.files import human_size
    from bench.core.machine import cores

    print("devices")
    print(f"  cpu           {cores()} cores, torch uses {torch.get_num_threads()} threads")
    if not torch.cuda.is_available():
        print("  gpu           none that torch can use: micro tasks run on the CPU, paper scale needs a GPU")
        return
    least = _least_memory(catalogue)
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        ampere = properties.major >= 8
        kinds = "bf16 and TF32" if ampere else "neither bf16 nor TF32: leave precision=fp32"
        print(f"  cuda:{index}        {properties.name}, {human_size(properties.total_memory)}, {kinds}")
        print(f"                {' on '.join(LARGE)}: {_fit(least, properties.total_memory)}")
    print(f"  cuDNN         {torch.backends.cudnn.version() or 'not available'}")
    nccl = torch.distributed.is_available() and torch.distributed.is_nccl_available()
    version = ".".join(map(str, torch.cuda.nccl.version())) if nccl else "not available: one GPU a run"
    print(f"  NCCL          {version}")


def _least_memory(catalogue: Catalogue) -> int:
    """Return the bytes of weights, gradients and moments of the paper's largest training."""
    method, name = LARGE
    task = catalogue.tasks.get(name)
    recipe = catalogue.methods.get(method).recipe(task.recipes or task.name, task.scale, {})
    return recipe.least_memory(task.network_parameters or 0)


def _fit(least: int, memory: int) -> str:
    """Return whether a training fits into a GPU's memory, and what helps if it does not."""
    from bench.core.files import human_size

    takes = f"{human_size(least)} and activations"
    if least < memory:
        return f"{takes}, which leaves {human_size(memory - least)} for these"
    count = least // memory + 1
    return f"{takes}: too much for it; fix: --processes {count} --set sharding=fsdp2, or a LoRA (dmd2-4step-lora)"


def _cache(where: Path) -> None:
    from bench.core.files import folder_size, human_size

    size = human_size(folder_size(where)) if where.exists() else "empty"
    parent = next(folder for folder in [where, *where.parents] if folder.exists())
    print("cache")
    print(f"  {where}: {size}, {human_size(shutil.disk_usage(parent).free)} free on the disk")


def _weights(cache: Path) -> None:
    """Show how many weights of feature extractors are pinned; each task requires only its own."""
    from bench.features.pinned import read_pinned

    try:
        pinned = read_pinned(cache)
    except UserError as error:
        print(f"weights\n  BROKEN  {error}")
        return
    gone = [name for name, one in pinned.items() if not one.path.exists()]
    lost = f", {len(gone)} no longer there ({', '.join(gone)})" if gone else ""
    print(f"weights\n  {len(pinned)} pinned for every task{lost}; see bench weights list, and bench weights check")


def _tasks(catalogue: Catalogue, cache: Path | None) -> bool:
    """Show the requirements of each task; return whether all are present.

    A broken task is shown as such, and the other tasks are still checked.
    """
    complete = True
    print("tasks")
    for entry in catalogue.tasks:
        print(f"  {entry.name}")
        try:
            lines = requirement_lines(pinned_task(catalogue, entry.name, cache), catalogue, cache)
        except UserError as error:
            complete = False
            print(f"    BROKEN  {error}")
            continue
        for line in lines:
            complete = complete and line.is_here
            print(f"    {line.role:<15}  {line.text}")
    print("  of one task alone: bench describe TASK")
    print("  what a method takes there, memory too: bench describe METHOD --task TASK")
    return complete
