"""BLIP-VQA's answers, by a tiny network of the published class and format."""

from pathlib import Path

import pytest
import torch
from compositional_files import SPECIAL, WORDS, save_blip_vqa
from torch import Tensor

from bench.core.errors import UserError
from bench.features.prompt_following.blip_vqa import load_blip_vqa


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_blip_vqa(tmp_path_factory.mktemp("vqa") / "blip")


@pytest.fixture
def image() -> Tensor:
    return torch.randint(0, 256, (3, 40, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_answers_are_words_and_do_not_depend_on_the_batch(folder: Path, image: Tensor) -> None:
    questions = ["is there a dog?", "is the cat red?", "is there a red dog?"]
    together = load_blip_vqa(folder)(image, questions)
    assert together == load_blip_vqa(folder, batch_size=1)(image, questions)
    assert all(set(answer.split()) <= {*WORDS, *(one.lower() for one in SPECIAL)} for answer in together)
    assert not any(answer.startswith("[dec]") for answer in together)


def test_a_network_that_says_yes_is_understood(folder: Path, image: Tensor) -> None:
    """Its last layer is made to say one word, and then to end."""
    blip = load_blip_vqa(folder)
    ids = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    said = iter([ids["yes"], ids["[SEP]"]])

    def next_word(_module: object, _inputs: object, logits: Tensor) -> Tensor:
        return torch.zeros_like(logits).index_fill(-1, torch.tensor([next(said)]), 1.0)

    blip.network.text_decoder.cls.predictions.register_forward_hook(next_word)
    assert blip(image, ["is there a dog?"]) == ["yes"]


def test_a_folder_without_a_processor_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(UserError, match="has no processor of BLIP"):
        load_blip_vqa(tmp_path)
