"""Several processes train and evaluate as one: the same student, the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from processes import in_processes
from safetensors.torch import load_file

from bench.core.distributed import from_main
from bench.core.errors import UserError
from bench.runs.plan import Run
from bench.runs.record import Record
from bench.runs.records import read_record
from bench.runs.runner import Runner
from bench.training.checkpoint import checkpoints

RECIPE = {"iterations": 10, "batch_size": 12, "ema_decay": None}


def weights(run: Run) -> dict[str, torch.Tensor]:
    """The student's weights, as they were saved."""
    (path,) = (run.folder / "student" / "unet").glob("*.safetensors")
    return load_file(path)


def furthest(one: Run, other: Run) -> float:
    """Largest difference of two students' weights.

    An attention key's bias has no effect: its gradient is rounding alone, which Adam makes as large as any.
    """
    here, there = weights(one), weights(other)
    return max(float((here[name] - there[name]).abs().max()) for name in here if not name.endswith("to_k.bias"))


@pytest.mark.parametrize("method", ["dmd", "dmd2", "gan-ttur", "dmd2-4step"])
def test_two_processes_train_the_student_of_one(
    method: str, plan: Callable[..., Run], runner: Runner, tmp_path: Path
) -> None:
    alone, together = (plan(method, root=tmp_path / name, **RECIPE) for name in ("alone", "together"))
    runner.run(alone)
    in_processes(2, lambda: runner.run(together))
    assert furthest(alone, together) < 1e-6
    assert read_record(together.record).cost.processes == 2


@pytest.mark.parametrize("processes", [2, 3])
def test_evaluation_gives_the_values_of_one_process(
    processes: int, plan: Callable[..., Run], runner: Runner, tmp_path: Path
) -> None:
    alone, together = (plan("regression", root=tmp_path / name, **RECIPE) for name in ("alone", "together"))
    runner.run(alone)
    in_processes(processes, lambda: runner.run(together))
    for one, other in zip(read_record(alone.record).metrics, read_record(together.record).metrics, strict=True):
        assert one.values == pytest.approx(other.values, rel=1e-4), one.name


def test_a_run_goes_on_with_another_number_of_processes(
    plan: Callable[..., Run], runner: Runner, tmp_path: Path
) -> None:
    whole, broken = (plan("dmd2", root=tmp_path / name, **RECIPE) for name in ("whole", "broken"))
    runner.run(whole)
    in_processes(2, lambda: runner.run(broken))
    broken.record.unlink()
    (broken.folder / "training.json").unlink()
    newest = checkpoints(broken.folder / "checkpoints")[-1]
    newest.unlink()  # as after a kill: the last finished checkpoint is of an earlier iteration
    in_processes(3, lambda: runner.run(broken))
    assert furthest(whole, broken) < 1e-6


def test_a_batch_that_does_not_divide_is_refused_with_those_that_do(
    plan: Callable[..., Run], runner: Runner
) -> None:
    run = plan(batch_size=7)

    def refused() -> None:
        with pytest.raises(UserError, match=r"batch_size 7 .* fix: --set batch_size=6 or 8"):
            runner.run(run)

    in_processes(2, refused)


def test_an_error_of_the_first_process_is_raised_in_all() -> None:
    def fail() -> Record:
        raise UserError("no")

    def work() -> None:
        with pytest.raises(UserError, match="no"):
            from_main(fail)

    in_processes(2, work)
