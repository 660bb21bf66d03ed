"""What a cluster does not have is told before anything is queued."""

from __future__ import annotations

import pytest
from command import output

from methods.resources import Resources, Stage
from slurm import check
from slurm.check import STAGES, node_kinds, problems
from slurm.profile import Profile

SINFO = """\
main*|1-00:00:00|4|64|515000|avx512,nvlink|gpu:a100:8(S:0-1)|idle
main*|1-00:00:00|2|64|515000|avx512|gpu:a100:4|mix
debug|30:00|1|8|32000|(null)|(null)|idle
old|infinite|9|8|32000|(null)|gpu:2|down*
"""


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of three partitions, of which one is down."""
    monkeypatch.setattr(check, "slurm", lambda *_: SINFO)


def asked(**changes: float) -> dict[Stage, Resources]:
    """What each stage asks for: 8 GPUs of one node for a day, unless said otherwise."""
    share = Resources(**{"gpus": 8, "cpus": 64, "memory_gb": 500, "hours": 24, **changes})  # type: ignore[arg-type]
    return dict.fromkeys(STAGES, share)


def told(profile: Profile, **changes: float) -> str:
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


def test_a_profile_that_fits_has_no_problems() -> None:
    assert not told(Profile(partition="main", gpu_type="a100", constraint="nvlink"))
    assert not told(Profile())


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
    assert expected in told(profile, **changes)
