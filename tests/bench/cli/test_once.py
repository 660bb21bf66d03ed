"""Options given twice: nothing that a user typed is dropped without a word."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from bench.cli import command_line
from bench.cli.once import OnceCommand

LISTED = "; fix: give it once, with commas between its values"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["run", "--method", "dmd2", "--task", "digits", "--seed", "0", "--seed=1"],
            f"--seed is given 2 times.*{LISTED}",
        ),
        (["sweep", "--task", "digits", "--steps", "4", "--steps", "8"], f"--steps is given 2 times.*{LISTED}"),
        (["report", "--task", "digits", "--task", "fashion"], "--task is given 2 times.*; fix: give it once$"),
        (["study", "make", "--a", "x", "--b", "y", "--a", "z"], "--a is given 2 times.*; fix: give it once$"),
    ],
)
def test_a_second_value_of_an_option_that_takes_one_is_refused(
    bench: Callable[..., Any], words: list[str], message: str
) -> None:
    done = bench(*words)
    assert done.code == 2 and re.search(message, done.text)


def test_options_that_take_several_values_and_flags_may_be_repeated(bench: Callable[..., Any]) -> None:
    twice = ["--method", "dmd2", "--method", "gan", "--set", "iterations=2", "--set", "batch_size=2"]
    done = bench("run", "--task", "digits", *twice, "--no-baselines", "--dry-run", "--dry-run")
    assert done.code == 0 and "dmd2-s0-" in done.text and "gan-s0-" in done.text


def test_every_command_refuses_doubled_options() -> None:
    def leaves(group: TyperGroup) -> list[Any]:
        every = group.commands.values()
        return [leaf for one in every for leaf in (leaves(one) if isinstance(one, TyperGroup) else [one])]

    main = get_command(command_line())
    assert isinstance(main, TyperGroup)
    assert all(isinstance(one, OnceCommand) for one in leaves(main))
