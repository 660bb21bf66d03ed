"""The figures of an iteration are read after the next one was launched, and nothing else depends on when."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from bench.core.progress import SilentProgress
from bench.core.stopping import DivergedError, StopSignal
from bench.runs.plan import Run
from bench.runs.registry import Catalogue
from bench.runs.runner import Runner
from bench.task.base import PreparedTask
from bench.training import figure_reader
from bench.training.figure_reader import FigureReader
from bench.training.log import TrainingLog, read_lines
from bench.training.recipe import Recipe
from bench.training.trainer import Trainer

QUIET = SilentProgress().note


def reader_in(folder: Path, **values: object) -> FigureReader:
    recipe = Recipe(iterations=100, batch_size=2, lr=1e-3, **values)
    return FigureReader(recipe, Accelerator(), TrainingLog(folder / "metrics.jsonl"), StopSignal())


def sent(reader: FigureReader, done: int, value: float) -> None:
    reader.send(done, {"loss/a": torch.tensor(value)}, rate=1e-3, logged=True)


def test_the_newest_figures_stay_on_their_way_until_all_are_asked_for(tmp_path: Path) -> None:
    reader = reader_in(tmp_path)
    with SilentProgress().bar("training", 100) as bar:
        for done in (1, 2, 3):
            sent(reader, done, done / 10)
            reader.read(bar, QUIET, late=True)
        assert [line["iteration"] for line in read_lines(tmp_path / "metrics.jsonl")] == [1, 2]
        reader.read(bar, QUIET, late=False)
    lines = read_lines(tmp_path / "metrics.jsonl")
    assert [(line["iteration"], line["loss/a"]) for line in lines] == [
        (done, pytest.approx(done / 10)) for done in (1, 2, 3)
    ]


def test_figures_that_are_not_finite_name_the_iteration_that_made_them(tmp_path: Path) -> None:
    reader = reader_in(tmp_path)
    with SilentProgress().bar("training", 100) as bar:
        sent(reader, 1, math.nan)
        reader.read(bar, QUIET, late=True)
        sent(reader, 2, 1.0)
        with pytest.raises(DivergedError, match=r"diverged at iteration 1: loss/a = nan"):
            reader.read(bar, QUIET, late=True)


def test_training_reads_the_figures_of_an_iteration_after_the_launch_of_the_next(
    plan: Callable[..., Run], catalogue: Catalogue, tiny: PreparedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    step, read = Trainer.step, figure_reader._Sent.read

    def launched(self: Trainer, iteration: int) -> dict[str, Tensor]:
        events.append(f"launch {iteration + 1}")
        return step(self, iteration)

    def was_read(self: figure_reader._Sent) -> tuple[dict[str, float], bool]:
        events.append(f"read {self.done}")
        return read(self)

    monkeypatch.setattr(Trainer, "step", launched)
    monkeypatch.setattr(figure_reader._Sent, "read", was_read)
    run = plan("dmd2", iterations=60)  # a checkpoint after each three iterations, at which all must be known
    record = Runner(catalogue, tiny, SilentProgress()).run(run)
    assert record.error is None, record.error
    assert events[:8] == [
        *("launch 1", "launch 2", "read 1", "launch 3", "read 2", "read 3"),
        *("launch 4", "launch 5"),
    ]
    assert len(events) == 120


def test_an_error_that_follows_from_figures_not_yet_read_is_told_as_the_divergence_it_is(
    plan: Callable[..., Run], catalogue: Catalogue, tiny: PreparedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def breaks(self: Trainer, iteration: int) -> dict[str, Tensor]:
        if iteration == 4:
            raise RuntimeError("probability tensor contains nan")
        figures = step(self, iteration)
        return {name: value * math.nan for name, value in figures.items()} if iteration == 3 else figures

    monkeypatch.setattr(Trainer, "step", breaks)
    record = Runner(catalogue, tiny, SilentProgress()).run(plan("dmd2", iterations=60))
    assert record.error is not None and record.error.type == "DivergedError"
    assert "diverged at iteration 4" in record.error.message
