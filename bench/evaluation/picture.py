"""The sample grid of a run: the student above and the teacher below, from the same noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from bench.core.escape import printable
from bench.core.files import whole_file
from bench.evaluation.evaluator import generate
from bench.task.base import Sampled

COLUMNS = 10
ROWS = 5


def sample_grid(panels: dict[str, Sampled], path: Path) -> None:
    """Write a PNG file with one panel of each sampler's images, of at most the protocol's first 50 samples."""
    from matplotlib import pyplot as plt

    protocol = next(iter(panels.values())).prepared.task.protocol
    columns = min(COLUMNS, protocol.samples)
    rows = min(ROWS, protocol.samples // columns)
    first = replace(protocol, samples=columns * rows)
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(COLUMNS * 0.6, len(panels) * (ROWS * 0.6 + 0.3)), squeeze=False
    )
    for axis, (title, sampled) in zip(axes[:, 0], panels.items(), strict=True):
        starts = range(0, first.samples, sampled.prepared.evaluation_batch)
        stops = [min(start + sampled.prepared.evaluation_batch, first.samples) for start in starts]
        parts = [
            generate(sampled.sampler, sampled.prepared, first, 0, *ends).images
            for ends in zip(starts, stops, strict=True)
        ]
        axis.imshow(_tile(torch.cat(parts), rows), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(printable(title), fontsize=9, parse_math=False)
        axis.axis("off")
    figure.tight_layout()
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)


def _tile(images: torch.Tensor, rows: int) -> torch.Tensor:
    """Tile [rows * columns, C, H, W] into one image [rows * H, columns * W] or [..., C]."""
    images = torch.nn.functional.pad(images, (1, 1, 1, 1), value=128)  # a line between images
    count, channels, height, width = images.shape
    grid = images.reshape(rows, count // rows, channels, height, width).permute(0, 3, 1, 4, 2)
    return grid.reshape(rows * height, count // rows * width, channels).squeeze(-1)
