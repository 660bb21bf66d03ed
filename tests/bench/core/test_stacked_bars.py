"""Bars of the whole and of its parts: below each other at a terminal, lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.core.stacked_bars import StackedProgress


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "log"])
def test_a_part_has_its_bar_while_the_whole_has_its_own(terminal: bool) -> None:
    text = io.StringIO()
    progress = StackedProgress(Console(file=text, force_terminal=terminal, width=100))
    with progress.bar("sweep", 2, completed=1) as whole:
        with progress.bar("evaluation", 10) as part:
            part.advance(10, fd=1.25)
        whole.advance()
        progress.note("teacher-ode: fd 1.25")
    with progress.bar("evaluation", 3) as part:
        part.advance(3)
    shown = text.getvalue()
    assert "teacher-ode: fd 1.25" in shown
    assert [count in shown for count in ("2/2", "3/3")] == [terminal, terminal]
    assert ("evaluation: 10 in" in shown) == (not terminal)


def test_a_bar_is_closed_if_its_work_fails() -> None:
    progress = StackedProgress(Console(file=io.StringIO(), force_terminal=True))
    with pytest.raises(KeyError), progress.bar("sweep", 2), progress.bar("evaluation", 1):
        raise KeyError
    with progress.bar("sweep", 1) as bar:
        bar.advance()
