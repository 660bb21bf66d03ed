"""What the metrics of a protocol read is told with the task's requirements, and before a training begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command import Printed

from bench.core.files import path_sha256
from bench.features.pinned import pin
from bench.features.weights import FoundWeights
from bench.runs.protocols.networks import network_requirements
from bench.runs.registry import Catalogue
from bench.runs.task_sources import pinned_task

OF_GENEVAL = ["mask2former-coco", "clip-l14", "geneval-prompts"]


def test_weights_of_registered_extractors_are_required_until_they_are_pinned(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    def here() -> dict[str, Path | None]:
        task = pinned_task(catalogue, "geneval", tmp_path)
        return {one.role: one.path for one in network_requirements(task, catalogue, tmp_path)}

    assert here() == dict.fromkeys(OF_GENEVAL)
    prompts = tmp_path / "evaluation_metadata.jsonl"
    prompts.write_text("{}\n")
    pin("geneval-prompts", FoundWeights(prompts, path_sha256(prompts)), tmp_path)
    assert here() == {**dict.fromkeys(OF_GENEVAL), "geneval-prompts": prompts}
    prompts.unlink()
    assert here() == dict.fromkeys(OF_GENEVAL), "what was pinned is gone"


@pytest.mark.parametrize("task", ["digits", "fashion", "scenes", "imagenet64", "coco10k", "ocr-bench"])
def test_what_a_task_has_for_itself_is_not_required_twice(catalogue: Catalogue, tmp_path: Path, task: str) -> None:
    """`scenes` has the network of its diversity, text tasks pin the CLIP that they read."""
    assert network_requirements(pinned_task(catalogue, task, tmp_path), catalogue, tmp_path) == []


def test_descriptions_and_dry_runs_show_them(bench: Callable[..., Printed], tmp_path: Path) -> None:
    run = ("run", "--method", "dmd2", "--task", "geneval", "--no-baselines", "--dry-run", "--runs", tmp_path)
    for command in (("describe", "geneval"), run):
        lines = bench(*command, "--cache", tmp_path).text.splitlines()
        for name in OF_GENEVAL:
            (line,) = [one for one in lines if one.split()[:1] == [name] and "what metric geneval reads" in one]
            assert f"fix: bench weights get {name} " in line


def test_nothing_is_run_without_them(
    bench: Callable[..., Printed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing detector is found before the training, and on a cluster before the queue."""
    monkeypatch.setattr("tasks.text.task.TextTask.require", lambda *_args, **_options: None)
    monkeypatch.setattr("bench.jobs.request.require_for_recipes", lambda _: None)
    command = ("run", "--method", "dmd2", "--task", "geneval", "--no-baselines", "--runs", tmp_path / "runs")
    refused = bench(*command, "--cache", tmp_path)
    assert refused.code == 2 and not (tmp_path / "runs").exists()
    assert "error: nothing was run; missing on this machine, each with its fix:" in refused.text
    assert all(f"{name}, what metric geneval reads: bench weights get" in refused.text for name in OF_GENEVAL)
