"""How long `bench list` and `bench describe` take to start, against a bare Typer app in the same run.

    python benchmarks/startup.py [--rounds 15]

Each command runs in a fresh interpreter, in turn; the ratio of CPU seconds (user + system, medians) is what
a busy machine does not change.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BARE = """
import typer
app = typer.Typer()
@app.command()
def first(name: str = "x") -> None:
    print(name)
@app.command()
def second() -> None:
    print("y")
app()
"""


def cpu_seconds(command: list[str]) -> float:
    """Run a command and return the CPU seconds it took."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def main() -> None:
    """Time all commands in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE, encoding="utf-8")
        bench = [sys.executable, "-m", "bench"]
        commands = {
            "bare Typer app": [sys.executable, str(bare), "first"],
            "bench list": [*bench, "list"],
            "bench describe dmd2 --task fashion": [*bench, "describe", "dmd2", "--task", "fashion"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for round_ in range(options.rounds + 1):
            for name, command in commands.items():
                taken = cpu_seconds(command)
                if round_:  # the first round writes byte code
                    seconds[name].append(taken)
    base = statistics.median(seconds["bare Typer app"])
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(f"{name:<36}{middle:7.3f} s  {middle / base:5.2f}x")


if __name__ == "__main__":
    main()
