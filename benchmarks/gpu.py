"""Measure everything that a GPU decides, in under eight minutes: training, evaluation, and whether bits repeat.

    python benchmarks/gpu.py [--json gpu.json] [--parts imagenet,determinism]      # one GPU of 141 GB
    python benchmarks/gpu.py --tiny                                                # the same parts on a CPU

Each part is one of the scripts beside this one, a process of its own with a time limit. Output is shown as it
comes, and kept in the JSON file, which is written again after each part.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Part:
    """A script with its arguments on a GPU and on a CPU."""

    script: str
    full: str
    tiny: str
    limit: int
    """Seconds after which it is stopped on a GPU; on a CPU, ten times as many."""


PARTS: Mapping[str, Part] = {
    "imagenet": Part(
        "imagenet_training.py",
        "--full --batch 40 --precision bf16 --blocks 3 "
        "--variants 'independent draws;shared draws;bf16 weights;bf16 weights, shared draws'",
        "--blocks 1 --variants 'independent draws;bf16 weights'",
        80,
    ),
    "evaluation": Part("evaluation.py", "--full --images 2000 --batch 200", "--images 8 --batch 8", 40),
    "sdxl": Part(
        "text_training.py", "--batches 4 --blocks 2 --variants 0,4", "--tiny --blocks 1 --variants 0,4", 80
    ),
    "sdxl-lora": Part(
        "text_training.py",
        "--lora --batches 4 --blocks 2 --variants 0,4",
        "--tiny --lora --blocks 1 --variants 0,4",
        80,
    ),
    "determinism": Part("determinism.py", "", "--iterations 100", 80),
    "flow": Part("flow_training.py", "--blocks 1", "--tiny --blocks 1", 60),
    "imagenet-compiled": Part(
        "imagenet_training.py",
        "--full --batch 40 --precision bf16 --blocks 2 --variants 'bf16 weights, shared draws, compiled blocks'",
        "--blocks 1 --variants 'shared draws'",
        60,
    ),
}


@dataclass(frozen=True)
class Measured:
    """What a part has printed."""

    arguments: list[str]
    seconds: float
    ended: str
    """`ok`, `stopped after N seconds` or `exit code N`."""
    output: list[str]


def run(part: Part, tiny: bool) -> Measured:
    """Run a part; show and keep its output."""
    arguments = [part.script, *shlex.split(part.tiny if tiny else part.full)]
    limit_s = part.limit * (10 if tiny else 1)
    begun, lines = time.monotonic(), []
    child = subprocess.Popen(
        [sys.executable, *arguments], cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    limit = threading.Timer(limit_s, child.kill)
    limit.start()
    assert child.stdout is not None
    for line in child.stdout:
        lines.append(line.rstrip())
        print(f"  {lines[-1]}", flush=True)
    code = child.wait()
    seconds = time.monotonic() - begun
    limit.cancel()
    stopped = code < 0 and seconds >= limit_s
    ended = "ok" if code == 0 else f"stopped after {limit_s} seconds" if stopped else f"exit code {code}"
    return Measured(arguments, round(seconds, 1), ended, lines)


def main() -> None:
    """Run the parts one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="the file of the results")
    parser.add_argument("--tiny", action="store_true", help="on a CPU, with small networks")
    options = parser.parse_args()
    names = options.parts.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    found: dict[str, dict[str, object]] = {}
    for name in names:
        print(f"{name}:", flush=True)
        measured = run(PARTS[name], options.tiny)
        print(f"  {measured.ended}, {measured.seconds} s", flush=True)
        found[name] = asdict(measured)
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if any(one["ended"] != "ok" for one in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
