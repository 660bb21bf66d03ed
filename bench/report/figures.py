"""Figures of a run's progress over training, after the paper's Figures 8 and 9."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from bench.core.errors import UserError
from bench.core.escape import printable
from bench.core.files import whole_file
from bench.report.lines import owners, suite_lines
from bench.report.progress import read_progress
from bench.report.sides import Found
from bench.runs.evidence.files import evidence_of
from bench.runs.suites.suite import Curve, SuiteScale

PANELS: Mapping[Curve, tuple[str, Mapping[str, str]]] = {
    "brightness": ("pixel_mean", {"title": "Brightness", "ylabel": "mean pixel of generated images, 0 to 1"}),
    "fd": ("fd", {"title": "Distance to real images", "ylabel": "FD", "yscale": "log"}),
}
"""For each curve, the key in a run's log and the labels of its panel."""


def progress_figure(
    paths: Mapping[str, Path], out: Path, curves: Sequence[Curve] = ("brightness", "fd")
) -> list[str]:
    """Draw brightness (Fig. 8) and FD (Fig. 9, logarithmic) over iterations, one line per label.

    `paths` are the runs' metrics.jsonl; the suffix of `out` sets the format. Return one line for each log that
    cannot be read and is left out. Raises UserError if no log can be read.
    """
    logs, problems = {}, []
    for label, path in paths.items():
        try:
            logs[label] = read_progress(path)
        except UserError as error:
            problems.append(f"{error}; left out of the figure")
    if not logs:
        raise UserError("; ".join(problems) or "there are no training logs to draw")
    figure = Figure(figsize=(5.5 * len(curves), 4), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for label, lines in logs.items():
        for axes, curve in zip(panels, curves, strict=True):
            key = PANELS[curve][0]
            points = [(line["iteration"], line[key]) for line in lines if line.get(key) is not None]
            axes.plot(*zip(*points, strict=True) if points else ([], []), label=_legend(label), linewidth=1.2)
    for axes, curve in zip(panels, curves, strict=True):
        axes.set(xlabel="iteration", **PANELS[curve][1])
    for text in panels[-1].legend(fontsize="small").get_texts():
        text.set_parse_math(False)  # a dollar sign in a run's name is no mathematics
    with whole_file(out) as temporary:
        figure.savefig(temporary, dpi=150)
    return problems


def _legend(label: str) -> str:
    """Return a label as one line; a space goes before an underscore, since a legend hides such labels."""
    shown = printable(label)
    return f" {shown}" if shown.startswith("_") else shown


def suite_logs(scale: SuiteScale, recorded: Iterable[Found]) -> dict[str, Path]:
    """Return the training logs beside the records of a suite's runs, by the label of their line and the seed."""
    every = list(recorded)
    lines = suite_lines(scale, None, [one.record for one in every])
    students = [one for one in every if one.record.task == scale.task and one.record.kind == "method"]
    found: dict[str, Path] = {}
    for one, number in zip(students, owners(lines, [one.record for one in students]), strict=True):
        record, log = one.record, evidence_of(one.path).curves
        if number is not None and log is not None and log not in found.values():
            label = f"{lines[number].label}, seed {record.train_seed}"
            found[label if label not in found else f"{label}: {record.run_id}"] = log
    return found


def task_logs(tasks: Collection[str], recorded: Iterable[Found]) -> dict[str, Path]:
    """Return the training logs beside the records of all runs on these tasks, by task and run."""
    logs = (
        (f"{one.record.task}: {one.record.run_id}", evidence_of(one.path).curves)
        for one in recorded
        if one.record.kind == "method" and one.record.task in tasks
    )
    return {label: log for label, log in logs if log is not None}
