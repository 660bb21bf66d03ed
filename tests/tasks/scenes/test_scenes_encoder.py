"""The text encoder of scenes: words to tokens to one packed condition."""

import pytest
import torch

from bench.core.errors import UserError
from bench.models.text.encoders import TextEncoder
from tasks.scenes.data import CAPTIONS, WORDS
from tasks.scenes.encoder import PAD, CaptionEncoder


@pytest.fixture(scope="module")
def encoder() -> CaptionEncoder:
    torch.manual_seed(0)
    return CaptionEncoder(tokens=8, width=16, layers=2, heads=2).eval()


def test_a_token_is_a_word(encoder: CaptionEncoder) -> None:
    tokens = encoder.tokenize([CAPTIONS[0], ""])
    assert [WORDS[token] for token in tokens[0]] == CAPTIONS[0].split()
    assert tokens[1].tolist() == [PAD] * 8
    with pytest.raises(UserError, match=r"unknown word .* 'bleu'; did you mean 'blue'"):
        encoder.tokenize(["a bleu bag"])


def test_it_is_a_text_encoder_like_the_others(encoder: CaptionEncoder) -> None:
    assert isinstance(encoder, TextEncoder)
    packed = encoder.encode(CAPTIONS[:3])
    assert packed.shape == (3, encoder.layout.size) == (3, 8 * 16)
    torch.testing.assert_close(encoder.encode(CAPTIONS[1:2]), packed[1:2])
    assert torch.equal(encoder.null_condition(), encoder.encode([""]))


def test_the_pooled_embedding_is_the_mean_of_the_words() -> None:
    pooling = CaptionEncoder(tokens=8, width=16, layers=1, heads=2, pooled=True).eval()
    embeddings, pooled = pooling.layout.unpack(pooling.encode(CAPTIONS[:3]))
    assert pooled is not None
    torch.testing.assert_close(pooled, embeddings.mean(1))


def test_every_word_sees_the_words_after_it(encoder: CaptionEncoder) -> None:
    """Only the relation, the fourth word, says at which place the first item is."""
    one, other = encoder.encode(["a red bag left of a blue boot", "a red bag right of a blue boot"])
    embeddings, _ = encoder.layout.unpack(torch.stack([one, other]))
    assert (embeddings[0, 2] - embeddings[1, 2]).abs().max() > 1e-3
