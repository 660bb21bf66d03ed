"""Conditions as one tensor: embeddings and pooled embedding, packed and unpacked."""

import pytest
import torch

from bench.models.text.layout import ConditionLayout


def test_embeddings_come_first_then_the_pooled_one() -> None:
    layout = ConditionLayout(tokens=2, width=3, pooled=4)
    embeddings, pooled = torch.arange(12.0).reshape(2, 2, 3), torch.arange(100.0, 108.0).reshape(2, 4)
    condition = layout.pack(embeddings, pooled)
    assert condition.tolist() == [[0, 1, 2, 3, 4, 5, 100, 101, 102, 103], [6, 7, 8, 9, 10, 11, 104, 105, 106, 107]]
    assert layout.size == 10
    back, back_pooled = layout.unpack(condition)
    assert torch.equal(back, embeddings) and torch.equal(back_pooled, pooled)


def test_without_a_pooled_embedding() -> None:
    layout = ConditionLayout(tokens=2, width=3)
    condition = layout.pack(torch.arange(6.0).reshape(1, 2, 3))
    assert condition.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert layout.unpack(condition)[1] is None


def test_sizes_of_the_published_models() -> None:
    assert ConditionLayout(77, 768).size == 59_136
    assert ConditionLayout(77, 2048, 1280).size == 158_976


def test_what_does_not_fit_is_refused() -> None:
    layout = ConditionLayout(tokens=2, width=3, pooled=4)
    with pytest.raises(ValueError, match=r"\(2, 3, 0\) numbers do not fit .*pooled=4"):
        layout.pack(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match=r"\[1, 9\] does not fit \[B, 10\]"):
        layout.unpack(torch.zeros(1, 9))
