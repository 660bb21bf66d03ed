"""Commands that messages tell to run name the folders and plug-in files that the user's own command named."""

from __future__ import annotations

import shlex

import pytest

from bench.cli.fixes import given_places, with_places

GIVEN = ["run", "--runs", "my runs", "--cache=/big/it's", "--plugin", "a.py", "--plugin", "b.py", "--task", "x"]
RUNS, CACHE = "--runs 'my runs'", f"""--cache {shlex.quote("/big/it's")}"""
PLUGINS = "--plugin a.py --plugin b.py"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("no runs; fix: bench status lists the runs", f"no runs; fix: bench status {RUNS} lists the runs"),
        ("fix: bench run --task x", f"fix: bench run {RUNS} {CACHE} {PLUGINS} --task x"),
        ("fix: bench records pack X", f"fix: bench records pack {RUNS} {CACHE} {PLUGINS} X"),
        ("fix: bench list, then bench logs a/b", f"fix: bench list {PLUGINS}, then bench logs {RUNS} a/b"),
        ("fix: bench prepare --data D", f"fix: bench prepare {CACHE} {PLUGINS} --task x --data D"),
        ("fix: bench wait a, or another --runs", f"fix: bench wait {RUNS} a, or another --runs"),
        ("run: bench wait a", f"run: bench wait {RUNS} a"),
        ("  get      bench weights get clip", f"  get      bench weights get {CACHE} {PLUGINS} clip"),
        ("fix: `bench wait a`, then", f"fix: `bench wait {RUNS} a`, then"),
        ("each with its fix:\n  data: bench status", f"each with its fix:\n  data: bench status {RUNS}"),
    ],
)
def test_a_command_of_a_fix_gets_the_places_that_it_takes(message: str, shown: str) -> None:
    assert with_places(message, GIVEN) == shown


@pytest.mark.parametrize(
    "message",
    [
        "bench cancel takes names; fix: leave out --all",  # no command to run
        f"fix: bench logs a/b {RUNS}",
        f"fix: bench prepare --task y {CACHE} --plugin a.py --data D",
        "fix: rm '/my bench run/x', and run again",
        "fix: bench nothing of this name",
        "fix: bench slurm profiles lists them",  # it takes none of them
    ],
)
def test_what_has_them_or_takes_none_stays_as_it_is(message: str) -> None:
    assert with_places(message, GIVEN) == message


def test_without_places_no_message_changes() -> None:
    assert with_places("fix: bench status", ["status", "a/b"]) == "fix: bench status"


def test_the_last_folder_counts_and_every_plugin() -> None:
    assert given_places(["--runs", "a", "--plugin=p", "--runs=b", "--plugin", "q"]) == [
        ("--plugin", "p"),
        ("--runs", "b"),
        ("--plugin", "q"),
    ]
