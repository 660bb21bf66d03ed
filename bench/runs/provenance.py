"""The time, the machine and the software that made a number."""

from __future__ import annotations

import datetime
import platform
import resource
import sys
from pathlib import Path

import torch

from bench.core.commit import commit
from bench.core.imports import installed_version
from bench.core.numerics import tf32_allowed
from bench.runs.argv import published_argv, user_argv
from bench.runs.record import Provenance

PACKAGES = (
    "distillation-bench",
    "torch",
    "diffusers",
    "accelerate",
    "numpy",
    "scipy",
    "scikit-learn",
    "safetensors",
)


def provenance(precision: str) -> Provenance:
    """Collect versions, hardware, and the commit of this package's own source (not of the working folder)."""
    return Provenance(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **commit(),
        packages={name: found for name in PACKAGES if (found := installed_version(name))},
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=_cpu_model(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        threads=torch.get_num_threads(),
        argv=published_argv(user_argv()),
        precision=precision,
        tf32=tf32_allowed(),
    )


def peak_memory() -> int:
    """Return the peak memory of this process in bytes: of its GPU if there is one, else resident memory."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
