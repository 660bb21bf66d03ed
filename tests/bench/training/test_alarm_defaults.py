"""The default thresholds against the committed runs: they tell the collapsed from the healthy ones.

Most runs were made before there were alarms. Their logs have brightness, contrast and the critic's loss of some
iterations, and their sample sheets the images at the end; the teacher's sheet stands for the real images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from example_records import COMMITTED
from torch import Tensor

from bench.evaluation.sheet import read_sheet
from bench.training.alarms import REAL, Monitor, alarm_notes
from bench.training.figures import diversity
from bench.training.log import read_lines
from bench.training.recipe import Recipe

COLLAPSED = {
    ("digits", "dmd-no-regression"): {"brightness", "collapse", "critic"},
    ("digits", "gan"): {"collapse"},
    ("fashion", "dmd-no-regression"): {"brightness", "saturation", "collapse", "critic"},
}
"""The older runs that collapsed, and the alarms of each."""
RECORDS = sorted((*(COMMITTED / "digits").glob("*.json"), *(COMMITTED / "fashion").glob("*.json")))
WATCHED = [path for path in RECORDS if "alarms" in json.loads(path.read_text())]
"""Records of trainings that had alarms; the others are older."""
LOGS = [path.with_suffix(".jsonl") for path in RECORDS if path.with_suffix(".jsonl").exists()]
OLDER_LOGS = [log for log in LOGS if log.with_suffix(".json") not in WATCHED]


def images(path: Path) -> Tensor:
    """Return the images of a sample sheet with levels from 0 to 1."""
    return torch.from_numpy(read_sheet(path).images.copy()).float() / 255


def typical_diversity(path: Path) -> float:
    """Return the diversity of batches of 32 images of a sample sheet, averaged over 20 batches."""
    sheet, random = images(path), torch.Generator().manual_seed(0)
    batches = [torch.randperm(len(sheet), generator=random)[:32] for _ in range(20)]
    return sum(diversity(sheet[batch]).item() for batch in batches) / len(batches)


def logged_alarms(log: Path, recipe: Recipe) -> Iterator[dict[str, float]]:
    """Yield the windows of a training from the iterations that were logged."""
    (teacher,) = log.parent.glob("teacher-ode-*.png")
    real = {"pixel_mean": images(teacher).mean().item(), "pixel_std": images(teacher).std().item()}
    figures = {REAL + name: value for name, value in real.items()}
    figures[REAL + "pixel_diversity"] = typical_diversity(teacher)
    lines = {line["iteration"]: line for line in read_lines(log) if "pixel_mean" in line}
    monitor = Monitor(recipe)
    for done in range(1, recipe.iterations + 1):
        found = figures | lines.get(done, {})
        if done == recipe.iterations:  # a sheet shows the end alone
            found["pixel_diversity"] = typical_diversity(log.with_suffix(".png"))
        if window := monitor.add(done, found):
            yield {"iteration": done, **window.means}


@pytest.mark.parametrize("path", WATCHED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_run_that_collapsed_says_so_and_no_other(path: Path) -> None:
    record = json.loads(path.read_text())
    collapsed = next(one["value"] for one in record["metrics"] if one["name"] == "recall") < 0.05
    assert ("collapse" in [alarm["name"] for alarm in record["alarms"]]) is collapsed


@pytest.mark.parametrize("log", OLDER_LOGS, ids=lambda log: f"{log.parent.name}-{log.stem}")
def test_the_defaults_fire_on_every_collapsed_run_and_on_no_healthy_one(log: Path) -> None:
    method = json.loads(log.with_suffix(".json").read_text())["method"]
    recipe = Recipe(iterations=method["recipe"]["iterations"])
    found = {note.name for note in alarm_notes(logged_alarms(log, recipe), recipe)}
    assert found == COLLAPSED.get((log.parent.name, method["name"]), set())
