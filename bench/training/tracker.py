"""The base class of trackers: programs that show the logs of many runs, such as TensorBoard.

A tracker is sent what `metrics.jsonl` contains, with the iteration as its step. When it is opened it says which
figures it has already, so that a resumed run is completed and nothing is sent twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

Line = Mapping[str, Any]
"""A line of the log: `iteration`, and figures by their names."""
Point = tuple[str, int]
"""The name of a figure and its iteration."""

PROJECT = "distillation-bench"
"""Beginning of a project's name; the task follows, since only runs of one task can be compared."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker knows it."""

    task: str
    name: str
    """The run's name, which is its id too."""
    configuration: Mapping[str, bool | int | float | str]
    """Recipe, method, seed, protocol and so on."""

    @property
    def project(self) -> str:
        """The project of all runs on the task."""
        return f"{PROJECT}-{self.task}"


class Tracker(ABC):
    """One run in one tracker, through accelerate's class for it."""

    name: ClassVar[str]
    """The name after `--track`, also of the extra and of the module."""
    look: ClassVar[str]
    """The command that shows what was sent; `{folder}` is the tracker's folder."""

    def __init__(self, run: TrackedRun, folder: Path) -> None:
        """`folder` is the tracker's own, for all runs."""
        self.run = run
        self.folder = folder.absolute()
        self.tracker: Any = None

    @classmethod
    def local(cls, folder: Path) -> dict[str, str]:  # noqa: ARG003
        """Return environment variables that keep it on this machine; those that the user has set stay."""
        return {}

    @classmethod
    def elsewhere(cls) -> str:
        """Return the user's own setting that sends the data elsewhere, or an empty text."""
        return ""

    @abstractmethod
    def open(self, lines: Sequence[Line]) -> None:
        """Open the run, or a new one, and send it the lines that it does not have; later ones follow."""

    def has(self, name: str, step: int) -> bool:  # noqa: ARG002
        """Say whether the tracker has had this figure since before it was opened."""
        return False

    def log(self, line: Line) -> None:
        """Send the figures of a line of the log."""
        self._send(figures_of(line), int(line["iteration"]))

    def finish(self, results: Mapping[str, float], picture: Path | None, step: int) -> None:
        """Send the results of the last iteration, `step`, and a picture of samples."""
        self._send({f"result/{name}": value for name, value in results.items()}, step)
        if picture is not None:
            self._send_picture(picture, step)

    def close(self) -> None:
        """Write what is left, and end the tracker."""
        self.tracker.finish()

    def _send(self, figures: Mapping[str, float], step: int) -> None:
        new = {name: value for name, value in figures.items() if not self.has(name, step)}
        if new:
            self.tracker.log(new, step=step, **self._options())

    def _options(self) -> dict[str, Any]:
        """Return further arguments of the tracker's own function that logs."""
        return {}

    @abstractmethod
    def _send_picture(self, picture: Path, step: int) -> None:
        """Send a PNG."""


def figures_of(line: Line) -> dict[str, float]:
    """Return the figures of a line that have a value."""
    return {name: value for name, value in line.items() if name != "iteration" and value is not None}


def complete_until(lines: Sequence[Line], points: set[Point]) -> int:
    """Return the last iteration up to which every figure of these lines is among `points`; 0 if none is."""
    kept = 0
    for line in lines:
        step = int(line["iteration"])
        if any((name, step) not in points for name in figures_of(line)):
            return min(kept, step - 1)
        kept = step
    return kept
