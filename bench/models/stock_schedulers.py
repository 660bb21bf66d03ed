"""Schedulers of diffusers: which of them sample the network that another one was published with.

diffusers makes a scheduler of any class from the options of any other one, ignores those that the class lacks, and
samples whatever the network predicts as if it were what the class expects. The images are then noise, or worse.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import SchedulerMixin
from torch import Tensor

from bench.core.errors import UserError, first_line, listed, unknown
from bench.core.escape import printable
from bench.core.files import read_json
from bench.models.text.flow_scheduler import TIME_OPTIONS
from bench.models.weights.folders import quiet
from bench.models.weights.weight_files import PIPELINE_INDEX

SCHEDULE = "alphas_cumprod"
FLOW_OPTIONS: Mapping[str, Any] = {**TIME_OPTIONS, "use_dynamic_shifting": False}
"""Options of a rectified flow's times beside its shift, with the values that schedulers without them have."""
STEP = {"self", "model_output", "timestep", "sample"}
"""What the pipelines of diffusers give to a scheduler's `step`."""
EDM = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")


def scheduler_class(name: str) -> type[SchedulerMixin]:
    """Return the scheduler of diffusers with this name. Raises UserError if there is none."""
    known = dict(_classes())
    if name not in known:
        raise unknown("scheduler of diffusers", name, known)
    return known[name]


def own_scheduler(folder: Path) -> SchedulerMixin:
    """Make the scheduler of a pipeline's folder. Raises UserError if it has none that diffusers knows."""
    named = read_json(folder / PIPELINE_INDEX).get("scheduler")
    kind = dict(_classes()).get(named[1]) if isinstance(named, list) and len(named) == 2 else None
    if kind is None:
        raise UserError(
            f"{folder} has no scheduler that diffusers knows but {printable(named)[:80]}; "
            "fix: leave out --scheduler"
        )
    try:
        return _made(kind, read_json(folder / "scheduler" / "scheduler_config.json"))
    except UserError:
        raise
    except Exception as error:  # each scheduler raises its own
        raise UserError(
            f"{folder}: the scheduler {kind.__name__} cannot be read: {printable(first_line(error))[:200]}; "
            "fix: download it again"
        ) from error


def replaced(own: SchedulerMixin, kind: type[SchedulerMixin], source: str) -> SchedulerMixin:
    """Return a scheduler of another kind with the options of `source`'s own one.

    Raises UserError, with the kinds that would do, unless both have the same noise schedule and prediction.
    """
    named, other = f"{source}'s {type(own).__name__}", ""
    try:
        found = _made(kind, own.config)
    except Exception as error:  # each scheduler raises its own
        other = f"cannot be made of the options of {named}: {printable(first_line(error))[:200]}"
    else:
        if different := differences(assumptions(found), assumptions(own)):
            other = f"is for other networks than {named}: {', '.join(different)}"
    if not other:
        return found
    fitting = [name for name, one in _classes() if _fits(one, own)]
    raise UserError(
        f"{kind.__name__} {other}; fix: leave out --scheduler, or name one of "
        f"{listed(fitting, limit=len(fitting))}"
    )


def assumptions(scheduler: SchedulerMixin) -> dict[str, Any]:
    """Return what a scheduler takes for granted of its network: the noise that it saw, and what it predicts.

    A class that neither has betas nor is a rectified flow's or EDM's stands for itself.
    """
    name = type(scheduler).__name__
    # The configuration keeps options of other classes too, which have no effect.
    options = {key: scheduler.config[key] for key in _takes(type(scheduler)) if key in scheduler.config}
    prediction = options.get("prediction_type", "epsilon")
    if name.startswith("FlowMatch"):
        return {"noise": "a rectified flow", "prediction_type": "flow_prediction", **_flow(options, "shift")}
    if "flow_shift" in options and options["use_flow_sigmas"]:
        return {"noise": "a rectified flow", "prediction_type": prediction, **_flow(options, "flow_shift")}
    if name in EDM:
        return {"noise": "EDM's", "prediction_type": prediction, "sigma_data": options["sigma_data"]}
    table = getattr(scheduler, SCHEDULE, None)
    # The inverse ones lead from an image to its noise, and RePaint's step takes an image.
    if isinstance(table, Tensor) and "Inverse" not in name and _required(type(scheduler)) == STEP:
        return {"noise": "betas", "prediction_type": prediction, SCHEDULE: table.double()}
    return {"noise": name}


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """List in what the assumptions of one scheduler differ from those of another."""
    if found["noise"] != wanted["noise"]:
        return [f"the noise is {found['noise']} for {wanted['noise']}"]
    return [
        f"another {key}" if key == SCHEDULE else f"{key} is {found[key]} for {wanted[key]}"
        for key in wanted
        if not _same(found[key], wanted[key])
    ]


def _flow(options: Mapping[str, Any], shift: str) -> dict[str, Any]:
    """Return the options of a rectified flow's times; a dynamic shift takes the place of the scheduler's own."""
    found = {key: options.get(key, neutral) for key, neutral in FLOW_OPTIONS.items()}
    return {**found, "shift": None if found["use_dynamic_shifting"] else float(options[shift])}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        # Zero terminal SNR is 0 in some classes and 2^-24 in others.
        return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-6)
    return bool(one == other)


def _fits(kind: type[SchedulerMixin], own: SchedulerMixin) -> bool:
    try:
        return not differences(assumptions(_made(kind, own.config)), assumptions(own))
    except Exception:  # each scheduler raises its own
        return False


def _made(kind: Any, config: Any) -> SchedulerMixin:
    with quiet():
        made: SchedulerMixin = kind.from_config(config)
    return made


def _takes(kind: type[SchedulerMixin]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(kind.__init__).parameters


def _required(kind: type[SchedulerMixin]) -> set[str]:
    """Return the arguments that a scheduler's `step` cannot do without."""
    parameters = inspect.signature(kind.step).parameters.values()
    return {one.name for one in parameters if one.default is one.empty}


def _classes() -> Iterator[tuple[str, type[SchedulerMixin]]]:
    """Yield the schedulers of diffusers by their names; some need packages that are not installed."""
    for name in dir(diffusers):
        kind = getattr(diffusers, name) if name.endswith("Scheduler") and not name.startswith("Flax") else None
        if inspect.isclass(kind) and issubclass(kind, SchedulerMixin):
            yield name, kind
