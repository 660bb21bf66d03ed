"""A record's command line and recipe name no folder of the machine that made it."""

import pytest

from bench.runs.argv import published_argv, published_values


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


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/home/alice/runs/coco10k/regression-s0-ab", "regression-s0-ab"),
        ("/home/alice/runs/coco10k/dmd-ttur-s0-ab/best", "dmd-ttur-s0-ab/best"),
        (r"C:\Users\alice\vgg16.pth", "vgg16.pth"),
        ("runs/coco10k/regression-s0-ab", "runs/coco10k/regression-s0-ab"),
    ],
)
def test_a_recipe_names_the_run_from_which_it_starts_without_its_place(given: str, kept: str) -> None:
    values = {"init_from": given, "lr": 1e-4, "dm_times": "uniform", "dm_range": [0.2, 0.5]}
    assert published_values(values) == {**values, "init_from": kept}
