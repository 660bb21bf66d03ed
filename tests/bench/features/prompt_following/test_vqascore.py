"""VQAScore by a tiny network of the published class and format."""

import numpy as np
import pytest
import torch
from compositional_files import save_instruct_blip
from torch import Tensor

from bench.core.errors import UserError
from bench.features.batch import ImageBatch
from bench.features.prompt_following.vqascore import VQAScorer, load_vqascore, vqa_scores

PROMPTS = ("a dog", "a red cat and a dog")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> VQAScorer:
    return load_vqascore(save_instruct_blip(tmp_path_factory.mktemp("vqascore") / "instructblip"))


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (2, 3, 40, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_the_score_is_that_of_the_answer_word_by_word(scorer: VQAScorer, images: Tensor) -> None:
    """Computed a second time, from the decoder's next words after the start and after yes."""
    (found,) = scorer.scores(images[:1], PROMPTS[:1])
    given = scorer.processor(
        images=images[0].permute(1, 2, 0).numpy(),
        text='Question: Does this figure show "a dog"? Please answer yes or no.',  # the authors', to this network
        return_tensors="pt",
    )
    yes, end = scorer.processor.tokenizer("yes").input_ids
    with torch.no_grad():
        first = scorer.network(**given, decoder_input_ids=torch.tensor([[0]])).logits[0, -1].softmax(0)[yes]
        last = scorer.network(**given, decoder_input_ids=torch.tensor([[0, yes]])).logits[0, -1].softmax(0)[end]
    assert found == pytest.approx(float(first * last) ** 0.5, rel=1e-5)


def test_scores_do_not_depend_on_the_batch(scorer: VQAScorer, images: Tensor) -> None:
    together = scorer.scores(images, PROMPTS)
    alone = VQAScorer(scorer.network, scorer.processor, batch_size=1).scores(images, PROMPTS)
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert len(set(together)) == 2


def test_every_image_has_its_score(scorer: VQAScorer, images: Tensor) -> None:
    found = vqa_scores(scorer, ImageBatch(images, prompts=PROMPTS))
    assert found.scores["vqascore"].tolist() == scorer.scores(images, PROMPTS).tolist()
    with pytest.raises(UserError, match="these have none"):
        vqa_scores(scorer, ImageBatch(images))
