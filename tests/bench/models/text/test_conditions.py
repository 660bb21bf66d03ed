"""Conditions of prompts: those of each prompt alone, whatever is in the batch, encoded no more than needed."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.models.text.conditions import PromptConditions
from bench.models.text.encoders import TextEncoder
from bench.models.text.pipelines import load_pipeline

PROMPTS = ["a red cat", "a dog", "a red cat", "", "the shoe of a dog"]


@pytest.fixture
def encoder(sdxl_folder: Path, monkeypatch: pytest.MonkeyPatch) -> TextEncoder:
    """SDXL's encoder, which keeps the prompts of each call in `asked`."""
    found = load_pipeline(sdxl_folder).encoder
    encode, asked = found.encode, list[list[str]]()

    def counted(prompts: Sequence[str]) -> Tensor:
        asked.append(list(prompts))
        return encode(prompts)

    monkeypatch.setattr(found, "encode", counted)
    monkeypatch.setattr(found, "asked", asked, raising=False)
    return found


@pytest.mark.parametrize("kept_bytes", [0, 2**31])
def test_a_condition_is_that_of_its_prompt_alone_bit_for_bit(encoder: TextEncoder, kept_bytes: int) -> None:
    conditions = PromptConditions(encoder, PROMPTS, kept_bytes)
    expected = torch.cat([encoder.encode([prompt]) for prompt in PROMPTS])
    for positions in ([0, 1, 2, 3, 4], [4, 4, 0], [3]):
        assert torch.equal(conditions(torch.tensor(positions)), expected[positions])


def test_a_prompt_is_encoded_once_in_a_batch_and_once_in_all_where_it_is_kept(encoder: TextEncoder) -> None:
    every, asked = torch.arange(5), encoder.asked
    assert isinstance(asked, list)
    once = [["a red cat"], ["a dog"], [""], ["the shoe of a dog"]]
    for kept_bytes, calls in ((0, once * 2), (2**31, once)):
        asked.clear()
        conditions = PromptConditions(encoder, PROMPTS, kept_bytes)
        conditions(every)
        conditions(every)
        assert asked == calls
