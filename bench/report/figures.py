"""Figures of a run's progress, after the paper's Figures 8 and 9."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.training_log import read_lines
from tasks.errors import UserError
from tasks.files import whole_file


def progress_figure(paths: Mapping[str, Path], out: Path) -> None:
    """Draw brightness (Fig. 8) and FD (Fig. 9, logarithmic) over iterations, one line per label.

    `paths` are the runs' metrics.jsonl; the suffix of `out` sets the format. Raise UserError for a broken
    file.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    brightness, distance = figure.subplots(1, 2)
    for label, path in paths.items():
        lines = read_progress(path)
        for axes, key in ((brightness, "pixel_mean"), (distance, "fd")):
            points = [(line["iteration"], line[key]) for line in lines if line.get(key) is not None]
            axes.plot(*zip(*points, strict=True) if points else ([], []), label=label, linewidth=1.2)
    brightness.set(title="Brightness", xlabel="iteration", ylabel="mean pixel of generated images")
    distance.set(title="Distance to real images", xlabel="iteration", ylabel="FD", yscale="log")
    distance.legend(fontsize="small")
    with whole_file(out) as temporary:
        figure.savefig(temporary, dpi=150)


def read_progress(path: Path) -> list[dict[str, Any]]:
    """Read a metrics.jsonl in order of iteration.

    A resumed run may log an iteration twice: the later values count. A last line cut short by a kill is
    left out; any other broken line raises UserError.
    """
    if not path.is_file():
        raise UserError(f"{path}: cannot be read: no such file")
    by_iteration: dict[int, dict[str, Any]] = {}
    for entry in read_lines(path):
        by_iteration[entry["iteration"]] = by_iteration.get(entry["iteration"], {}) | entry
    return [by_iteration[iteration] for iteration in sorted(by_iteration)]
