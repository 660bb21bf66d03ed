"""One installed executor that is broken hides no run of the others, and is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from command import Printed

from bench.core.errors import UserError
from bench.jobs import executor
from bench.jobs.executor import Executor
from bench.jobs.local import LocalExecutor
from bench.runs.plugins.kinds import KINDS
from bench.runs.registry import Entry, Registry
from bench.runs.states.state import RunState

KIND = KINDS["executor"]


def fail(*_: object) -> list[Any]:
    raise KeyError("no queue")


class Faulty(LocalExecutor):
    """An executor whose queue cannot be asked for anything."""

    name = "faulty"

    states = submit_waiting = cancel = resume = fail


class Working(LocalExecutor):
    """An executor that has one run in its queue."""

    name = "working"

    @classmethod
    def states(cls, runs: Path, *_: object) -> list[RunState]:
        return [RunState(runs / "digits" / "dmd2-s0", "stopped")]

    @classmethod
    def cancel(cls, states: Sequence[RunState], *_: object) -> list[str]:
        return [state.run for state in states]

    @classmethod
    def resume(cls, look: Callable[[], Sequence[RunState]], *_: object) -> Iterator[str]:
        yield from (f"again: {state.run}" for state in look())


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install one executor that cannot be imported, one that fails whatever it is asked, and one that works."""
    registry: Registry[type[Executor]] = Registry(KIND)
    for number, thing in enumerate((Faulty, Working)):
        registry.add(Entry(f"b{number}", KIND, "theirs 1.0", thing=thing))
    registry.add(
        Entry("a", KIND, "theirs 1.0", point=EntryPoint("a", "no_such_module:Executor", "bench.executors"))
    )
    monkeypatch.setattr(executor, "installed", lambda _: registry)
    executor._warn_once.cache_clear()


def test_status_shows_the_runs_of_the_others_and_names_each_fault_once(
    bench: Callable[..., Printed], tmp_path: Path
) -> None:
    shown = bench("status", "--runs", tmp_path)
    assert "dmd2-s0" in shown.text and shown.code == 1, "a run that stopped needs attention"
    for fault in (
        "'a' from theirs 1.0 cannot be loaded",
        "executor 'faulty' gives no answer: KeyError: 'no queue'",
    ):
        assert shown.text.count(fault) == 1
    assert "pip uninstall theirs" in shown.text


def test_what_the_others_have_is_cancelled_and_resumed(bench: Callable[..., Printed], tmp_path: Path) -> None:
    assert "cancelled: dmd2-s0" in bench("cancel", "--all", "--runs", tmp_path).text
    assert "again: dmd2-s0" in bench("resume", "--runs", tmp_path).text


def test_what_an_executor_refuses_is_still_an_error(
    bench: Callable[..., Printed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> list[Any]:
        raise UserError("the queue refuses; fix: wait")

    monkeypatch.setattr(Faulty, "cancel", refuse)
    shown = bench("cancel", "--all", "--runs", tmp_path)
    assert shown.code == 2 and "the queue refuses; fix: wait" in shown.text
