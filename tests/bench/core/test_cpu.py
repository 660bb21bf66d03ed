"""Memory of tensors that are freed is used again, where the system would have to clear its pages each time."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

TENSORS = """
import resource
import torch
from bench.core.cpu import compute_on_cpu

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

compute_on_cpu(1)
for number in range(40):
    if number == 30:  # by then free memory has a place for the next tensor
        before = faults()
    torch.ones(16, 1024, 1024)  # 64 MiB
print(torch.get_num_threads(), faults() - before)
"""
PAGES = 64 * 2**20 // os.sysconf("SC_PAGE_SIZE")


def faults(**environment: str) -> int:
    """Return the page faults of ten tensors, one after the other, in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", TENSORS],
        env={**inherited, "THP_MEM_ALLOC_ENABLE": "0", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    threads, found = map(int, done.stdout.split())
    assert threads == 1
    return found


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
@pytest.mark.parametrize(
    ("environment", "cleared"),
    [
        pytest.param({}, 0, id="freed memory is kept"),
        pytest.param({"MALLOC_MMAP_MAX_": "1000"}, 10, id="the user's own setting stays"),
        pytest.param({"GLIBC_TUNABLES": "glibc.malloc.mmap_max=1000"}, 10, id="as a tunable, too"),
    ],
)
def test_pages_of_freed_tensors_are_cleared(environment: dict[str, str], cleared: int) -> None:
    assert round(faults(**environment) / PAGES) == cleared
