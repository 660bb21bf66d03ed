"""Compare two runs, and one that is killed and resumed, bit by bit, with and without deterministic kernels.

    python benchmarks/determinism.py [--iterations 200] [--method dmd-ttur] [--task digits]

Each run is a `bench run` of its own, on the GPU if there is one. Equal bits are an equal SHA-256 of the student's
weights; FD and seconds of training stand beside. The task is prepared first, if it is not yet.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench.core.run_folder import METRICS, RECORD
from bench.runs.records import read_record
from bench.training.log import read_lines

TIMEOUT = 600.0
"""Seconds after which a run that shall be killed is given up."""


class Outcome(NamedTuple):
    """The end of a run."""

    sha256: str
    fd: float
    seconds: float


def command(options: argparse.Namespace, runs: Path, deterministic: bool) -> list[str]:
    """Return the command of one run."""
    values = {"iterations": options.iterations, "deterministic": str(deterministic).lower()}
    settings = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    named = ["--method", options.method, "--task", options.task, "--runs", str(runs), "--no-baselines"]
    return [sys.executable, "-m", "bench", "run", *named, *settings]


def outcome(runs: Path) -> Outcome:
    """Read the only record below a folder."""
    (path,) = runs.glob(f"*/*/{RECORD}")
    record = read_record(path)
    if record.checkpoint is None:
        raise SystemExit(f"the run failed: {record.error}")
    return Outcome(record.checkpoint.sha256, record.metrics[0].value or 0.0, record.cost.train_seconds or 0.0)


def kill_halfway(arguments: list[str], runs: Path, iterations: int) -> None:
    """Start a run and kill it with signal 9 when half of its iterations are logged."""
    child = subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    begun = time.monotonic()
    while time.monotonic() - begun < TIMEOUT and child.poll() is None:
        logged = [read_lines(path) for path in runs.glob(f"*/*/{METRICS}")]
        if any(lines and int(lines[-1]["iteration"]) >= iterations // 2 for lines in logged):
            break
        time.sleep(0.05)
    if child.poll() is not None:
        raise SystemExit("the run ended before it could be killed; fix: more --iterations")
    subprocess.run(["pkill", "-KILL", "-s", str(child.pid)], check=False)
    child.send_signal(signal.SIGKILL)
    child.wait()


def main() -> None:
    """Run all, and print which have the same bits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--method", default="dmd-ttur")
    parser.add_argument("--task", default="digits")
    options = parser.parse_args()
    subprocess.run([sys.executable, "-m", "bench", "prepare", "--task", options.task], check=True)
    found: dict[str, dict[str, Outcome]] = {}
    for deterministic in (False, True):
        name = f"deterministic={str(deterministic).lower()}"
        found[name] = {}
        for which in ("first", "second", "killed and resumed"):
            with tempfile.TemporaryDirectory() as folder:
                arguments = command(options, Path(folder), deterministic)
                if which == "killed and resumed":
                    kill_halfway(arguments, Path(folder), options.iterations)
                subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
                found[name][which] = one = outcome(Path(folder))
            same = one.sha256 == found[name]["first"].sha256
            print(
                f"{name}  {which:<20}{one.sha256[:12]}  FD {one.fd:.6f}  {one.seconds:.1f} s  "
                f"{'the same bits' if same else 'other bits'}",
                flush=True,
            )
    print(
        json.dumps({name: {which: one._asdict() for which, one in runs.items()} for name, runs in found.items()})
    )


if __name__ == "__main__":
    main()
