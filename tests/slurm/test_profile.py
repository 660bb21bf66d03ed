"""Profiles of clusters: what jobs get of what they ask for, and what is told of a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import output

from bench.core.errors import UserError
from slurm.profile import Profile, load_profile, profile_names
from slurm.resources import Resources, resources
from slurm.submission import new_submission

EIGHT = Profile(
    partition="gpu", max_nodes=4, gpus_per_node=8, cpus_per_node=64, memory_gb_per_node=512, max_hours=12
)


def written(folder: Path, text: str) -> str:
    """The name of a profile with this text."""
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_shipped_profiles_load() -> None:
    assert {"cpu", "local", "example-a100"} <= set(profile_names())
    for path in profile_names().values():
        load_profile(str(path))


def test_ones_own_profile_hides_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.toml").write_text('partition = "mine"')
    monkeypatch.setenv("BENCH_PROFILES", str(tmp_path))
    assert load_profile("cpu").partition == "mine"


def test_a_profile_caps_what_the_recipe_asks_for() -> None:
    asked = resources("coco10k", "paper", "train")
    assert (asked.nodes, asked.gpus, asked.hours) == (8, 8, 24)
    got = EIGHT.capped(asked, "train")
    assert (got.nodes, got.gpus, got.cpus, got.memory_gb, got.hours) == (4, 8, 64, 512, 12)
    assert got.processes == 32 and (got.gpu_hours, got.core_hours) == (4 * 8 * 12, 0)
    assert EIGHT.capped(Resources(nodes=2, cpus=3, hours=4), "train").core_hours == 2 * 3 * 4


def test_a_stage_has_its_own_words(tmp_path: Path) -> None:
    text = 'partition = "gpu"\ngpus_per_node = 8\n[stages.evaluate]\npartition = "small"\ngpus = 2\nhours = 3'
    profile = load_profile(written(tmp_path, text))
    assert profile.settings("train").partition == "gpu"
    assert profile.settings("evaluate").partition == "small"
    got = profile.capped(Resources(gpus=1, hours=8), "evaluate")
    assert (got.gpus, got.hours) == (2, 3)


def test_gpus_where_there_are_none_are_an_error_that_says_what_to_set() -> None:
    with pytest.raises(UserError, match=r"train asks for 8 GPUs.*gpus_per_node"):
        Profile().capped(resources("coco10k", "paper", "train"), "train")


def test_a_job_has_time_before_it_is_told_to_stop() -> None:
    profile = Profile(max_hours=0.05, signal_seconds=180)
    with pytest.raises(UserError, match=r"train would be asked to stop.*0.05 hours.*signal_seconds is 180"):
        profile.capped(Resources(), "train")
    assert profile.model_copy(update={"signal_seconds": 60}).capped(Resources(), "train").hours == 0.05


def test_a_profile_in_a_file_is_found_again_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "")
    monkeypatch.chdir(tmp_path)
    made = new_submission(tmp_path / "runs", "mine.toml")
    monkeypatch.chdir("/")
    assert load_profile(made.profile) == Profile()
    assert new_submission(tmp_path, "cpu").profile == "cpu"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("partitoin = 'gpu'", "unknown key 'partitoin'; did you mean 'partition'"),
        ("max_nodes = 0", "bad value 0 for 'max_nodes'"),
        ("[stages.training]\ngpus = 1", "training"),
        ("[stages.train]\ngpu = 1", "did you mean 'gpus'"),
        ("partition = ", "is not TOML"),
        ("setup = 'module load cuda'", "'setup': a list of shell lines, such as [\"module load cuda\"]"),
    ],
)
def test_a_bad_profile_is_named_with_its_key(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mine") as caught:
        load_profile(written(tmp_path, text))
    assert reason in str(caught.value)


def test_an_unknown_profile_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'local'"):
        load_profile("locall")
    with pytest.raises(UserError, match="no profile nowhere"):
        load_profile("nowhere.toml")


def test_a_broken_profile_is_listed_as_such_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "max_nodes = 0")
    monkeypatch.setenv("BENCH_PROFILES", str(tmp_path))
    shown = output("slurm", "profiles")
    assert "mine                    [broken]" in shown and "bad value 0 for 'max_nodes'" in shown
    assert "example-a100" in shown and f"Your own go into {tmp_path}" in shown
