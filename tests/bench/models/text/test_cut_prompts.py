"""Prompts that an encoder reads to their end are those whose last word changes their condition."""

from pathlib import Path

import pytest
import torch
from pixart_pipelines import tiny_pixart
from sana_pipelines import TOKENS, tiny_sana
from sd3_pipelines import save_sd3

from bench.models.text.conditions import note_cut
from bench.models.text.encoders import TextEncoder
from bench.models.text.gemma import GemmaEncoder
from bench.models.text.pipelines import load_pipeline

KINDS = ("sd15", "sdxl", "sd3", "sd3 without T5", "flux", "sana", "pixart")


@pytest.fixture(params=KINDS)
def encoder(
    request: pytest.FixtureRequest,
    sd15_folder: Path,
    sdxl_folder: Path,
    sd3_folder: Path,
    flux_folder: Path,
    tmp_path: Path,
) -> TextEncoder:
    if request.param == "sana":
        stock = tiny_sana()
        return GemmaEncoder(stock.tokenizer, stock.text_encoder, TOKENS)
    folders = {"sd15": sd15_folder, "sdxl": sdxl_folder, "sd3": sd3_folder, "flux": flux_folder}
    if request.param == "pixart":
        folder = tmp_path / "pixart"
        tiny_pixart().save_pretrained(folder)
    elif request.param == "sd3 without T5":
        folder = save_sd3(tmp_path / "sd3", t5=False)
    else:
        folder = folders[request.param]
    return load_pipeline(folder).encoder


def test_a_prompt_is_read_whole_if_its_last_word_changes_its_condition(encoder: TextEncoder) -> None:
    lengths = {encoder.layout.tokens, 77, 256}  # one of them is that of the network with the most tokens
    counts = [1, *(length + more for length in sorted(lengths) for more in range(-3, 2))]
    prompts = [" ".join(["a"] * count) for count in counts]
    changed = [f"{prompt[:-1]}cat" for prompt in prompts]
    read = [not torch.equal(*encoder.encode([one, other])) for one, other in zip(prompts, changed, strict=True)]
    assert encoder.read_whole(prompts) == encoder.read_whole(changed) == read
    assert read[0] and not read[-1]


def test_cut_prompts_are_counted_and_named(sdxl_folder: Path) -> None:
    encoder, notes = load_pipeline(sdxl_folder).encoder, list[str]()
    longest = " ".join(["a"] * 75)  # and the tokens of beginning and end: 77
    note_cut(encoder.read_whole([longest, "a cat"]), "prompts", notes.append)
    assert not notes
    whole = encoder.read_whole([longest, f"{longest} cat", "a cat", f"{longest} dog"])
    note_cut(whole, "prompts", notes.append)
    assert notes == ["4 prompts: 2 longer than the text encoder reads, and cut there, at 1, 3 (counted from 0)"]
