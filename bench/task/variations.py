"""Samplers of the teacher that differ from a declared one in some settings; their names say in which.

`teacher-ode+steps8+guidance2` is the task's sampler `teacher-ode` with 8 steps and guidance 2. Every command that
takes the name of a sampler takes such a name, so that a point of `bench sweep` can be repeated by its name alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.core.errors import UserError, listed, unknown, with_fix
from bench.task.declaration import Baseline

BETWEEN = "+"
_SETTING = re.compile(r"(steps|guidance|churn)(\d+(?:\.\d+)?)")


def variation(baselines: Mapping[str, Baseline], base: str, settings: Mapping[str, Any]) -> Baseline:
    """Return a sampler of a task with other settings, which are among solver, steps, guidance and churn.

    It is named after the task's sampler from which it differs in the fewest settings and in nothing else (the
    first of several), and is that one if it does not differ. Raises UserError for a sampler that the task does not
    have, and for a setting that the sampler does not have or cannot take.
    """
    declared = named_variation(baselines, base)
    for name, value in settings.items():
        _refuse(declared, name, value)
    try:
        made = declared.varied(settings)
    except ValueError as error:
        words = ", ".join(f"{name} {_text(value)}" for name, value in settings.items())
        raise UserError(
            f"sampler {base!r} cannot have {words}: {with_fix(error, 'give it other values')}"
        ) from None
    found = [one for known in baselines.values() if (one := _named_after(known, made))]
    if found:
        return min(found, key=lambda one: one.name.count(BETWEEN))
    raise UserError(f"no sampler of the task differs from {made} in steps, guidance, churn and solver alone")


def _named_after(known: Baseline, made: Baseline) -> Baseline | None:
    """Return a sampler under the name of a declared one with the settings that differ; None if more differs."""
    own = known.settings_by_name
    others = {name: value for name, value in made.settings_by_name.items() if value != own.get(name)}
    if not others.keys() <= own.keys() or others.get("solver", own["solver"]) not in known.solvers:
        return None
    try:
        same = known.varied(others)
    except ValueError:
        return None
    if type(same) is not type(made) or same.identity() != made.identity():
        return None
    if not others:
        return known
    words = ", ".join(f"{name} {_text(value)}" for name, value in others.items())
    name = BETWEEN.join([known.name, *(_part(name, value) for name, value in others.items())])
    return replace(made, name=name, summary=f"{known.name} with {words}")


def names_sampler(baselines: Mapping[str, Baseline], name: str) -> bool:
    """Say whether a name is of a sampler of the task, or has the form of a variation of one."""
    return name in baselines or name.partition(BETWEEN)[0] in baselines


def named_variation(baselines: Mapping[str, Baseline], name: str) -> Baseline:
    """Return the sampler of this name: a declared one, or a variation of one.

    Raises UserError if there is none, or if the name is not the one that `variation` gives it.
    """
    if name in baselines:
        return baselines[name]
    base, _, rest = name.partition(BETWEEN)
    if base not in baselines or not rest:
        raise unknown("sampler", name, baselines)
    settings: dict[str, Any] = {}
    for part in rest.split(BETWEEN):
        found = _SETTING.fullmatch(part)
        key, value = (found[1], found[2]) if found else ("solver", part)
        if key in settings:
            raise UserError(f"sampler {name!r} names {key} twice; fix: name it once")
        settings[key] = value if key == "solver" else _number(key, value)
    made = variation(baselines, base, settings)
    if made.name != name:
        raise UserError(f"the name of the sampler {name!r} is {made.name!r}; fix: write it so")
    return made


def _refuse(declared: Baseline, name: str, value: Any) -> None:
    """Raise UserError for a setting that a sampler does not have, or a value that none can have."""
    own = declared.settings_by_name
    if name not in own:
        raise UserError(f"sampler {declared.name!r} has no {name}; it has {listed(own)}; fix: leave out --{name}")
    if name == "solver" and value not in declared.solvers:
        raise unknown(f"solver of sampler {declared.name!r}:", str(value), declared.solvers)
    if name == "steps" and (type(value) is not int or value < 1):
        raise UserError(f"steps are whole numbers from 1 on, not {_text(value)}; fix: --steps 1,2,4,8")
    if name in ("guidance", "churn") and value < 0:
        raise UserError(f"{name} is 0 or more, not {_text(value)}; fix: --{name} 0:4:1")


def _number(key: str, text: str) -> int | float:
    return int(text) if key == "steps" and text.isdigit() else float(text)


def _part(name: str, value: Any) -> str:
    return str(value) if name == "solver" else f"{name}{_text(value)}"


def _text(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)
