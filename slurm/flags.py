"""Flags of sbatch and srun that a profile gives as they are; those that the submission relies upon are refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from bench.core.escape import printable

Flags = dict[str, str | bool]
"""Values by long flag name without dashes: true for a flag without a value, false to omit the flag."""

_PROFILE = "fix: set {} in the profile, above its tables"
_BENCH = "fix: remove it; bench sets it itself"
_GPUS = "fix: set gpus_per_node in the profile; each process takes one GPU"

RESERVED = {
    **{name: _PROFILE.format(name) for name in ("partition", "account", "qos", "constraint")},
    "time": _PROFILE.format("max_hours"),
    "nodes": _PROFILE.format("max_nodes"),
    "signal": _PROFILE.format("signal_seconds"),
    **dict.fromkeys(("ntasks", "ntasks-per-node", "ntasks-per-gpu"), _GPUS),
    "clusters": "fix: export SLURM_CLUSTERS, which all of Slurm's commands read",
    **dict.fromkeys(("array", "dependency", "hold", "job-name", "output", "error", "open-mode"), _BENCH),
    **dict.fromkeys(("parsable", "quiet", "test-only", "wait", "wrap", "help", "usage", "version"), _BENCH),
}
"""Flags of sbatch that a profile can't give, and what to do: without these the submission would lose its jobs."""
RESERVED_SRUN = {
    **dict.fromkeys(("output", "error", "test-only", "pty", "multi-prog", "help", "usage", "version"), _BENCH),
    **dict.fromkeys(("ntasks", "ntasks-per-node"), _GPUS),
    "nodes": RESERVED["nodes"],
}
_SHORT_SRUN = {"o": "output", "e": "error", "n": "ntasks", "N": "nodes", "h": "help", "V": "version"}

REPLACED = {
    **dict.fromkeys(("mem-per-cpu", "mem-per-gpu"), "mem"),
    **dict.fromkeys(("gpus", "gpus-per-task", "gpus-per-socket"), "gpus-per-node"),
    "cpus-per-gpu": "cpus-per-task",
    "no-requeue": "requeue",
}
"""Flags that sbatch does not take together: a profile's replaces ours."""


def sbatch_flags(table: Mapping[str, object]) -> Flags:
    """Read a table of sbatch's flags: `mail-type = ["END", "FAIL"]`, `nice = 100`, `exclusive = true`.

    Raises ValueError that names the flag and what to do.
    """
    found: Flags = {}
    for key, value in table.items():
        name = key.removeprefix("--").replace("_", "-")
        if not re.fullmatch(r"[a-z][a-z0-9-]+", name):
            raise ValueError(f"{printable(key)!r} is no flag of sbatch; fix: write its long name, such as comment")
        _refuse_reserved(name, RESERVED)
        if name in found:
            raise ValueError(f"{name!r} is given twice; fix: remove one")
        found[name] = _value(name, value)
    return found


def srun_arguments(arguments: Sequence[str]) -> tuple[str, ...]:
    """Check arguments of srun, such as `["--mpi=pmix", "--container-image=/images/bench.sqsh"]`.

    Raises ValueError that names the argument and what to do.
    """
    takes_value = False
    for argument in arguments:
        _require_line("srun", argument)
        if argument == "--" or (not argument.startswith("-") and not takes_value):
            raise ValueError(f"srun would take {argument!r} for the command; fix: write it as --flag=value")
        if argument.startswith("--"):
            _refuse_reserved(argument[2:].partition("=")[0], RESERVED_SRUN)
        elif argument.startswith("-"):
            _refuse_reserved(_SHORT_SRUN.get(argument[1:2], ""), RESERVED_SRUN)
        takes_value = argument.startswith("-") and "=" not in argument
    return tuple(arguments)


def merged(own: Flags, given: Flags) -> Flags:
    """Return a submission's own flags with those of a profile, which replace what they go against."""
    gone = {REPLACED[name] for name, value in given.items() if name in REPLACED and value is not False}
    if re.search(r"(^|,)(gres[:/])?gpu\b", str(given.get("gres", ""))):
        gone.add("gpus-per-node")
    kept = {name: value for name, value in own.items() if name not in gone}
    return {name: value for name, value in {**kept, **given}.items() if value is not False}


def _value(name: str, value: object) -> str | bool:
    """A flag's value as sbatch reads it. Raises ValueError."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _require_line(name, value)
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list) and value and all(isinstance(one, str | int) for one in value):
        return _require_line(name, ",".join(map(str, value)))
    raise ValueError(f"{name!r} is {printable(value)}; fix: give text, a number, true, false or a list of texts")


def _require_line(name: str, value: str) -> str:
    """Raise ValueError if a value is not one line of text: in a batch script, a second one would be a command."""
    if printable(value) != value:
        raise ValueError(f"{name!r} has a control character: {printable(value)!r}; fix: write one line")
    return value


def _refuse_reserved(name: str, reserved: Mapping[str, str]) -> None:
    """Raise ValueError for a flag that is ours, or for an abbreviation of one, which Slurm takes as well."""
    if not name:
        return
    if name in reserved:
        raise ValueError(f"--{name} is not for this table; {reserved[name]}")
    whole = _first(one for one in reserved if one.startswith(name))
    if whole is not None:
        raise ValueError(f"--{name} abbreviates --{whole}, which is not for this table; {reserved[whole]}")


def _first(names: Iterable[str]) -> str | None:
    return next(iter(names), None)
