"""Measure random access to packed ImageNet-64 in images per second: `gather` against stacking single images.

    python benchmarks/imagenet_reading.py [--images 100000] [--folder FOLDER]

Writes random images (12 KiB each) into a memory-mapped file, reads it once so that it lies in the page cache,
and reads random batches of 40, in one process on one thread; the two take turns, the best round of each counts.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.core.files import human_size
from bench.data.imagenet.packed import IMAGE_SHAPE, Manifest, PackedImages

BATCH, ROUNDS, SECONDS, CHUNK, SEED = 40, 5, 1.0, 1000, 0
GPU_RATE = 2000
"""Images per second that one GPU trains on, a high estimate."""


def write_random(folder: Path, count: int) -> PackedImages:
    """Write `count` random images and open them as packed images without a manifest."""
    rng = np.random.default_rng(SEED)
    path = folder / "images.npy"
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, *IMAGE_SHAPE))
    for start in range(0, count, CHUNK):
        part = images[start : start + CHUNK]
        part[:] = rng.integers(0, 256, part.shape, dtype=np.uint8)
    images.flush()
    labels = np.zeros(count, np.int64)
    return PackedImages(folder, np.load(path, mmap_mode="r"), labels, Manifest.model_construct(count=count))


def rate(read: Callable[[np.ndarray], Tensor], count: int) -> float:
    """Read random batches for SECONDS; return images per second."""
    rng = np.random.default_rng(SEED)
    begun, images = time.perf_counter(), 0
    while time.perf_counter() - begun < SECONDS:
        images += len(read(rng.integers(0, count, BATCH)))
    return images / (time.perf_counter() - begun)


def main() -> None:
    """Print the rate of each way to read, and how many GPUs `gather` feeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the file is written and removed; default: temporary")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        packed = write_random(Path(folder), options.images)
        packed.images.max()  # reads every page once
        ways: dict[str, Callable[[np.ndarray], Tensor]] = {
            "gather": packed.gather,
            "one by one": lambda batch: torch.from_numpy(np.stack([packed.images[i] for i in batch])),
        }
        first = np.arange(BATCH) * (options.images // BATCH)
        assert torch.equal(*(read(first) for read in ways.values()))
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, read in ways.items():
                rates[name].append(rate(read, options.images))
        size = human_size(packed.images.nbytes)
    print(f"{options.images:,} images, {size}; batches of {BATCH}; best of {ROUNDS} rounds of {SECONDS:g} s")
    for name, values in rates.items():
        print(f"{name:<12}{max(values):>10,.0f} images/s   (rounds: {', '.join(f'{v:,.0f}' for v in values)})")
    fast, slow = (max(values) for values in rates.values())
    print(f"{fast / slow:.1f}x; one process feeds {fast / GPU_RATE:,.0f} GPUs at {GPU_RATE:,} images/s each")
    machine = platform.processor() or platform.machine()
    print(f"{machine}, 1 thread, numpy {np.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
