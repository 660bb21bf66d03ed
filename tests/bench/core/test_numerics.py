"""TF32 and deterministic kernels: they are set within a block, and are as before after it."""

from __future__ import annotations

import os

import pytest
import torch

from bench.core.device import CUBLAS_WORKSPACE
from bench.core.errors import UserError
from bench.core.numerics import deterministic, tf32, tf32_allowed


def flags() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_allowed_or_forbidden_in_all_float32_products(allowed: bool) -> None:
    before = flags()
    with pytest.raises(RuntimeError, match="an error in the block"), tf32(allowed):
        assert flags() == (allowed, allowed)
        with tf32(not allowed):
            assert flags() == (not allowed, not allowed)
        assert flags() == (allowed, allowed)
        raise RuntimeError("an error in the block")
    assert flags() == before


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="torch 2.9 added it")
def test_precision_that_was_set_in_another_way_is_refused() -> None:
    """It would let convolutions of feature networks use TF32, whatever is asked for here."""
    before, backends = flags(), torch.backends
    with tf32(False):  # as within a run
        backends.fp32_precision = "tf32"
        try:
            with pytest.raises(UserError, match=r"fp32_precision .* fix: .* --set tf32=true"), tf32(False):
                raise AssertionError("a feature network would have run")
        finally:
            backends.fp32_precision = "none"
    assert flags() == before


def test_a_machine_without_a_gpu_has_no_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpu in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        with tf32(True):
            assert tf32_allowed() is gpu
        with tf32(False):
            assert not tf32_allowed()


def test_deterministic_kernels_are_asked_for_and_left_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.benchmark
    with deterministic(True):
        assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        assert not torch.utils.deterministic.fill_uninitialized_memory, "new tensors are not filled for nothing"
    assert not torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.benchmark
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_the_workspace_of_matrix_products_is_set_before_anything_can_run_on_a_gpu() -> None:
    """cuBLAS reads it once, at the first product of the process."""
    assert os.environ[CUBLAS_WORKSPACE] in (":4096:8", ":16:8")
