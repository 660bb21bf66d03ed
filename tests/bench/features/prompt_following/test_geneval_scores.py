"""GenEval on images: each is judged by its own prompt, and no mistake of the user becomes a score of zero."""

from collections.abc import Sequence

import open_clip
import pytest
import torch
from tests_support import TEXT_PLUGIN
from torch import Tensor

from bench.core.errors import UserError
from bench.data.text.geneval import COLOURS, GenEvalPrompt, Wanted
from bench.features.batch import ImageBatch
from bench.features.networks.clip import load_clip
from bench.features.prompt_following.geneval import geneval_scores
from bench.features.prompt_following.geneval_rules import Detection
from bench.features.prompt_following.object_colours import ColourClassifier, sentences
from bench.features.scoring import clip_protocol
from bench.runs.registry import load_catalogue

DOG = GenEvalPrompt("a photo of a dog", "single_object", (Wanted("dog", 1),))
RED_DOG = GenEvalPrompt("a photo of a red dog", "colors", (Wanted("dog", 1, "red"),))
PROMPTS = {one.prompt: one for one in (DOG, RED_DOG)}


def bright_dogs(image: Tensor) -> list[Detection]:
    """A detector that sees a dog in every bright image."""
    return [Detection("dog", 0.9, (0.0, 0.0, 2.0, 2.0))] if image.float().mean() > 100 else []


def blue(_image: Tensor, objects: Sequence[Detection]) -> list[str]:
    return ["blue"] * len(objects)


def test_each_image_is_judged_by_its_prompt() -> None:
    images = torch.stack([torch.full((3, 2, 2), level, dtype=torch.uint8) for level in (200, 0, 200)])
    found = geneval_scores(
        bright_dogs, blue, PROMPTS, ImageBatch(images, prompts=[DOG.prompt, DOG.prompt, RED_DOG.prompt])
    )
    assert found.scores["geneval"].tolist() == [1, 0, 0]
    assert found.scores["geneval_task"].tolist() == [0, 0, 3]
    assert list(found.reasons["geneval"]) == [
        "",
        "expected dog>=1, found 0",
        "expected red dog>=1, found 0 red; and 1 blue",
    ]


def test_a_prompt_of_another_list_is_an_error() -> None:
    batch = ImageBatch(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), prompts=["a photo of a cog"])
    with pytest.raises(
        UserError, match="'a photo of a cog' is not in GenEval's metadata; did you mean 'a photo of a dog'"
    ):
        geneval_scores(bright_dogs, blue, PROMPTS, batch)


def test_images_without_prompts_are_an_error() -> None:
    with pytest.raises(UserError, match="these have none"):
        geneval_scores(bright_dogs, blue, PROMPTS, ImageBatch(torch.zeros(1, 3, 2, 2, dtype=torch.uint8)))


def test_the_colour_is_that_of_the_nearest_mean_of_three_sentences(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """As open_clip computes it by hand, one text and one image at a time."""
    load_catalogue([TEXT_PLUGIN])  # names the tiny CLIP
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clip") / "clip.bin"
    model = open_clip.create_model("tiny-clip").eval()
    torch.save(model.state_dict(), path)
    clip = load_clip(clip_protocol("clip-tiny"), path)
    clip._prefix = []  # the tiny network's protocol has one
    image = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    dogs = [Detection("dog", 0.9, (0.0, 0.0, 32.0, 32.0)), Detection("dog", 0.8, (8.0, 8.0, 40.0, 40.0))]
    found = ColourClassifier(clip)(image, dogs)
    tokenize = open_clip.get_tokenizer("tiny-clip")
    with torch.no_grad():
        texts = [
            torch.stack(
                [model.encode_text(tokenize([text]), normalize=True)[0] for text in sentences(colour, "dog")]
            )
            for colour in COLOURS
        ]
        means = torch.stack([one.mean(dim=0) / one.mean(dim=0).norm() for one in texts])
        parts = torch.stack([image[:, 0:32, 0:32], image[:, 8:40, 8:40]])
        expected = (clip.embed_images(parts) @ means.T).argmax(dim=1)
    assert found == [COLOURS[place] for place in expected.tolist()]
