"""Constant tables are copied to a device once; a copy that ends with a transform of torch.func is not kept."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from pretended_device import Pretended, pretended_device
from torch import Tensor

from bench.core.transfers import constant_on, sent

CPU = torch.device("cpu")


def table() -> Tensor:
    return torch.linspace(0, 1, 5, dtype=torch.float64)


def test_a_table_is_itself_where_it_is_and_one_copy_elsewhere() -> None:
    grid = table()
    assert constant_on(grid, CPU) is grid
    single = constant_on(grid, CPU, torch.float32)
    assert single.dtype == torch.float32 and torch.equal(single, grid.float())
    assert constant_on(grid, CPU, torch.float32) is single
    assert constant_on(table(), CPU, torch.float32) is not single


@pytest.mark.own_process
def test_another_device_gets_one_copy_in_each_type() -> None:
    grid = table()
    with pretended_device() as device:
        there = constant_on(grid, device)
        assert isinstance(there, Pretended) and there.dtype == torch.float64
        assert constant_on(grid, device) is there is not constant_on(grid, device, torch.float32)
        assert sent(grid, device).tolist() == there.tolist() == grid.tolist()


def test_copies_are_freed_with_their_table() -> None:
    grid = table()
    copied = weakref.ref(constant_on(grid, CPU, torch.float32))
    assert copied() is not None
    del grid
    gc.collect()
    assert copied() is None


def test_a_copy_that_is_made_within_a_transform_is_not_kept() -> None:
    grid = table()

    def scaled(x: Tensor) -> Tensor:
        return x * constant_on(grid, CPU, torch.float32)

    x = torch.ones(5)
    _, tangent = torch.func.jvp(scaled, (x,), (x,))
    assert torch.equal(tangent, grid.float())
    leaf = x.clone().requires_grad_()
    scaled(leaf).sum().backward()
    assert leaf.grad is not None and torch.equal(leaf.grad, grid.float())


def test_values_on_the_cpu_are_sent_as_they_are() -> None:
    values = torch.arange(3)
    assert sent(values, "cpu") is values
