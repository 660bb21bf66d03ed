"""How often FD is measured during a training changes the log, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command import Printed
from tests_support import TINY_PLUGIN

from bench.core.files import folder_sha256
from bench.core.run_folder import METRICS, STUDENT
from bench.runs.registry import Catalogue
from bench.training.cadence import Cadence
from bench.training.log import read_lines

COMMAND = ("run", "--method", "dmd-ttur", "--task", "tiny", "--plugin", TINY_PLUGIN, "--no-baselines")
SMALL = ("--set", "iterations=24", "--set", "batch_size=4", "--set", "warmup=2")


def test_the_student_is_the_same_however_often_fd_is_measured(
    bench: Callable[..., Printed], tmp_path: Path
) -> None:
    found = {}
    for validations in (0, 3):
        printed = bench(*COMMAND, *SMALL, "--validations", validations, "--runs", tmp_path / str(validations))
        assert printed.code == 0, printed.text
        (student,) = tmp_path.glob(f"{validations}/tiny/*/{STUDENT}")
        measured = [line["iteration"] for line in read_lines(student.parent / METRICS) if "fd" in line]
        found[validations] = measured, folder_sha256(student)
    assert found[0][0] == [] and found[3][0] == [8, 16, 24]
    assert found[0][1] == found[3][1]


def test_a_recipe_that_keeps_the_best_student_says_itself_how_often(
    bench: Callable[..., Printed], catalogue: Catalogue, tmp_path: Path
) -> None:
    given = (*COMMAND, *SMALL, "--runs", tmp_path, "--dry-run", "--set", "keep_best=true")
    refused = bench(*given, "--validations", 0)
    assert refused.code != 0
    assert "--validations 0" in refused.text and "keep_best" in refused.text and "best_every" in refused.text
    assert bench(*given).code == 0
    recipe = catalogue.methods.get("dmd-ttur").recipe("digits", "micro", {"iterations": 40, "keep_best": True})
    assert Cadence.of(recipe, 2).validate_every == 4


@pytest.mark.parametrize(("validations", "every"), [(0, 0), (1, 40), (10, 4), (1000, 1)])
def test_the_iterations_between_two_measurements(catalogue: Catalogue, validations: int, every: int) -> None:
    recipe = catalogue.methods.get("dmd-ttur").recipe("digits", "micro", {"iterations": 40})
    assert Cadence.of(recipe, validations) == Cadence(checkpoint_every=2, validate_every=every)


def test_fd_is_not_measured_under_a_protocol_without_it(bench: Callable[..., Printed], tmp_path: Path) -> None:
    given = ("run", "--method", "dmd2-4step", "--task", "geneval", "--dry-run", "--runs", tmp_path)
    refused = bench(*given, "--validations", 3)
    assert refused.code == 2
    assert "--validations 3 measures FD during training, and protocol 'geneval' has none; fix: " in refused.text
    for left in ((), ("--validations", 0)):
        assert bench(*given, *left).code == 0
