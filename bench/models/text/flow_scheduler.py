"""The noise schedule of a rectified flow's pipeline, as the configuration of its scheduler describes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bench.core.errors import UserError
from bench.core.escape import printable
from bench.models.schedules import FlowSchedule, dynamic_shift

KIND = "FlowMatchEulerDiscreteScheduler"
KNOWN: Mapping[str, Any] = {
    "num_train_timesteps": 1000,
    "invert_sigmas": False,
    "shift_terminal": None,
    "time_shift_type": "exponential",
    "use_beta_sigmas": False,
    "use_exponential_sigmas": False,
    "use_karras_sigmas": False,
}
"""Options that change the schedule, with the only values that are known here, which are diffusers' defaults."""
STATIC: Mapping[str, float] = {"shift": 1.0}
DYNAMIC: Mapping[str, float] = {
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}
"""Options of the shift, with diffusers' defaults: one number, or one that grows with the tokens of an image."""


def flow_schedule(scheduler: Mapping[str, Any], tokens: int) -> FlowSchedule:
    """Return the schedule for images of this number of tokens, on which only a dynamic shift depends.

    Raises UserError for a scheduler of another kind, or with options that change the times in other ways.
    """
    found = schedule_options(scheduler)
    if "shift" in found:
        return FlowSchedule(found["shift"])
    base, most = found["base_image_seq_len"], found["max_image_seq_len"]
    return FlowSchedule(dynamic_shift(tokens, found["base_shift"], found["max_shift"], int(base), int(most)))


def schedule_options(scheduler: Mapping[str, Any]) -> dict[str, float]:
    """Return what a scheduler's configuration says of the shift. Raises UserError for unknown kinds."""
    for key, known in {"_class_name": KIND, **KNOWN}.items():
        if scheduler.get(key, known) != known:
            what = f"the scheduler's {key} is {_shown(scheduler[key])}; only {known!r} is known here"
            raise UserError(f"{what}; fix: name a model with such a scheduler")
    defaults = DYNAMIC if scheduler.get("use_dynamic_shifting", False) else STATIC
    found = {key: scheduler.get(key, default) for key, default in defaults.items()}
    for key, value in found.items():
        if type(value) not in (int, float) or not 0 < value < math.inf:
            what = f"the scheduler's {key} is {_shown(value)}, and a positive number is wanted"
            raise UserError(f"{what}; fix: download it again")
    if not found.get("base_image_seq_len", 0) < found.get("max_image_seq_len", 1):
        raise UserError(
            f"the scheduler's max_image_seq_len is {found['max_image_seq_len']:g}, not above its "
            f"base_image_seq_len, {found['base_image_seq_len']:g}; fix: download it again"
        )
    return {key: float(value) for key, value in found.items()}


def _shown(value: Any) -> str:
    return printable(repr(value))[:80]
