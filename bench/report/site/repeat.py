"""The command that repeats a recorded result."""

from __future__ import annotations

import json
import shlex
from pathlib import PurePath

from bench.runs.records import Record


def command_of(record: Record) -> str:
    """Return a command line for a shell that repeats a result with the same recipe, seed and protocol.

    A plug-in's method needs its file, of which the command has only the name. For published weights it is the
    recorded command line, since the record does not know where they lie.
    """
    method, protocol = record.method, record.protocol.get("name")
    if record.kind == "baseline" and record.checkpoint is not None:
        return shlex.join(record.provenance.argv)
    task = ["--task", record.task]
    if protocol and protocol != record.task:
        task += ["--protocol", protocol]
    if record.kind == "baseline":
        return shlex.join(["bench", "eval", *task, "--sampler", method.name])
    words = ["bench", "run", "--method", method.name, *task, "--seed", str(record.train_seed)]
    for key, value in method.passed.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    if method.plugin_sha256:
        words += ["--plugin", PurePath(method.origin).name]
    return shlex.join(words)
