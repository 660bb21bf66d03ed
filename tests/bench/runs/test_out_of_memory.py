"""A training that doesn't fit into a GPU's memory ends with the options that save some, and leaves no result."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bench.core.errors import UserError
from bench.runs.plan import Run
from bench.runs.runner import Runner
from methods.dmd import DMD

TORCH_SAYS = "CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ({"batch_size": 12}, "--set gradient_accumulation=2 --set gradient_checkpointing=true, or "),
        (
            {"batch_size": 15, "gradient_accumulation": 3, "gradient_checkpointing": True},
            "--set gradient_accumulation=5, or ",
        ),
        ({"batch_size": 4, "gradient_accumulation": 4, "gradient_checkpointing": True}, ""),
    ],
    ids=["the defaults", "smaller micro-batches", "none that is left"],
)
def test_the_fix_is_what_the_recipe_does_not_use_yet(
    values: dict[str, object],
    options: str,
    plan: Callable[..., Run],
    runner: Runner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError(f"{TORCH_SAYS} GPU 0 has\nmore to say")

    monkeypatch.setattr(DMD, "training_step", full)
    run = plan(iterations=2, **values)
    with pytest.raises(UserError) as raised:
        runner.run(run)
    fix = f"fix: {options}--processes 2 --set sharding=fsdp2"
    assert str(raised.value).endswith(fix) and TORCH_SAYS in str(raised.value)
    assert run.finished() is None
