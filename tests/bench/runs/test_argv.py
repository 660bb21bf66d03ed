"""A record's command line names no folder of the machine that made it."""

import pytest

from bench.runs.argv import published_argv


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["bench", "run", "--runs", "/home/alice/runs"], ["bench", "run", "--runs", "runs"]),
        (["--data=/mnt/imagenet/train/"], ["--data=train"]),
        (["--weights", "clip=~alice/clip.pt"], ["--weights", "clip=clip.pt"]),
        (["--plugin", r"C:\Users\alice\mine.py"], ["--plugin", "mine.py"]),
        (["--set", "init_from=/scratch/a/student"], ["--set", "init_from=student"]),
        (["--runs", "runs", "--method", "dmd2,gan", "--set", "dm_range=[0.2,0.5]"], None),
        (["--data", "https://example.org/data", "and/or"], None),
    ],
)
def test_only_paths_of_the_machine_are_shortened(given: list[str], kept: list[str] | None) -> None:
    assert published_argv(given) == (given if kept is None else kept)
