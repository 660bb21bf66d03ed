"""The command that repeats a result or a run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from bench.runs.argv import cache_option
from bench.runs.plugins.files import FROM_FILE
from bench.runs.record import Record


def command_of(record: Record) -> str:
    """Return a command line for a shell that repeats a result with the same recipe, seed and protocol.

    A plug-in's method needs its file, of which the command has only the name. For published weights and given
    images it is the recorded command line, since the record does not know where they lie.
    """
    method = record.method
    # A task's own sampler is recorded with its name; published weights are not.
    named = record.sampler.get("name") == method.name
    if record.kind == "baseline" and record.checkpoint is not None and not named:
        return shlex.join(record.provenance.argv)
    from_file = method.plugin_sha256 or method.origin.startswith(FROM_FILE)  # a variant's file has no code
    plugins = [PurePath(method.origin.removeprefix(FROM_FILE)).name] if from_file else []
    return _command(
        record.kind, method.name, record.task, record.protocol, record.train_seed, method.passed, plugins
    )


def command_of_plan(plan: Mapping[str, Any]) -> str | None:
    """Return the command line that repeats a planned run, or None if the plan does not say what to run.

    The plan is of this machine, so plug-in files have their whole paths, and a cache elsewhere is named. What is
    no job's, such as an evaluation, is repeated by the command line itself.
    """
    argv = plan.get("argv")
    if isinstance(argv, list) and argv[:1] == ["bench"] and all(isinstance(word, str) for word in argv):
        return shlex.join(argv)
    name, task = plan.get("name"), plan.get("task")
    if not isinstance(name, str) or not isinstance(task, str):
        return None
    protocol, passed = (_mapping(plan.get(key)) for key in ("protocol", "passed"))
    job = _mapping(plan.get("job"))
    command = _command(
        str(plan.get("kind")), name, task, protocol, plan.get("seed"), passed, [*_mapping(job.get("plugins"))]
    )
    cache = job.get("cache")
    return command + cache_option(Path(cache)) if isinstance(cache, str) else command


def _command(
    kind: str,
    method: str,
    task: str,
    protocol: Mapping[str, Any],
    seed: int | None,
    passed: Mapping[str, Any],
    plugins: Sequence[str],
) -> str:
    """Return the command line; a protocol is named where it is not the task's own."""
    where, named = ["--task", task], protocol.get("name")
    if named and isinstance(named, str) and named != task:
        where += ["--protocol", named]
    files = [word for path in plugins for word in ("--plugin", path)]
    if kind == "baseline":
        return shlex.join(["bench", "eval", *where, "--sampler", method, *files])
    words = ["bench", "run", "--method", method, *where, "--seed", str(seed)]
    for key, value in passed.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    return shlex.join([*words, *files])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
