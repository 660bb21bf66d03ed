"""The sample grid of a run: the student above, the teacher below, from the same noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from bench.evaluation import Generator, generate
from tasks.files import whole_file
from tasks.prepared import Prepared

COLUMNS = 10
ROWS = 5


def sample_grid(generators: dict[str, Generator], prepared: Prepared, path: Path) -> None:
    """Draw each generator's images of the protocol's first 50 samples, or all, one panel each; a PNG file."""
    from matplotlib import pyplot as plt

    columns = min(COLUMNS, prepared.task.protocol.samples)
    rows = min(ROWS, prepared.task.protocol.samples // columns)
    first = replace(prepared.task.protocol, samples=columns * rows)
    figure, axes = plt.subplots(
        len(generators), 1, figsize=(COLUMNS * 0.6, len(generators) * (ROWS * 0.6 + 0.3)), squeeze=False
    )
    for axis, (title, generator) in zip(axes[:, 0], generators.items(), strict=True):
        images = generate(generator, prepared, first, 0, 0, first.samples).images
        axis.imshow(_tile(images, rows), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    figure.tight_layout()
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)


def _tile(images: torch.Tensor, rows: int) -> torch.Tensor:
    """[rows * columns, C, H, W] -> one image [rows * H, columns * W] or [..., C]."""
    images = torch.nn.functional.pad(images, (1, 1, 1, 1), value=128)  # a line between images
    count, channels, height, width = images.shape
    grid = images.reshape(rows, count // rows, channels, height, width).permute(0, 3, 1, 4, 2)
    return grid.reshape(rows * height, count // rows * width, channels).squeeze(-1)
