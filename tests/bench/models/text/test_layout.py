"""Conditions as one tensor: embeddings, pooled embedding and mask, packed and unpacked."""

import pytest
import torch

from bench.models.descriptions import layout_of
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


def test_a_mask_comes_last_and_is_exact_in_half_precision() -> None:
    layout = ConditionLayout(tokens=2, width=3, pooled=1, mask=True)
    embeddings, pooled, mask = torch.arange(6.0).reshape(1, 2, 3), torch.tensor([[7.0]]), torch.tensor([[1, 0]])
    condition = layout.pack(embeddings, pooled, mask)
    assert condition.tolist() == [[0, 1, 2, 3, 4, 5, 7, 1, 0]]
    assert layout.size == 9
    back, back_pooled = layout.unpack(condition)
    assert torch.equal(back, embeddings) and torch.equal(back_pooled, pooled)
    assert torch.equal(layout.unpack_mask(condition.bfloat16()).long(), mask)


def test_a_mask_is_named_in_descriptions_only_where_there_is_one() -> None:
    plain, masked = ConditionLayout(2, 3, 4), ConditionLayout(2, 3, mask=True)
    assert plain.describe() == {"tokens": 2, "width": 3, "pooled": 4}
    assert masked.describe() == {"tokens": 2, "width": 3, "pooled": 0, "mask": True}
    for layout in (plain, masked):
        assert layout_of({"layout": layout.describe()}) == layout
    with pytest.raises(ValueError, match="layout is"):
        layout_of({"layout": {**masked.describe(), "mask": 1}})


def test_sizes_of_the_published_models() -> None:
    assert ConditionLayout(77, 768).size == 59_136
    assert ConditionLayout(77, 2048, 1280).size == 158_976
    assert ConditionLayout(300, 2304, mask=True).size == 691_500  # SANA


def test_what_does_not_fit_is_refused() -> None:
    layout = ConditionLayout(tokens=2, width=3, pooled=4)
    with pytest.raises(ValueError, match=r"\(2, 3, 0\) numbers do not fit .*pooled=4"):
        layout.pack(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match=r"\[1, 9\] does not fit \[B, 10\]"):
        layout.unpack(torch.zeros(1, 9))
    with pytest.raises(ValueError, match=r"a mask of shape \[1, 2\] does not fit"):
        layout.pack(torch.zeros(1, 2, 3), torch.zeros(1, 4), torch.ones(1, 2))
    with pytest.raises(ValueError, match="a mask of shape None does not fit"):
        ConditionLayout(2, 3, mask=True).pack(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="has no mask"):
        layout.unpack_mask(torch.zeros(1, 10))
