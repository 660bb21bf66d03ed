"""DMD2 that waits in the middle of its training until a test has done what it came for; two that raise and hang.

Where BENCH_TEST_GATE names a folder, two iterations leave a file there that is named by the array's index, the
iteration and the restart, and holds the process's number. They go on when a file INDEX-go appears, or at a signal.
"""

import os
import signal
import time
from pathlib import Path

from torch import Tensor

from bench.training.distiller import Batch
from methods.dmd import DMD
from methods.recipes import DMDRecipe

GATES = (9, 15)


class Gated(DMD):
    """DMD2 that waits."""

    name = "gated"
    recipe_model = DMDRecipe

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        figures = super().training_step(batch)
        if batch.iteration in GATES and "BENCH_TEST_GATE" in os.environ:
            _wait(Path(os.environ["BENCH_TEST_GATE"]), batch.iteration)
        return figures


class Raising(DMD):
    """DMD2 with a mistake in it."""

    name = "raising"
    recipe_model = DMDRecipe

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        if batch.iteration == GATES[0]:
            raise RuntimeError("a mistake of the plug-in")
        return super().training_step(batch)


class Hanging(DMD):
    """DMD2 whose iteration 9 never ends after gradients were exchanged, in the process BENCH_TEST_HANGS or in all.

    It catches whatever would end it if BENCH_TEST_CATCHES is set.
    """

    name = "hanging"
    recipe_model = DMDRecipe

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        figures = super().training_step(batch)
        rank = os.environ.get("RANK", "0")
        if batch.iteration == GATES[0] and os.environ.get("BENCH_TEST_HANGS", rank) == rank:
            gate = Path(os.environ["BENCH_TEST_GATE"])
            gate.joinpath(".0").write_text(str(os.getpid()))
            gate.joinpath(".0").rename(gate / "0-9-0")
            while True:
                try:
                    time.sleep(0.05)
                except BaseException:
                    if "BENCH_TEST_CATCHES" not in os.environ:
                        raise
        return figures


def _wait(folder: Path, iteration: int) -> None:
    index, restart = os.environ.get("SLURM_ARRAY_TASK_ID", "0"), os.environ.get("SLURM_RESTART_COUNT", "0")
    (folder / f".{index}").write_text(str(os.getpid()))
    (folder / f".{index}").rename(folder / f"{index}-{iteration}-{restart}")
    listener = signal.getsignal(signal.SIGTERM).__self__  # type: ignore[union-attr]
    while listener.heard is None and not (folder / f"{index}-go").exists():
        time.sleep(0.05)
