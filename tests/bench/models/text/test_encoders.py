"""Text encoders: the numbers of the stock pipelines' encode_prompt."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from text_pipelines import PROMPTS
from torch import Tensor

from bench.models.backbones.text import TextPipeline
from bench.models.text.encoders import SDXLEncoder, tokenize
from bench.models.text.pipelines import load_pipeline


@pytest.fixture(scope="module")
def sd15(sd15_folder: Path) -> TextPipeline:
    return load_pipeline(sd15_folder)


@pytest.fixture(scope="module")
def sdxl(sdxl_folder: Path) -> TextPipeline:
    return load_pipeline(sdxl_folder)


def stock_sdxl(folder: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Embeddings, unconditional embeddings, pooled, unconditional pooled of SDXL's own pipeline."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True)
    return pipeline.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=True)


@torch.no_grad()
def test_sd15_is_the_stock_pipeline_s(sd15: TextPipeline, sd15_folder: Path) -> None:
    stock = StableDiffusionPipeline.from_pretrained(sd15_folder, safety_checker=None, local_files_only=True)
    given, null = stock.encode_prompt(PROMPTS, "cpu", 1, True)
    layout = sd15.encoder.layout
    assert (layout.tokens, layout.width, layout.pooled) == (77, 16, 0)
    assert torch.equal(layout.unpack(sd15.encoder.encode(PROMPTS))[0], given)
    torch.testing.assert_close(layout.unpack(sd15.encoder.null_condition())[0], null[:1])


@torch.no_grad()
def test_sdxl_is_the_stock_pipeline_s(sdxl: TextPipeline, sdxl_folder: Path) -> None:
    given, null, pooled, null_pooled = stock_sdxl(sdxl_folder)
    layout = sdxl.encoder.layout
    assert (layout.tokens, layout.width, layout.pooled) == (77, 40, 24)
    embeddings, found_pooled = layout.unpack(sdxl.encoder.encode(PROMPTS))
    assert torch.equal(embeddings, given) and torch.equal(found_pooled, pooled)
    embeddings, found_pooled = layout.unpack(sdxl.encoder.null_condition())
    assert torch.equal(embeddings, null[:1]) and torch.equal(found_pooled, null_pooled[:1])
    assert not embeddings.any() and not found_pooled.any()


def test_an_sdxl_whose_null_prompt_is_not_zero(sdxl: TextPipeline) -> None:
    own = sdxl.encoder
    encoder = SDXLEncoder(own.tokenizers, tuple(own.models), zero_null=False)
    torch.testing.assert_close(encoder.null_condition(), own.encode([""]))


@torch.no_grad()
def test_the_official_evaluation_s_padding(sdxl_folder: Path, sdxl: TextPipeline) -> None:
    """Its second encoder sees the first tokenizer's padding: a stock pipeline given that tokenizer twice."""
    assert isinstance(sdxl.encoder, SDXLEncoder)
    quirky = sdxl.encoder.with_first_tokenizer()
    stock = StableDiffusionXLPipeline.from_pretrained(sdxl_folder, local_files_only=True)
    stock.tokenizer_2 = stock.tokenizer
    given, _, pooled, _ = stock.encode_prompt(PROMPTS, device="cpu")
    embeddings, found_pooled = quirky.layout.unpack(quirky.encode(PROMPTS))
    assert torch.equal(embeddings, given) and torch.equal(found_pooled, pooled)
    short, clean = embeddings[1], sdxl.encoder.layout.unpack(sdxl.encoder.encode(PROMPTS))[0][1]
    assert torch.equal(short[:, :16], clean[:, :16])  # the first encoder is not touched
    assert torch.equal(short[:4], clean[:4])  # nor is anything before the padding: CLIP looks back only
    assert not torch.allclose(short[4:, 16:], clean[4:, 16:])


def test_tokens_begin_end_and_are_padded(sdxl: TextPipeline) -> None:
    one, two = sdxl.encoder.tokenizers
    begin, end = one.bos_token_id, one.eos_token_id
    short, long = tokenize(one, ["a dog", "dog " * 100], 77).tolist()
    assert short[0] == begin and short[3:] == [end] * 74
    assert len(long) == 77 and long[-1] == end and end not in long[:-1]
    assert tokenize(two, ["a dog"], 77).tolist()[0][3:] == [end] + [0] * 73


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_conditions_are_float32_s_in_a_training_step_too(kind: str, request: pytest.FixtureRequest) -> None:
    """The official text encoders run in float32 while the UNets train in bf16 (official-dmd2, 2.3)."""
    encoder = request.getfixturevalue(kind).encoder
    with torch.autocast("cpu", torch.bfloat16):
        trained_on = encoder.encode(PROMPTS)
    assert trained_on.dtype == torch.float32
    assert torch.equal(trained_on, encoder.encode(PROMPTS))


def test_encoders_learn_nothing(sdxl: TextPipeline) -> None:
    assert not any(parameter.requires_grad for parameter in sdxl.encoder.parameters())
    assert not sdxl.encoder.encode(["a dog"]).requires_grad
