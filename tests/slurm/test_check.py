"""The check names what a cluster does not have, before anything is submitted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command import bench, output

from slurm import check
from slurm.check import STAGES, node_kinds, problems
from slurm.profile import Profile
from slurm.resources import Resources, Stage

SINFO = """\
main*|1-00:00:00|4|64|515000|avx512,nvlink|gpu:a100:8(S:0-1)|idle
main*|1-00:00:00|2|64|515000|avx512|gpu:a100:4|mix
debug|30:00|1|8|32000|(null)|(null)|idle
old|infinite|9|8|32000|(null)|gpu:2|down*
"""


@pytest.fixture(autouse=True)
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster of three partitions, of which one is down; its sbatch keeps the scripts that it is given."""
    monkeypatch.setattr(check, "slurm", lambda *_: SINFO)
    sbatch = tmp_path / "sbatch"
    sbatch.write_text(f"""#!/bin/sh
for last; do :; done
echo "$1" >> {tmp_path}/asked
/bin/cat "$last" >> {tmp_path}/scripts
if /bin/grep -q 'wckey=wrong' "$last"; then echo 'sbatch: error: Invalid wckey specification' >&2; exit 1; fi
""")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def asked(**changes: float) -> dict[Stage, Resources]:
    """Return the request of each stage: 8 GPUs of one node for a day, unless said otherwise."""
    share = Resources(**{"gpus": 8, "cpus": 64, "memory_gb": 500, "hours": 24, **changes})  # type: ignore[arg-type]
    return dict.fromkeys(STAGES, share)


def reason(profile: Profile, **changes: float) -> str:
    """The first problem, which each stage has alike; empty if there is none."""
    found = problems(profile, asked(**changes), node_kinds())
    assert len(found) in (0, 3)
    return found[0] if found else ""


def test_partitions_are_read_with_their_limits_and_gpus() -> None:
    main, mixed, debug = node_kinds()
    assert (main.partition, main.is_default, main.gpus, main.hours) == ("main", True, 8, 24)
    assert main.gpu_types == {"a100"} and "nvlink" in main.features
    assert (mixed.nodes, mixed.gpus) == (2, 4)
    assert (debug.hours, debug.gpus) == (0.5, 0)


def test_what_each_stage_asks_for_is_shown_in_words() -> None:
    shown = output("slurm", "check", "--profile", "cpu", "--task", "digits")
    assert "evaluate  1 node of 0 GPUs, 1 CPU and 4 GB, for 1 hour\n" in shown


def test_sbatch_tests_exactly_what_would_be_submitted(commands: Path) -> None:
    profile = commands / "mine.toml"
    profile.write_text("""
partition = "main,debug"
account = "lab"
qos = "normal"
memory_gb_per_node = 4
[sbatch]
wckey = "vision"
reservation = "week"
[stages.train.sbatch]
nice = 100
""")
    output("slurm", "check", "--profile", profile)
    assert (commands / "asked").read_text().split() == ["--test-only"] * 3
    scripts = (commands / "scripts").read_text()
    for flag in ("partition=main,debug", "account=lab", "qos=normal", "wckey=vision", "reservation=week"):
        assert scripts.count(f"#SBATCH --{flag}\n") == 3, flag
    assert scripts.count("#SBATCH --nice=100\n") == 1 and scripts.count("--array=0-1") == 3
    assert "--hold" not in scripts, "of jobs on hold sbatch does not say whether they fit"


def test_what_sbatch_refuses_is_told_for_each_stage_with_a_fix(commands: Path) -> None:
    (commands / "mine.toml").write_text('[sbatch]\nwckey = "wrong"\n')
    refused = bench("slurm", "check", "--profile", commands / "mine.toml")
    assert refused.code == 2 and refused.text.count("Invalid wckey specification") == 3
    assert "fix: sacctmgr show wckeys" in refused.text


def test_a_list_of_partitions_is_no_partition_of_that_name() -> None:
    assert not reason(Profile(partition="main,debug"))
    assert "no partition 'mian'" in reason(Profile(partition="debug,mian"))


def test_a_profile_that_fits_has_no_problems() -> None:
    assert not reason(Profile(partition="main", gpu_type="a100", constraint="nvlink"))
    assert not reason(Profile())


@pytest.mark.parametrize(
    ("profile", "changes", "expected"),
    [
        (Profile(partition="mian"), {}, "no partition 'mian' with nodes that are up; did you mean 'main'"),
        (Profile(partition="old"), {}, "no partition 'old' with nodes that are up"),
        (Profile(gpu_type="h100"), {}, "no GPUs of type 'h100'; there are: a100"),
        (Profile(constraint="h100"), {}, "no node with the feature 'h100'; there are: avx512, nvlink"),
        (Profile(), {"gpus": 16}, "asks for 16 GPUs of a node, and the most is 8; lower gpus_per_node"),
        (Profile(), {"memory_gb": 900}, "lower memory_gb_per_node"),
        (Profile(), {"nodes": 7}, "7 nodes, and it has 6; lower max_nodes"),
        (Profile(), {"hours": 30}, "30 hours, and the limit is 24; lower max_hours"),
    ],
)
def test_what_does_not_fit_is_told_with_what_mends_it(
    profile: Profile, changes: dict[str, float], expected: str
) -> None:
    assert expected in reason(profile, **changes)
