"""Measure everything that a GPU decides, in under nine minutes: training, evaluation, and whether bits repeat.

    python benchmarks/gpu.py [--json gpu.json] [--parts imagenet,determinism]      # one GPU of 141 GB
    python benchmarks/gpu.py --parts imagenet-compiled --limit 300                 # one part, with more time
    python benchmarks/gpu.py --tiny                                                # the same parts on a CPU

Each part is one of the scripts beside this one, a process of its own with a time limit; the most important ones
come first. At its limit a part ends with all processes below it. What remains of the whole budget limits the later
parts. Output is shown as it comes. The JSON file has it, too, with the numbers of each row that is printed; it is
written again every second, so it is there however this script ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, NoReturn

from process_trees import adopt_orphans, kill_below
from rows import ROWS, read_rows

from bench.core.files import write_text

HERE = Path(__file__).parent
BUDGET = 530
"""Seconds of all parts together."""
SHORTEST = 15.0
"""Seconds below which a part isn't begun."""
CPU = 10
"""How many times as long everything may take on a CPU."""


@dataclass(frozen=True)
class Part:
    """A script with its arguments on a GPU and on a CPU."""

    script: str
    full: str
    tiny: str
    limit: float
    """Seconds after which it is stopped on a GPU."""


IMAGENET = "--full --batch 40 --precision bf16 --blocks 2"
COMPILED = "bf16 weights, shared draws, compiled blocks"
PARTS: Mapping[str, Part] = {
    "start": Part("start.py", "", "", 90),
    "imagenet": Part(
        "imagenet_training.py",
        f"{IMAGENET} --variants 'independent draws;shared draws;bf16 weights;bf16 weights, shared draws;"
        "bf16 weights, shared draws, cudnn.benchmark;bf16 weights, shared draws, channels_last'",
        "--tiny --blocks 1 --variants 'independent draws;bf16 weights;bf16 weights, shared draws, channels_last'",
        110,
    ),
    "determinism": Part("determinism.py", "", "--iterations 100", 150),
    "evaluation": Part("evaluation.py", "--full --images 800 --batch 200", "--images 2 --batch 2", 60),
    "sdxl": Part(
        "text_training.py",
        "--batches 4 --blocks 1 --variants 0,4 --repetitions 4",
        "--tiny --variants 0,4",
        100,
    ),
    "sdxl-lora": Part(
        "text_training.py",
        "--lora --batches 4 --blocks 1 --variants 0,4 --repetitions 4",
        "--tiny --lora --variants 0,4",
        80,
    ),
    "flow": Part("flow_training.py", "--blocks 1", "--tiny --blocks 1", 70),
    "imagenet-compiled": Part(
        "imagenet_training.py",
        f"{IMAGENET} --variants '{COMPILED}'",
        "--tiny --blocks 1 --variants 'shared draws'",
        120,
    ),
}


@dataclass(frozen=True)
class Measured:
    """What a part has printed."""

    arguments: list[str]
    limit: float
    seconds: float
    ended: str
    """`running`, `ok`, `stopped after N seconds`, `interrupted`, `exit code N` or `not begun`."""
    rows: list[dict[str, object]]
    """The numbers of what it has printed."""
    output: list[str]


def _copy(source: IO[str], lines: list[str]) -> None:
    """Show and keep what a process prints."""
    for line in source:
        lines.append(line.rstrip())
        print(f"  {lines[-1]}", flush=True)


def run(arguments: list[str], limit: float, keep: Callable[[Measured], None]) -> Measured:
    """Run a script until it ends or `limit` seconds are over; hand what it has printed to `keep` meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        rows, lines, begun = Path(folder) / "rows.jsonl", list[str](), time.monotonic()

        def measured(ended: str) -> Measured:
            return Measured(
                arguments, limit, round(time.monotonic() - begun, 1), ended, read_rows(rows), list(lines)
            )

        child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=HERE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, ROWS: str(rows)},
        )
        assert child.stdout is not None
        reader = threading.Thread(target=_copy, args=(child.stdout, lines), daemon=True)
        reader.start()
        ended = "interrupted"
        try:
            while (code := child.poll()) is None and time.monotonic() - begun < limit:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=min(1.0, max(0.0, limit - (time.monotonic() - begun))))
                keep(measured("running"))
            stopped = f"stopped after {limit:.0f} seconds"
            ended = stopped if code is None else "ok" if code == 0 else f"exit code {code}"
        finally:
            with contextlib.suppress(TimeoutError, subprocess.TimeoutExpired):
                kill_below(os.getpid())  # also what it has left behind, which may hold the GPU
                child.wait(timeout=10)
            reader.join(timeout=10)
            keep(measured(ended))
        return measured(ended)


def run_parts(names: list[str], parts: Mapping[str, Part], tiny: bool, budget: float, file: Path) -> bool:
    """Run parts one after the other, and write the file meanwhile; return whether all of them ended well."""
    found: dict[str, Measured] = {}

    def keep(name: str, measured: Measured) -> None:
        found[name] = measured
        write_text(file, json.dumps({key: asdict(one) for key, one in found.items()}, indent=2) + "\n")

    begun = time.monotonic()
    for name in names:
        part, left = parts[name], budget - (time.monotonic() - begun)
        arguments, limit = [part.script, *shlex.split(part.tiny if tiny else part.full)], min(part.limit, left)
        if left < SHORTEST:
            print(f"{name}: not begun, since the budget of {budget:.0f} s is over", flush=True)
            keep(name, Measured(arguments, 0, 0, "not begun", [], []))
            continue
        print(f"{name} (at most {limit:.0f} s):", flush=True)
        measured = run(arguments, limit, lambda measured, name=name: keep(name, measured))  # type: ignore[misc]
        left = budget - (time.monotonic() - begun)
        print(f"  {measured.ended}, {measured.seconds} s; {left:.0f} s of the budget are left", flush=True)
    return all(one.ended == "ok" for one in found.values())


def _terminated(number: int, _: object) -> NoReturn:
    """End as by Ctrl-C, with everything that was started."""
    raise SystemExit(128 + number)


def main() -> None:
    """Run the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="the file of the results")
    parser.add_argument("--limit", type=float, help="seconds of each part, instead of its own")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of all parts together")
    parser.add_argument("--tiny", action="store_true", help="on a CPU, with small networks and ten times as long")
    options = parser.parse_args()
    names = options.parts.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    longer = CPU if options.tiny else 1
    parts = {name: replace(part, limit=options.limit or part.limit * longer) for name, part in PARTS.items()}
    adopt_orphans()
    signal.signal(signal.SIGTERM, _terminated)
    if not run_parts(names, parts, options.tiny, options.budget * longer, options.json.absolute()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
