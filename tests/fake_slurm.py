"""A Slurm in one file, for tests of what is submitted: it takes jobs, starts none, and has a submit limit.

It is sbatch, squeue, scontrol, scancel and srun; its state is a JSON file that tests change.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

REFUSAL = """\
sbatch: error: {limit}
sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size \
and/or time limits)
"""


class FakeSlurm:
    """What tests see of it."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.path = folder / "slurm.json"
        self._write({"last": 1000, "limit": limit, "says": "QOSMaxSubmitJobPerUserLimit", "jobs": {}, "calls": []})
        for name in ("sbatch", "squeue", "scontrol", "scancel", "srun"):
            script = folder / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{__file__}" "{self.path}" {name} "$@"\n')
            script.chmod(0o755)

    @property
    def jobs(self) -> dict[str, dict[str, str]]:
        """Name and reason of each job, by number; elements of arrays one by one."""
        found: dict[str, dict[str, str]] = self._read()["jobs"]
        return found

    def calls(self, name: str) -> int:
        """How often a command was called."""
        return int(self._read()["calls"].count(name))

    def change(self, **changes: Any) -> None:
        """Change its state: jobs, limit, what it says when that is reached, or (`alone`) of any job within it."""
        self._write({**self._read(), **changes})

    def end(self, count: int) -> None:
        """Let so many jobs end, the oldest first."""
        self.change(jobs=dict(list(self.jobs.items())[count:]))

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.read_text())
        return found

    def _write(self, state: dict[str, Any]) -> None:
        self.path.write_text(json.dumps(state))


def _sbatch(state: dict[str, Any], arguments: list[str]) -> str:
    text = Path(arguments[-1]).read_text()
    array = re.search(r"^#SBATCH --array=0-(\d+)", text, re.MULTILINE)
    count = int(array[1]) + 1 if array else 1
    if len(state["jobs"]) + count > state["limit"]:
        sys.stderr.write(REFUSAL.format(limit=state["says"]))
        raise SystemExit(1)
    if "alone" in state:
        sys.stderr.write(f"sbatch: error: {state['alone']}\n")
        raise SystemExit(1)
    if "--test-only" in arguments:
        return ""
    state["last"] += 1
    name = re.search(r"^#SBATCH --job-name=(.*)", text, re.MULTILINE)
    job = {"name": name[1] if name else "", "reason": "JobHeldUser" if "#SBATCH --hold" in text else "None"}
    for k in range(count):
        state["jobs"][f"{state['last']}_{k}" if array else str(state["last"])] = job
    return f"Submitted batch job {state['last']}\n"


def _scontrol(state: dict[str, Any], arguments: list[str]) -> str:
    if arguments[0] == "release":
        for number, job in state["jobs"].items():
            if number.partition("_")[0] in arguments[1].split(","):
                job["reason"] = "None"
    return "MaxArraySize            = 1001\n"


def _scancel(state: dict[str, Any], arguments: list[str]) -> str:
    state["jobs"] = {
        number: job
        for number, job in state["jobs"].items()
        if not {number, number.partition("_")[0]} & set(arguments)
    }
    return ""


def _squeue(state: dict[str, Any], _: list[str]) -> str:
    return "".join(f"{number}|{job['name']}|PENDING|{job['reason']}|\n" for number, job in state["jobs"].items())


if __name__ == "__main__":
    file, command = Path(sys.argv[1]), sys.argv[2]
    now = json.loads(file.read_text())
    now["calls"].append(command)
    try:
        does = {"sbatch": _sbatch, "scontrol": _scontrol, "scancel": _scancel, "squeue": _squeue}
        sys.stdout.write(does[command](now, sys.argv[3:]))
    finally:
        file.write_text(json.dumps(now))
