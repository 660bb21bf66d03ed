"""Pictures of a result: its sample sheet, and the grid of a run with the student above and the teacher below."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.core.escape import printable
from bench.core.files import digest, whole_file
from bench.evaluation.image_source import ImageSource
from bench.evaluation.sheet import COLUMNS, Sheet, sheet_size
from bench.task.base import PreparedTask

TITLE_WIDTH = 85
"""Characters of a title that fit over the columns of a sheet."""


def sample_sheet(source: ImageSource, prepared: PreparedTask, made_by: str = "") -> Sheet:
    """Return the first images of a source under the task's protocol, at most 50 and fewer if they are large.

    `made_by` is the `maker_digest` of what makes them, for a sheet that lies beside a record.
    """
    protocol = prepared.task.protocol
    _, height, width = prepared.task.image_shape
    count = sheet_size(protocol.samples, height, width)
    starts = range(0, count, prepared.evaluation_batch)
    stops = [min(start + prepared.evaluation_batch, count) for start in starts]
    parts = [source.batch(0, *ends) for ends in zip(starts, stops, strict=True)]
    images = torch.cat([part.images for part in parts]).permute(0, 2, 3, 1).numpy()
    conditions = torch.cat([part.conditions for part in parts if part.conditions is not None] or [torch.empty(0)])
    captions = tuple(prepared.condition_names(torch.arange(count), conditions))
    if source.protocol_noise:
        noise = noise_digest(prepared, captions, conditions)
    else:
        noise = digest({"images": "from outside", "conditions": list(captions) or conditions.tolist()})
    return Sheet(np.ascontiguousarray(images), captions, noise, made_by)


def noise_digest(prepared: PreparedTask, names: Sequence[str], conditions: torch.Tensor, **more: Any) -> str:
    """Return the digest of all that decides the noise and the conditions of samples.

    `names` are the conditions in words, if they have any; `more` is what else distinguishes the samples.
    """
    protocol = prepared.task.protocol
    return digest(
        {
            "first_seed": protocol.first_seed,
            "noise": [list(prepared.sample_shape), protocol.text.noise_batch if protocol.text else 0],
            "conditions": list(names) or conditions.tolist(),
            **more,
        }
    )


def draw_samples(panels: Mapping[str, Sheet], path: Path) -> None:
    """Write a PNG file with one panel for each sheet, under its title."""
    from matplotlib.figure import Figure

    rows = max(sheet.info.rows for sheet in panels.values())
    figure = Figure(figsize=(COLUMNS * 0.6, len(panels) * (rows * 0.6 + 0.3)), layout="tight")
    axes = figure.subplots(len(panels), 1, squeeze=False)
    for axis, (title, sheet) in zip(axes[:, 0], panels.items(), strict=True):
        axis.imshow(_tiled(sheet), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(textwrap.fill(printable(title), TITLE_WIDTH), fontsize=9, parse_math=False)
        axis.axis("off")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _tiled(sheet: Sheet) -> np.ndarray:
    """Tile a sheet's images [n, H, W, C] into one, [rows * H, columns * W, C], with a grey line around each."""
    info = sheet.info
    images = np.pad(sheet.images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=128)
    missing = info.rows * info.columns - info.count
    images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)), constant_values=255)
    _, height, width, channels = images.shape
    grid = images.reshape(info.rows, info.columns, height, width, channels).swapaxes(1, 2)
    return grid.reshape(info.rows * height, info.columns * width, channels).squeeze()
