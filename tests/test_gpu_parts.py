"""The parts of `benchmarks/gpu.py`: they measure what training and evaluation do."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that imports a file of benchmarks/, whose files import each other by their bare names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_each_prompt_of_a_batch_is_encoded(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of a training differ, and equal ones would be encoded once."""
    random_text = script("random_text")
    prepared, encoded = random_text.RandomText(random_text.NETWORKS["tiny-sdxl"]), []
    encode = type(prepared.pipeline.encoder).encode
    monkeypatch.setattr(
        type(prepared.pipeline.encoder), "encode", lambda self, one: (encoded.extend(one), encode(self, one))[1]
    )
    prepared.training_condition(torch.arange(4))
    assert len(encoded) == 4
    prepared.conditions(torch.arange(3))
    assert len(encoded) == 7


def test_flow_transformers_train_under_the_autocast_of_a_run(script: Any) -> None:
    """A run keeps no casts of weights: they take memory, and another time."""
    flow_training = script("flow_training")
    distiller = flow_training.distiller_of(flow_training.TRAININGS["sd35"], tiny=True, batch=1)
    with distiller.accelerator.autocast():
        assert torch.is_autocast_enabled("cpu") and not torch.is_autocast_cache_enabled()


def test_attention_is_counted_on_a_cpu(script: Any) -> None:
    shapes = (2, 3, 64, 8), (2, 3, 32, 8), (2, 3, 32, 8)
    query, key, value = (torch.randn(shape, requires_grad=True) for shape in shapes)
    operations = script("fake_tensors").Operations
    with operations() as forward:
        made = F.scaled_dot_product_attention(query, key, value)
    with operations() as backward:
        made.sum().backward()
    assert forward.total == sdpa_flop_count(*shapes)
    assert backward.total == sdpa_backward_flop_count(made.shape, *shapes)
