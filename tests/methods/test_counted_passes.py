"""What every built-in method says its training costs is what the framework counts."""

from __future__ import annotations

import pytest
import torch
from counted_training import METHODS, assert_announced, make, train
from tiny_task_context import BATCH, make_batch, make_context


@pytest.mark.parametrize("name", [entry.name for entry in METHODS])
def test_the_cost_of_a_method_is_what_is_counted(name: str) -> None:
    distiller = make(name, make_context(null_condition=torch.tensor([0])), BATCH, lora_rank=0)
    assert_announced(distiller, train(distiller, make_batch).passes)


@pytest.mark.parametrize("name", ["diff-instruct", "sid", "sida", "tdm"])
def test_without_guidance_the_teacher_costs_half(name: str) -> None:
    distiller = make(name, make_context(), BATCH, guidance_scale=1.0)
    assert_announced(distiller, train(distiller, make_batch).passes)
