"""Of a stock pipeline's prompts as many are said to be cut as of a teacher's, whose encoders are tested for it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline
from pixart_pipelines import tiny_pixart
from sana_pipelines import PROMPTS, tiny_sana
from text_fixtures import flux_folder, sd3_folder, sd15_folder, sdxl_folder

from bench.models.stock_prompts import read_whole, without_cut_warnings
from bench.models.text.gemma import TOKENS, GemmaEncoder
from bench.models.text.pipelines import load_pipeline

__all__ = ["flux_folder", "sd3_folder", "sd15_folder", "sdxl_folder"]


def of_length(*around: int) -> list[str]:
    """Prompts whose numbers of words are around these."""
    return [" ".join(["a"] * (count + more)) for count in around for more in range(-3, 3)]


@pytest.mark.parametrize("name", ["sd15", "sdxl", "sd3", "flux"])
def test_they_are_those_that_the_encoder_of_a_teacher_cuts(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(f"{name}_folder")
    encoder = load_pipeline(folder).encoder
    prompts = of_length(77, 256, 512)
    found = read_whole(DiffusionPipeline.from_pretrained(folder, local_files_only=True), prompts)
    assert found == encoder.read_whole(prompts) and {*found} == {True, False}


def test_pixart_s_are_cut_at_its_own_tokens(tmp_path: Path) -> None:
    stock = tiny_pixart()
    stock.save_pretrained(tmp_path)
    prompts = [*of_length(150, 300), f" {'A' * 298} ", f" {'A' * 300} "]
    found = read_whole(stock, prompts)
    assert found == load_pipeline(tmp_path).encoder.read_whole(prompts) and {*found} == {True, False}


def test_sana_s_instruction_does_not_count() -> None:
    stock = tiny_sana()
    encoder = GemmaEncoder(stock.tokenizer, stock.text_encoder, TOKENS)
    prompts = [*PROMPTS, *of_length(300)]
    found = read_whole(stock, prompts)
    assert found == encoder.read_whole(prompts) and {*found} == {True, False}


def test_a_pipeline_without_tokenizers_reads_all() -> None:
    stock = tiny_pixart()
    stock.tokenizer = None
    assert read_whole(stock, ["a" * 1000]) == [True]


def test_only_what_is_said_of_cut_prompts_is_not_shown(
    sd15_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = DiffusionPipeline.from_pretrained(sd15_folder, local_files_only=True)
    library = logging.getLogger("diffusers")
    shown = logging.StreamHandler()
    monkeypatch.setattr(library, "handlers", [shown])
    capsys.readouterr()
    (prompt,) = of_length(100)[:1]
    stock.encode_prompt(prompt, "cpu", 1, False)
    assert "was truncated because" in capsys.readouterr().err
    with without_cut_warnings():
        stock.encode_prompt(prompt, "cpu", 1, False)
        library.warning("the scheduler has changed")
    assert capsys.readouterr().err == "the scheduler has changed\n"
    assert not shown.filters
