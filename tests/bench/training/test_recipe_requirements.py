"""Requirements of recipes: shown in plans, and checked before a run starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import bare, bench

from bench.core.errors import UserError
from bench.runs.plan import Run
from bench.runs.planning import plan_run
from bench.runs.registry import load_catalogue
from bench.runs.states.dry_run import recipe_requirements, require_for_recipes
from bench.task.pinned import PinnedAsset
from tasks.imagenet.task import PinnedImageNet
from tasks.imagenet64 import TASK

CATALOGUE = load_catalogue()


def planned(method: str, root: Path, **overrides: object) -> Run:
    return plan_run(CATALOGUE, method, TASK.located(root), overrides, 0, root / "runs")


def test_dmd_on_imagenet_is_refused_before_it_runs_where_lpips_is_missing(tmp_path: Path) -> None:
    runs = [planned(method, tmp_path) for method in ("dmd2", "dmd", "dmd-mse")]
    with pytest.raises(
        UserError, match=r"dmd on task 'imagenet64' requires .*\n  lpips: bench prepare --task imagenet64"
    ):
        require_for_recipes(runs)
    require_for_recipes([run for run in runs if run.method.name != "dmd"])
    require_for_recipes([planned("dmd", tmp_path, lpips_weights="vgg16.pth")])
    weights = tmp_path / "vgg16.pth"
    weights.touch()
    PinnedImageNet.pin(TASK.pinned_path(tmp_path), lpips=PinnedAsset(str(weights), "1" * 64, "LPIPS's VGG16"))
    require_for_recipes([planned("dmd", tmp_path)])
    assert planned("dmd2", tmp_path).id == runs[0].id


@pytest.mark.parametrize(("method", "asked"), [("dmd", True), ("dmd-mse", False), ("dmd2", False)])
def test_a_plan_shows_lpips_among_the_requirements_of_the_task(method: str, asked: bool, tmp_path: Path) -> None:
    reason = bench("run", "--task", "imagenet64", "--method", method, "--dry-run", "--cache", tmp_path).text
    reason = bare(reason)
    assert ("missing; fix: bench prepare --task imagenet64 --weights lpips=FILE" in reason) == asked
    assert len(recipe_requirements([planned(method, tmp_path)])) == asked


def test_a_suite_names_all_missing_requirements_of_its_rows(tmp_path: Path) -> None:
    options = ("--scale", "paper", "--cache", tmp_path, "--runs", tmp_path / "runs")
    reason = bench("reproduce", "table3", *options)
    assert reason.code == 2
    assert "imagenet64, lpips: bench prepare --task imagenet64 --weights lpips=FILE" in bare(reason.text)
    reason = bench("reproduce", "table2", *options)
    assert "coco10k, lpips: bench prepare" in reason.text and "coco10k, tiny_vae: bench prepare" in reason.text
