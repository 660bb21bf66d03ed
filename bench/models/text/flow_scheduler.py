"""The noise schedule of a rectified flow's pipeline, as the configuration of its scheduler describes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bench.core.errors import UserError
from bench.models.schedules import FlowSchedule, dynamic_shift
from bench.models.text.scheduler_options import shown, unknown_option

KIND = "FlowMatchEulerDiscreteScheduler"
TIME_OPTIONS: Mapping[str, Any] = {
    "num_train_timesteps": 1000,
    "invert_sigmas": False,
    "shift_terminal": None,
    "time_shift_type": "exponential",
}
"""Options of a flow's times beside the shift, with diffusers' defaults."""
KNOWN: Mapping[str, Any] = {
    **TIME_OPTIONS,
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
            raise unknown_option(key, scheduler[key], repr(known))
    defaults = DYNAMIC if scheduler.get("use_dynamic_shifting", False) else STATIC
    found = {key: scheduler.get(key, default) for key, default in defaults.items()}
    for key, value in found.items():
        if type(value) not in (int, float) or not 0 < value < math.inf:
            what = f"the scheduler's {key} is {shown(value)}, and a positive number is wanted"
            raise UserError(f"{what}; fix: download it again")
    if not found.get("base_image_seq_len", 0) < found.get("max_image_seq_len", 1):
        raise UserError(
            f"the scheduler's max_image_seq_len is {found['max_image_seq_len']:g}, not above its "
            f"base_image_seq_len, {found['base_image_seq_len']:g}; fix: download it again"
        )
    return {key: float(value) for key, value in found.items()}
