"""Grey levels equal those of the official expressions to the bit, for every pixel value."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.task.images import to_uint8
from tasks.imagenet64 import TASK


def near_levels(dtype: type) -> np.ndarray:
    """Values around every border between two grey levels of either rule: the next few floats on both sides."""
    borders = np.concatenate([np.arange(0, 511) / 255 - 1, [-1.7, -1e-9, 0, 1e-9, 1.7]]).astype(dtype)
    steps = np.finfo(dtype).eps * np.arange(-6, 7).astype(dtype)
    random = np.random.RandomState(0).uniform(-1.05, 1.05, 200_000).astype(dtype)
    return np.concatenate([(borders[:, None] + steps).ravel(), random])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_edms_expression_to_the_bit(dtype: type) -> None:
    """EDM's generate.py: the whole part of x * 127.5 + 128, clipped, in the dtype of its images."""
    x = near_levels(dtype)
    expected = np.clip(x * dtype(127.5) + dtype(128), 0, 255).astype(np.uint8)
    assert np.array_equal(to_uint8(torch.from_numpy(x), "edm").numpy(), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_truncation_is_the_official_scripts_expression_to_the_bit(dtype: type) -> None:
    """DMD2's scripts: the whole part of (x + 1) * 127.5, clipped; another order of operations differs."""
    x = near_levels(dtype)
    expected = np.clip((x + dtype(1)) * dtype(127.5), 0, 255).astype(np.uint8)
    assert np.array_equal(to_uint8(torch.from_numpy(x), "truncate").numpy(), expected)
    other = np.clip(x * dtype(127.5) + dtype(127.5), 0, 255).astype(np.uint8)
    assert not np.array_equal(other, expected), "else this test shows nothing"


def test_the_rule_of_micro_protocols_stays_as_their_records_have_it() -> None:
    """To the nearest, half to even: numpy's rint. It is EDM's but at the borders of levels."""
    x = near_levels(np.float32)
    expected = np.clip(np.rint(x * np.float32(127.5) + np.float32(127.5)), 0, 255).astype(np.uint8)
    found, edm = (to_uint8(torch.from_numpy(x), rule).numpy().astype(int) for rule in ("round", "edm"))
    assert np.array_equal(found, expected)
    assert np.abs(found - edm).max() == 1 and (found != edm)[-200_000:].mean() < 1e-4


def test_edms_protocols_take_edms_expression_and_the_scripts_protocol_the_scripts() -> None:
    rules = {name: protocol.uint8 for name, protocol in TASK.protocols.items()}
    assert rules["imagenet64-edm"] == rules["imagenet64"] == "edm"
    assert rules["imagenet64-dmd2-script"] == "truncate"
