"""What all tests share: one thread, no network, no GPU."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # expected numbers are the CPU's

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """A test that changes the number of threads must not slow the next one down."""
    torch.set_num_threads(1)
