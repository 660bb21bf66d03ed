"""`python docs/methods/curves.py` draws the curves of a good run of each method from the committed logs.

A page of this folder names its methods in its line "Methods: ...". For the first of them with a committed log, the
best run on the task that is nearest to the front of `TASKS` is drawn to curves/PAGE.png, and the end of the page
shows it. Pages whose methods have no log are named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from bench.report.progress import read_progress
from bench.runs.record import Record
from bench.runs.records import load_records

HERE = Path(__file__).parent
RECORDS = HERE.parents[1] / "results" / "records"
TASKS = ("fashion", "scenes", "digits")
"""Tasks in the order of preference."""
METHODS = re.compile(r"^Methods: (?P<names>.+)$", re.MULTILINE)
SHOWN = "\n## The curves of a good run\n"
"""The heading of the section that this script writes, at the end of a page."""
MOST_COLUMNS = 3
WINDOW = 15
"""Lines of the log whose median a curve shows; the lines themselves are drawn faintly behind it."""

LOSS, REAL = "loss/", "real/"
SEVERAL = {
    "gradient norms": "gradient/",
    "gradients in the image": "image_gradient/",
    "mean logits": "logits/",
}
"""Panels with one curve for each key that begins so."""
STATISTICS = tuple(
    f"{whose}{of}_{what}" for of in ("pixel", "latent") for what in ("mean", "std") for whose in ("", REAL)
)


class Run(NamedTuple):
    """A recorded run with its training log, and its Frechet distance."""

    record: Record
    log: Path
    distance: float

    @property
    def caption(self) -> str:
        """Say which run it is, and what its students are worth."""
        record = self.record
        recipe = "its recipe" if not record.method.passed else f"its recipe with {_settings(record.method.passed)}"
        return (
            f"`{record.method.name}` on `{record.task}`, training seed {record.train_seed}, {recipe}: "
            f"FD {self.distance:.2f} at the end"
        )


def _settings(passed: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}={value}`" for key, value in sorted(passed.items()))


def methods_of(page: str) -> list[str]:
    """Return the methods that a page names, in its order; none if it is not a method's page."""
    found = METHODS.search(page)
    return re.findall(r"`([^`]+)`", found["names"]) if found else []


def good_run(names: Sequence[str], records: Iterable[Record]) -> Run | None:
    """Return the best run with a log, of the first method that has one, on the preferred task."""
    runs = []
    for record in records:
        log = RECORDS / record.task / f"{record.run_id}.jsonl"
        distance = next((one.value for one in record.metrics if one.name == "fd"), None)
        known = record.method.name in names and record.task in TASKS
        if record.kind == "method" and record.status == "ok" and distance is not None and known and log.exists():
            runs.append(Run(record, log, distance))
    if not runs:
        return None
    return min(
        runs, key=lambda run: (names.index(run.record.method.name), TASKS.index(run.record.task), run.distance)
    )


def draw(log: Path, out: Path) -> None:
    """Draw small multiples of a training log: each loss, gradient norms, FD and statistics of the images."""
    lines = read_progress(log)
    keys = sorted({key for line in lines for key in line})
    panels: list[tuple[str, list[str]]] = [("FD", ["fd"])] if "fd" in keys else []
    panels += [(key, [key]) for key in keys if key.startswith(LOSS)]
    panels += [(title, [key for key in keys if key.startswith(start)]) for title, start in SEVERAL.items()]
    panels += [("statistics of generated images", [key for key in STATISTICS if key in keys])]
    panels = [(title, own) for title, own in panels if own]
    columns = min(MOST_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).flat
    for axes, (title, own) in zip(grid, panels, strict=False):
        _panel(axes, title, own, lines)
    for axes in list(figure.axes)[len(panels) :]:
        axes.remove()
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, dpi=100)
    with Image.open(out) as image:
        image.convert("RGB").quantize(64).save(out, optimize=True)


def _panel(axes: Axes, title: str, keys: Sequence[str], lines: Sequence[Mapping[str, float]]) -> None:
    """Draw the curves of some keys in one panel; norms and FD on a logarithmic scale."""
    for key in keys:
        points = [(line["iteration"], line[key]) for line in lines if line.get(key) is not None]
        at, values = zip(*points, strict=True)
        style: dict[str, Any] = {"linestyle": "--" if key.startswith(REAL) else "-", "linewidth": 1.2}
        style["label"] = key if title.startswith("statistics") else key.rpartition("/")[2]
        if len(values) > 2 * WINDOW:
            (behind,) = axes.plot(at, values, linewidth=0.5, alpha=0.3)
            style["color"] = behind.get_color()
            half = WINDOW // 2
            values = tuple(median(values[max(0, i - half) : i + half + 1]) for i in range(len(values)))
        axes.plot(at, values, **style)
    if title == "FD" or "gradient" in title:
        axes.set_yscale("log")
    axes.set_title(title, fontsize="small")
    axes.tick_params(labelsize="x-small", which="both")
    axes.set_xlabel("iteration", fontsize="x-small")
    if len(keys) > 1:
        axes.legend(fontsize="x-small")


def with_curves(page: str, name: str, run: Run) -> str:
    """Return a page whose last section shows the curves of a run."""
    text = page.partition(SHOWN)[0].rstrip("\n")
    return f"{text}\n{SHOWN}\n{run.caption}.\n\n![Training curves of {name}](curves/{name}.png)\n"


def main() -> None:
    """Draw all curves, and write them into the pages."""
    records = load_records([RECORDS]).records
    for path in sorted(HERE.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        names = methods_of(page)
        if not names:
            continue
        run = good_run(names, records)
        if run is None:
            print(f"{path.stem}: no committed log of {', '.join(names)}")
            continue
        draw(run.log, HERE / "curves" / f"{path.stem}.png")
        path.write_text(with_curves(page, path.stem, run), encoding="utf-8")
        print(f"{path.stem}: {run.record.run_id} on {run.record.task}")


if __name__ == "__main__":
    main()
