"""The figures of a training on their way: from the device to the alarms and the log, one iteration late.

To read a figure is to wait until the device has done all that it was given. So an iteration's figures are read
after the next iteration was launched, and the device is never without work. What is read stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from bench.core.progress import Bar
from bench.core.stopping import DivergedError, StopSignal
from bench.training.alarms import Monitor, Window
from bench.training.log import TrainingLog
from bench.training.recipe import Recipe


@dataclass(frozen=True)
class _Sent:
    """The figures of one iteration, averaged over processes, on their way to the CPU."""

    done: int
    """The iteration's number, from 1."""
    names: list[str]
    values: Tensor
    """[F + 1], the last one above 0 if a process has received a signal to stop; of use once `arrived`."""
    arrived: torch.cuda.Event | None
    rate: float
    logged: bool

    def read(self) -> tuple[dict[str, float], bool]:
        """Wait for the figures; return them, and whether to stop. Raises DivergedError unless all are finite."""
        if self.arrived is not None:
            self.arrived.synchronize()
        *found, stop = self.values.tolist()
        figures = dict(zip(self.names, found, strict=True))
        bad = [f"{name} = {value}" for name, value in figures.items() if not math.isfinite(value)]
        if bad:
            raise DivergedError(f"training diverged at iteration {self.done}: {', '.join(bad)}")
        return figures, stop > 0


class FigureReader:
    """Sends the figures of each iteration from the device, reads them, watches and logs them."""

    def __init__(self, recipe: Recipe, accelerator: Accelerator, log: TrainingLog, stop: StopSignal) -> None:
        self.recipe = recipe
        self.accelerator = accelerator
        self.log = log
        self.stop = stop
        self.monitor = Monitor(recipe)
        self.stop_agreed = False
        """True once all processes know that one of them has received a signal to stop."""
        self._sent: list[_Sent] = []

    def send(self, done: int, figures: dict[str, Tensor], rate: float, logged: bool) -> None:
        """Average the figures of iteration number `done` over processes, and send them to the CPU.

        The same exchange lets several processes agree whether one of them received a signal to stop.
        """
        device, heard = self.accelerator.device, self.stop.heard is not None
        self.stop_agreed |= heard and self.accelerator.num_processes == 1
        asked = torch.full((), float(heard), device=device)
        # All figures leave the device in one transfer.
        stacked = torch.stack([*(f.detach().float().to(device) for f in figures.values()), asked])
        mean = self.accelerator.reduce(stacked, "mean")
        values, arrived = mean.to("cpu", non_blocking=mean.is_cuda), None
        if mean.is_cuda:
            arrived = torch.cuda.Event()
            arrived.record()
        self._sent.append(_Sent(done, [*figures], values, arrived, rate, logged))

    def read(self, bar: Bar, note: Callable[[str], None], late: bool) -> None:
        """Watch and log all figures that were sent; if `late`, all but those of the newest iteration.

        Raises DivergedError in all processes, whose figures are the same, if a figure is not finite or an alarm
        is to stop the run.
        """
        while len(self._sent) > late:
            sent = self._sent.pop(0)
            figures, stop = sent.read()
            self.stop_agreed |= stop
            window = self.monitor.add(sent.done, figures)
            if window or sent.logged:
                means = window.means if window else {}
                self.write({"iteration": sent.done, "lr": sent.rate, **figures, **means})
                bar.advance(0, **{name: value for name, value in figures.items() if name.startswith("loss/")})
            if window:
                self._tell(window, note)

    def refuse_divergence(self) -> None:
        """Raise DivergedError if a figure that was sent and not read is not finite."""
        for sent in self._sent:
            sent.read()

    def write(self, line: dict[str, float]) -> None:
        """Write a line to the log, in the first process."""
        if self.accelerator.is_main_process:
            self.log.write(line)

    def _tell(self, window: Window, note: Callable[[str], None]) -> None:
        """Tell which alarms begin and end with a window of iterations, and which have nothing to watch."""
        if self.accelerator.is_main_process:
            for sentence in (*window.blind, *window.begun, *window.ended):
                note(sentence)
        if window.begun and self.recipe.alarms == "stop":
            self.accelerator.wait_for_everyone()  # every process notes the alarms of a log that is whole
            raise DivergedError("; ".join(window.begun))
