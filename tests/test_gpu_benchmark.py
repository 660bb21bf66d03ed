"""`benchmarks/gpu.py`: each part ends at its limit with all its processes, and what it has printed is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SLEEPER = "import subprocess, sys; subprocess.Popen(['sleep', '{seconds}'], start_new_session={apart})"
"""A Python program that leaves a process behind, which has its standard output."""
RUNNER = """
import json, sys
from pathlib import Path
from gpu import Part, run_parts
from process_trees import adopt_orphans
adopt_orphans()
parts = {name: Part(script, '', '', limit) for name, (script, limit) in json.loads(sys.argv[1]).items()}
print(run_parts(list(parts), parts, False, float(sys.argv[2]), Path(sys.argv[3])))
"""


def run_parts(folder: Path, budget: float, **parts: tuple[str, float]) -> tuple[bool, dict[str, Any]]:
    """Run programs as parts with limits; return whether all ended well, and the JSON file."""
    named = {}
    for name, (program, limit) in parts.items():
        script = folder / f"{name}.py"
        script.write_text(program)
        named[name] = (str(script), limit)
    file = folder / "found.json"
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, json.dumps(named), str(budget), str(file)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)])},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.splitlines()[-1] == "True", json.loads(file.read_text())


def sleeping(seconds: str) -> list[Path]:
    """Return the processes that sleep so many seconds."""
    wanted = f"sleep\0{seconds}\0"
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path] * (path.read_text() == wanted)
        except OSError:
            continue  # it has ended
    return found


@pytest.mark.parametrize("apart", [False, True])
def test_a_part_that_exceeds_its_limit_ends_with_the_processes_below_it(tmp_path: Path, apart: bool) -> None:
    seconds = f"8{int(apart)}.{os.getpid()}"
    program = f"""
from rows import show
show("a row", variant="a", seconds=1.5)
import subprocess, sys
subprocess.run([sys.executable, "-c", {SLEEPER.format(seconds=seconds, apart=apart)!r} + ".wait()"])
"""
    begun = time.monotonic()
    well, found = run_parts(tmp_path, 60, slow=(program, 4), after=("print('after')", 30))
    assert time.monotonic() - begun < 60
    assert not well
    assert found["slow"]["ended"] == "stopped after 4 seconds"
    assert found["slow"]["output"] == ["a row"]
    assert found["slow"]["rows"] == [{"variant": "a", "seconds": 1.5}]
    assert found["after"]["ended"] == "ok"
    assert sleeping(seconds) == []


def test_what_a_part_leaves_behind_is_ended_too(tmp_path: Path) -> None:
    seconds = f"82.{os.getpid()}"
    begun = time.monotonic()
    well, found = run_parts(tmp_path, 60, orphan=(SLEEPER.format(seconds=seconds, apart=True), 50))
    assert well
    assert found["orphan"]["ended"] == "ok"
    assert time.monotonic() - begun < 50
    assert sleeping(seconds) == []


def test_a_failing_part_does_not_end_the_others(tmp_path: Path) -> None:
    well, found = run_parts(tmp_path, 60, failing=("raise SystemExit(3)", 30), after=("print('after')", 30))
    assert not well
    assert {name: part["ended"] for name, part in found.items()} == {"failing": "exit code 3", "after": "ok"}


def test_no_part_begins_when_the_budget_is_over(tmp_path: Path) -> None:
    well, found = run_parts(tmp_path, 5, late=("print('never')", 30))
    assert not well
    assert (found["late"]["ended"], found["late"]["output"]) == ("not begun", [])
