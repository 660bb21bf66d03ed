"""The command that repeats a result or a run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from bench.core.escape import shell_path
from bench.runs.argv import cache_option
from bench.runs.plan import Planned
from bench.runs.plugins.files import FROM_FILE
from bench.runs.record import Record
from bench.training.cadence import VALIDATIONS


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
    from_file = method.origin.startswith(FROM_FILE)
    plugins = [PurePath(method.origin.removeprefix(FROM_FILE)).name] if from_file else []
    return _command(
        record.kind, method.name, record.task, record.protocol, record.train_seed, method.passed, plugins
    )


def command_of_plan(plan: Mapping[str, Any]) -> str | None:
    """Return the command line that repeats a planned run, or None if the plan does not say what to run.

    The plan is of this machine, so the command has the places of files and the other options of the run's job.
    What is no job's, such as an evaluation, is repeated by the command line itself.
    """
    argv = plan.get("argv")
    if isinstance(argv, list) and argv[:1] == ["bench"] and all(isinstance(word, str) for word in argv):
        return shlex.join(argv)
    name, task = plan.get("name"), plan.get("task")
    if not isinstance(name, str) or not isinstance(task, str):
        return None
    protocol, passed = (_mapping(plan.get(key)) for key in ("protocol", "passed"))
    job = _mapping(plan.get("job"))
    kind = str(plan.get("kind"))
    command = _command(kind, name, task, protocol, plan.get("seed"), passed, [*_mapping(job.get("plugins"))])
    return command + _job_options(job, trained=kind != "baseline")


def _job_options(job: Mapping[str, Any], trained: bool) -> str:
    """Return the options of a command for what a job was told beside its plan, each after a blank."""
    cache, data, threads = job.get("cache"), job.get("data"), job.get("threads", 1)
    words = ["--no-baselines"] * trained
    words += ["--data", str(data)] if data else []
    words += ["--download"] if job.get("download") else []
    words += ["--threads", str(threads)] if threads != 1 else []
    words += [word for kind in job.get("keep") or () for word in ("--keep", str(kind))]
    if trained:
        words += [word for name in job.get("track") or () for word in ("--track", str(name))]
        validations = job.get("validations", VALIDATIONS)
        words += ["--validations", str(validations)] if validations != VALIDATIONS else []
    return "".join(f" {shlex.quote(word)}" for word in words) + (cache_option(Path(cache)) if cache else "")


def keeping_command(planned: Planned, keep: Collection[str]) -> str:
    """Return what makes a finished run keep images or features: its student is measured again, a sampler anew."""
    folder = shell_path(planned.folder)
    if planned.kind != "method":
        return f"rm -r {folder}, and run again"
    protocol = planned.task.protocol.name
    named = f" --protocol {shlex.quote(protocol)}" if protocol != planned.task.name else ""
    return f"bench eval {planned.task.called}{named} --checkpoint {folder} --keep {','.join(keep)}"


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
