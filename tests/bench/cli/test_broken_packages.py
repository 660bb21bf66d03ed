"""A package whose modules cannot be imported hides no command of ours, and no other plug-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint

import pytest
from command import Printed
from example_records import COMMITTED

from bench.cli import commands
from bench.core.errors import UserError
from bench.metrics.catalogue import FD
from bench.runs import registry
from bench.runs.plugins.kinds import KINDS, Kind
from bench.runs.registry import Entry, Registry

REASON = "ModuleNotFoundError: No module named 'no_such_module'"


def broken(group: str) -> EntryPoint:
    return EntryPoint("theirs", "no_such_module:Thing", group)


def test_a_command_that_cannot_be_imported_says_so_where_it_is_called_and_hides_no_other(
    bench: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "entry_points", lambda group: [broken(group)])
    shown = bench("theirs")
    assert shown.code == 2
    assert f"command 'theirs' of no_such_module cannot be loaded: {REASON}; fix: " in shown.text
    listed = bench("--help")
    assert listed.code == 0 and "reproduce" in listed.text and "theirs" in listed.text


@pytest.mark.parametrize("command", [("records", "check", COMMITTED / "digits"), ("weights", "list")])
def test_what_cannot_be_imported_fails_where_it_is_used_alone(
    bench: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch, command: tuple[object, ...]
) -> None:
    points = registry._points

    def with_theirs(kinds: Sequence[Kind]) -> Iterator[tuple[EntryPoint, str]]:
        yield from points(kinds)
        yield from ((broken(f"bench.{kind.name}s"), "theirs 1.0") for kind in kinds)

    expected = bench(*command)
    monkeypatch.setattr(registry, "_points", with_theirs)
    shown = bench(*command)
    assert shown.code == expected.code == 0
    assert {*expected.text.splitlines()} <= {*shown.text.splitlines()}


def test_a_kind_returns_what_can_be_imported_and_tells_of_the_rest() -> None:
    told: list[UserError] = []
    metrics = Registry.installed(KINDS["metric"], [(broken("bench.metrics"), "theirs 1.0")])
    metrics.add(Entry("fd", KINDS["metric"], "ours", thing=FD))
    assert metrics.loaded(told.append) == {"fd": FD} == metrics.loaded()
    (error,) = told
    assert str(error).startswith(f"'theirs' from theirs 1.0 cannot be loaded: {REASON}; fix: ")
