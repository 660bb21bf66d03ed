"""Import what the parts of `gpu.py` import, use the GPU once, and print what the machine is.

The first import reads gigabytes from the disk, and the first use of a GPU loads its libraries. So no other part
has to wait for that within its limit. The speed of one matrix product shows what the card does, and whether
something else is running on it.
"""

from __future__ import annotations

import importlib
import os
import time

from rows import show

SIDE, PRODUCTS = 8192, 50
LIBRARIES = ("torch", "diffusers", "transformers", "peft")
OURS = ("torch._dynamo", "bench.runs.runner", "methods.dmd", "tasks.coco")


def main() -> None:
    """Print the machine and its versions."""
    begun = time.perf_counter()
    versions = {name: str(importlib.import_module(name).__version__) for name in LIBRARIES}
    for name in OURS:
        importlib.import_module(name)
    seconds = time.perf_counter() - begun
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    show(f"{named}; imported in {seconds:.1f} s, {os.cpu_count()} cores", **versions, import_seconds=seconds)

    import torch

    if not torch.cuda.is_available():
        show("no GPU")
        return
    card = torch.cuda.get_device_properties(0)
    matrix = torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16)
    for _ in range(5):
        matrix @ matrix
    torch.cuda.synchronize()
    before = time.perf_counter()
    for _ in range(PRODUCTS):
        matrix @ matrix
    torch.cuda.synchronize()
    rate = PRODUCTS * 2 * SIDE**3 / (time.perf_counter() - before) / 1e12
    libraries = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    size = card.total_memory / 2**30
    show(f"{card.name}, {size:.0f} GiB, {libraries}, {rate:.0f} TFLOP/s in bf16", gib=size, tflops=rate)


if __name__ == "__main__":
    main()
