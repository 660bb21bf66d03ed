"""Time the start of commands, and of a run until its training begins.

    python benchmarks/startup.py [--rounds 15]
    python benchmarks/startup.py --cache FOLDER [--rounds 5] [--no-byte-code]

Without --cache, `bench list` and `bench describe` are compared with a bare Typer app. Each command runs in a new
interpreter, in turn. The ratio of CPU seconds (user + system, medians) does not depend on the load of the machine.

With --cache, a folder in which `digits` is prepared, `bench run` is timed from its start to the first iteration of
training: the CPU seconds of all its processes at that moment, and the clock.

The commands find byte code, as they do where pip has installed the packages: the first round is not counted and
writes it into a folder of this script. With --no-byte-code every process compiles all that it imports, as it does
where PYTHONDONTWRITEBYTECODE is set.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

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


def tree_seconds(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and all its descendants, including those that have ended."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def seconds_to_training(cache: Path, runs: Path) -> tuple[float, float]:
    """Run dmd2 on `digits` until its training begins; return CPU seconds of all processes, and clock seconds."""
    where = ["--runs", str(runs), "--cache", str(cache)]
    begun = time.monotonic()
    command = psutil.Popen([sys.executable, "-m", "bench", "run", "--no-baselines", *where])
    try:
        while True:
            for path in runs.glob("digits/*/status.json"):
                if '"stage": "training"' in path.read_text(encoding="utf-8"):
                    return tree_seconds(command), time.monotonic() - begun
            if command.poll() is not None:
                raise SystemExit(f"bench run ended with code {command.returncode} before it trained")
            time.sleep(0.02)
    finally:
        command.terminate()
        command.wait()


def time_runs(cache: Path, rounds: int) -> None:
    """Print the time of `bench run` until it trains, as the median over rounds."""
    found = []
    for round_ in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            taken = seconds_to_training(cache, Path(folder))
        if round_:
            found.append(taken)
    cpu, clock = (statistics.median(column) for column in zip(*found, strict=True))
    print(f"bench run to its first iteration: {cpu:.1f} s of CPU, {clock:.1f} s of the clock")


def main() -> None:
    """Time all commands in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cache", type=Path, help="a cache in which digits is prepared: times bench run")
    parser.add_argument("--no-byte-code", action="store_true", help="let every process compile what it imports")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.no_byte_code:
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        else:
            os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
            os.environ["PYTHONPYCACHEPREFIX"] = folder
        if options.cache is not None:
            time_runs(options.cache, options.rounds)
            return
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
                if round_:
                    seconds[name].append(taken)
    base = statistics.median(seconds["bare Typer app"])
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(f"{name:<36}{middle:7.3f} s  {middle / base:5.2f}x")


if __name__ == "__main__":
    main()
