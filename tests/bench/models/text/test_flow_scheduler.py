"""The shift of a rectified flow, read from a scheduler's configuration, against diffusers' own scheduler."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from bench.core.errors import UserError
from bench.models.text.flow_scheduler import flow_schedule, schedule_options

FLUX_DEV = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "shift": 3.0}
QWEN = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 0.9, "max_image_seq_len": 8192}


@pytest.mark.parametrize("tokens", [256, 1024, 4096, 6400])
@pytest.mark.parametrize("options", [{}, {"shift": 3.0}, FLUX_DEV, QWEN])
def test_the_grid_has_the_times_of_diffusers_scheduler(options: dict[str, Any], tokens: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(**options)
    config = scheduler.config
    places = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    mu = calculate_shift(tokens, *(config[key] for key in places))
    scheduler.set_timesteps(sigmas=numpy.linspace(1, 1 / 1000, 1000), mu=mu)
    expected = scheduler.sigmas[:-1].flip(0).double()  # the last one is 0, the image
    torch.testing.assert_close(flow_schedule(config, tokens).grid, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"_class_name": "DDIMScheduler"}, "'DDIMScheduler'; only 'FlowMatchEulerDiscreteScheduler'"),
        ({"num_train_timesteps": 500}, "num_train_timesteps is 500; only 1000"),
        ({"shift_terminal": 0.02}, "shift_terminal is 0.02"),
        ({"use_karras_sigmas": True}, "use_karras_sigmas is True"),
        ({"time_shift_type": "linear"}, "'linear'; only 'exponential'"),
        ({"shift": 0}, "shift is 0, and a positive number"),
        ({**FLUX_DEV, "max_shift": "high"}, "max_shift is 'high', and a positive number"),
        ({**FLUX_DEV, "max_image_seq_len": 256}, "not above its base_image_seq_len, 256"),
    ],
)
def test_what_is_unknown_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        flow_schedule(options, 4096)


def test_options_of_another_kind_of_shift_do_not_count() -> None:
    assert schedule_options({"shift": 3.0, "base_shift": 9.0}) == {"shift": 3.0}
    assert "shift" not in schedule_options(FLUX_DEV)
