"""The student with the lowest FD during training is kept and labelled, and never replaces the last one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests_support import TINY_PLUGIN

from bench.core.errors import UserError
from bench.core.files import file_sha256, folder_sha256
from bench.runs.plan import Run
from bench.runs.records import load_records
from bench.runs.runner import Runner
from bench.training.best import read_best
from bench.training.checkpoint import checkpoints
from bench.training.log import read_lines

HASTY = {"lr": 3e-2, "critic_lr": 3e-2, "ema_decay": None}
"""Too large a learning rate: the last student is not the best."""


def test_the_best_is_kept_beside_the_last_and_evaluated_as_what_it_is(
    plan: Callable[..., Run], runner: Runner, bench: Callable[..., Any]
) -> None:
    run = plan(keep_best=True, **HASTY)
    last = runner.run(run)
    lines = [line for line in read_lines(run.folder / "metrics.jsonl") if "fd" in line]
    lowest = min(lines, key=lambda line: line["fd"])
    best = read_best(run.folder / "best")
    assert best is not None
    assert (best.iteration, best.fd) == (lowest["iteration"], lowest["fd"])
    assert best.iteration < 24, "else this test shows nothing"
    assert last.checkpoint is not None
    assert (last.checkpoint.iteration, last.checkpoint.selection) == (24, "last")

    found = bench("eval", "--task", "tiny", "--plugin", TINY_PLUGIN, "--checkpoint", run.folder / "best")
    assert found.code == 0, found.text
    records = load_records([run.folder]).records
    assert len(records) == 2 and records[-1] == last
    checkpoint = records[0].checkpoint
    assert checkpoint is not None
    assert (checkpoint.iteration, checkpoint.selection) == (best.iteration, "best-by-test-metric")
    assert checkpoint.sha256 == folder_sha256(run.folder / "best" / "student") != last.checkpoint.sha256
    assert records[0].run_id != last.run_id
    assert (
        "best-by-test-metric, raw" in bench("report", "--task", "tiny", "--runs", run.root, "--no-committed").text
    )


def test_how_often_and_by_how_many_images_fd_is_measured_is_set_by_the_recipe(
    plan: Callable[..., Run], runner: Runner
) -> None:
    run = plan(keep_best=True, best_every=9, best_samples=40, **HASTY)
    record = runner.run(run)
    lines = [line for line in read_lines(run.folder / "metrics.jsonl") if "fd" in line]
    assert [(line["iteration"], line["fd_samples"]) for line in lines] == [(9, 40), (18, 40), (24, 40)]
    best = read_best(run.folder / "best")
    assert best is not None and best.fd_samples == 40
    recorded = record.method.recipe
    assert (recorded["best_every"], recorded["best_samples"]) == (9, 40)
    ids = {plan(keep_best=True, **more, **HASTY).id for more in ({}, {"best_every": 9}, {"best_samples": 40})}
    assert len(ids) == 3


def test_a_kill_while_it_is_replaced_does_not_lose_it(plan: Callable[..., Run], runner: Runner) -> None:
    run = plan(keep_best=True, **HASTY)
    runner.run(run)
    best, student = read_best(run.folder / "best"), folder_sha256(run.folder / "best" / "student")
    assert best is not None and best.iteration < 24, "else this test shows nothing"
    # As kill -9 leaves it, between the moment when the old folder is moved aside and that when the new one comes.
    (run.folder / "best").rename(run.folder / ".best.bench-abcd_123.old")
    for name in (run.record, run.folder / "training.json", checkpoints(run.folder / "checkpoints")[-1]):
        name.unlink()
    runner.run(run)
    assert read_best(run.folder / "best") == best
    assert folder_sha256(run.folder / "best" / "student") == student
    assert not list(run.folder.glob(".best*"))


def test_keeping_it_changes_nothing_else(plan: Callable[..., Run], runner: Runner) -> None:
    kept, plain = (runner.run(plan(keep_best=keep, **HASTY)) for keep in (True, False))
    assert [metric.values for metric in kept.metrics] == [metric.values for metric in plain.metrics]


def test_a_second_stage_starts_from_the_best_student_if_its_folder_is_given(
    plan: Callable[..., Run], runner: Runner
) -> None:
    first = plan("dmd-ttur", keep_best=True, **HASTY)
    runner.run(first)
    still: dict[str, Any] = {"lr": 1e-12, "critic_lr": 1e-12, "iterations": 1, "ema_decay": None}
    second = plan("dmd2", init_from=first.folder / "best", **still)
    record = runner.run(second)
    (kept,) = checkpoints(first.folder / "best" / "checkpoints")
    assert (record.data[-1].role, record.data[-1].sha256) == ("initial weights", file_sha256(kept))
    assert second.id != plan("dmd2", init_from=first.folder, **still).id
    best = read_best(first.folder / "best")
    assert best is not None
    fd = next(line["fd"] for line in read_lines(second.folder / "metrics.jsonl") if "fd" in line)
    assert fd == pytest.approx(best.fd, rel=1e-4)


def test_a_run_that_kept_none_says_how_to_keep_it(plan: Callable[..., Run], runner: Runner) -> None:
    first = plan("dmd-ttur")
    runner.run(first)
    with pytest.raises(UserError, match=r"there is no .*best; fix: repeat that run with --set keep_best=true"):
        runner.run(plan("dmd2", init_from=first.folder / "best"))
    assert not (first.folder / "best").exists()
