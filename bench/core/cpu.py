"""How a process computes on a CPU: with how many threads, and in which memory."""

from __future__ import annotations

import ctypes
import os
import platform

import torch

# Of glibc's <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
LARGEST_INT = 2**31 - 1


def compute_on_cpu(threads: int) -> None:
    """Let torch use this many threads of a CPU, and keep the memory of freed tensors for the next ones."""
    torch.set_num_threads(threads)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc keep up to 2 GiB that is free, where it gives each large block back to the system.

    The system clears the pages of a block whenever it hands one out, which takes as long as a layer of a large
    network. A user's own settings, MALLOC_... or GLIBC_TUNABLES, and other C libraries are left alone.
    """
    of_user = any(name.startswith("MALLOC_") for name in os.environ)
    if of_user or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)  # no block has a mapping of its own
    libc.mallopt(M_TRIM_THRESHOLD, LARGEST_INT)
