"""Measure the seconds and memory to read EDM's ImageNet-64 network from a checkpoint into a denoiser.

    python benchmarks/conversion.py [--folder FOLDER]

Writes random weights of the full size (295.9 million parameters, 1.2 GB) in the form of DMD2's checkpoints
to a temporary file in FOLDER, and reads it in a fresh process, whose peak memory is what reading costs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import torch

from bench.models.weights.checkpoints import load_edm_denoiser
from bench.models.weights.convert import official_shapes
from bench.models.weights.edm_unet import IMAGENET64


def peak_gib() -> float:
    """Return the peak resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def write(path: Path) -> None:
    """Write random weights under the official names."""
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(shape, generator=generator) for name, shape in official_shapes(IMAGENET64).items()}
    for name, tensor in state.items():
        if name.endswith("resample_filter"):
            tensor.fill_(0.25)
    torch.save(state, path)


def read(path: Path) -> None:
    """Read the weights and print the time and memory that it took."""
    before, begun = peak_gib(), time.perf_counter()
    denoiser = load_edm_denoiser(path).denoiser
    seconds, peak = time.perf_counter() - begun, peak_gib()
    parameters = sum(parameter.numel() for parameter in denoiser.parameters())
    print(f"{parameters / 1e6:.1f} million parameters, {path.stat().st_size / 2**30:.2f} GiB file")
    print(f"{seconds:.1f} s, peak {peak:.2f} GiB ({before:.2f} GiB before reading)")


def main() -> None:
    """Write and read in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the temporary file goes; default: the system's")
    options = parser.parse_args()
    processes = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "pytorch_model.bin"
        for step in (write, read):
            process = processes.Process(target=step, args=(path,))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{step.__name__} failed")


if __name__ == "__main__":
    main()
