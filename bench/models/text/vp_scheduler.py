"""The noise schedule of a variance-preserving pipeline, as the configuration of its scheduler describes it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal

import diffusers

from bench.core.errors import UserError, listed
from bench.models.schedules import Betas, VPSchedule
from bench.models.text.scheduler_options import shown, unknown_option

CHANGED_BY: Mapping[str, Any] = {
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "use_flow_sigmas": False,
    "snr_shift_scale": None,
}
"""Options of a scheduler that change its noise schedule, with their neutral values."""
TIMES = 1000
"""Times of the noise schedule; steps of students are named by their position among them."""


def schedule_of(scheduler: Mapping[str, Any], betas: Betas = "scaled_linear") -> VPSchedule:
    """Return the noise schedule, with such `betas`, of a diffusers scheduler's configuration.

    Raises UserError for other kinds.
    """
    _refuse_other_kinds(scheduler)
    missing = {"beta_schedule": None, **CHANGED_BY}
    if absent := [key for key in ("beta_start", "beta_end", "num_train_timesteps") if key not in scheduler]:
        raise UserError(f"the scheduler's configuration has no {listed(absent)}; fix: download it again")
    found = missing | dict(scheduler)
    for key, known in (missing | {"beta_schedule": betas}).items():
        if found[key] != known:
            raise unknown_option(key, found[key], repr(known))
    predictions: dict[str, Literal["epsilon", "v"]] = {"epsilon": "epsilon", "v_prediction": "v"}
    prediction = found.get("prediction_type", "epsilon")
    if not isinstance(prediction, str) or prediction not in predictions:
        raise unknown_option("prediction_type", prediction, " or ".join(map(repr, predictions)))
    start, end, steps = (scheduler[key] for key in ("beta_start", "beta_end", "num_train_timesteps"))
    numbers = all(type(beta) in (int, float) and math.isfinite(beta) for beta in (start, end))
    if not numbers or not 0 < start <= end < 1:
        raise UserError(
            f"the scheduler's beta_start is {shown(start)} and its beta_end {shown(end)}; they must be "
            "numbers between 0 and 1 in ascending order; fix: download it again"
        )
    if type(steps) is not int or steps != TIMES:
        raise unknown_option("num_train_timesteps", steps, str(TIMES))
    return VPSchedule(predictions[prediction], float(start), float(end), steps, betas)


def _refuse_other_kinds(scheduler: Mapping[str, Any]) -> None:
    """Raise UserError for a scheduler's class without betas: a flow's or EDM's may keep idle ones."""
    named = scheduler.get("_class_name")
    kind = getattr(diffusers, named, None) if isinstance(named, str) and named.isidentifier() else None
    if named is not None and (kind is None or "beta_start" not in inspect.signature(kind.__init__).parameters):
        raise UserError(
            f"the scheduler is a {shown(named)}, which has no noise schedule of betas that is known here; "
            "fix: name a teacher with a scheduler of Stable Diffusion's kind"
        )
