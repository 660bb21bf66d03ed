"""Gemma's conditions: what the stock pipeline encodes, with the instruction and the mask."""

import inspect

import pytest
import torch
from diffusers import SanaPipeline
from sana_pipelines import PROMPTS, TOKENS, tiny_sana

from bench.models.text.gemma import INSTRUCTION, GemmaEncoder

STOCK = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default


@pytest.fixture(scope="module")
def pipeline() -> SanaPipeline:
    return tiny_sana()


@pytest.fixture(scope="module")
def encoder(pipeline: SanaPipeline) -> GemmaEncoder:
    return GemmaEncoder(pipeline.tokenizer, pipeline.text_encoder, TOKENS)


def test_the_instruction_is_that_of_the_stock_pipeline() -> None:
    assert "\n".join(STOCK) == INSTRUCTION


@torch.no_grad()
def test_conditions_are_what_the_stock_pipeline_encodes(pipeline: SanaPipeline, encoder: GemmaEncoder) -> None:
    embeddings, mask, null, null_mask = pipeline.encode_prompt(
        PROMPTS, max_sequence_length=TOKENS, complex_human_instruction=STOCK
    )
    found, nothing = encoder.encode(PROMPTS), encoder.null_condition()
    layout = encoder.layout
    torch.testing.assert_close(layout.unpack(found)[0], embeddings, rtol=0, atol=1e-6)
    assert torch.equal(layout.unpack_mask(found), mask.float())
    torch.testing.assert_close(layout.unpack(nothing)[0], null[:1], rtol=0, atol=1e-6)
    assert torch.equal(layout.unpack_mask(nothing), null_mask[:1].float())
    assert mask.sum(1).tolist() == [7, 5, 2, TOKENS], "long prompts are cut, short ones padded"
    assert null_mask[0].sum() == 1, "begin-of-text alone"


@torch.no_grad()
def test_a_condition_does_not_depend_on_its_batch(encoder: GemmaEncoder) -> None:
    together = encoder.encode(PROMPTS)
    alone = torch.cat([encoder.encode([prompt]) for prompt in PROMPTS])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    assert not torch.allclose(together[1], together[2])
