"""A job asks for what the profile says when it is submitted, not for what it said before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.jobs.spec import JobSettings, JobSpec
from bench.runs.planning import plan_run
from bench.runs.registry import load_catalogue
from bench.task.declaration import Sources
from slurm.graph import Batch, build_graph
from slurm.profile import Profile
from slurm.resources import Resources
from slurm.submission import FILE, new_submission, read_submission

SMALL = Profile(gpus_per_node=2, memory_gb_per_node=64, cpus_per_node=8, max_hours=4, max_nodes=1)
LARGE = Profile(gpus_per_node=8, memory_gb_per_node=512, cpus_per_node=64, max_hours=24, max_nodes=1)


def graph(profile: Profile, tmp_path: Path, **recipe: int) -> list[Batch]:
    """The batches of a method on ImageNet."""
    catalogue = load_catalogue([])
    run = plan_run(catalogue, "dmd2", catalogue.tasks.get("imagenet64"), recipe, 0, tmp_path)
    return build_graph([run], JobSettings(tmp_path, Sources(tmp_path)), profile, tmp_path, 100)


def test_resources_follow_the_profile_as_it_is_now(tmp_path: Path) -> None:
    before, fresh = graph(SMALL, tmp_path), graph(LARGE, tmp_path)
    assert [batch.refitted(LARGE) for batch in before] == fresh
    assert before[1].resources.memory_gb == 64 and fresh[1].resources.memory_gb > 64


def test_gpus_still_divide_the_batch_under_another_profile(tmp_path: Path) -> None:
    train = graph(SMALL, tmp_path, batch_size=20)[1]
    assert train.resources.gpus == 2 and train.images == 20
    assert train.refitted(LARGE).resources.gpus == 5
    assert graph(SMALL, tmp_path, batch_size=20, gradient_accumulation=5)[1].refitted(LARGE).resources.gpus == 4


def test_a_batch_that_micro_batches_do_not_divide_is_told_before_it_is_submitted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size 20 does not divide into 3 micro-batches"):
        graph(SMALL, tmp_path, batch_size=20, gradient_accumulation=3)


def test_a_stages_own_memory_reaches_submissions_of_older_versions(tmp_path: Path) -> None:
    work = JobSpec("train", "train", tmp_path)
    new = replace(
        new_submission(tmp_path, "cpu"), graph=(Batch("train", "train", (work,), Resources(memory_gb=8)),)
    )
    new.write()
    data = json.loads((new.folder / FILE).read_text())
    for name in ("task", "scale", "images"):
        del data["graph"][0][name]
    (new.folder / FILE).write_text(json.dumps(data))
    (batch,) = read_submission(new.folder / FILE).graph
    now = Profile.model_validate({"memory_gb_per_node": 64, "stages": {"train": {"memory_gb": 32}}})
    assert batch.refitted(now).resources.memory_gb == 32
