"""Benchmarks of composition as a user runs them: the published file of prompts, tiny networks, a tiny SDXL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from command import output
from compositional_files import save_blip_vqa, save_mask2former, write_metadata, write_questions
from text_pipelines import save_sdxl

from bench.core.errors import UserError
from bench.runs.record import Record
from bench.runs.records import load_records
from bench.runs.registry import load_catalogue

PLUGIN = Path(__file__).parents[2] / "plugins" / "standin_compositional.py"
Evaluate = Callable[..., Record]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user has downloaded: the benchmarks' files and networks."""
    root = tmp_path_factory.mktemp("benchmarks")
    load_catalogue([PLUGIN])  # names the tiny CLIP
    save_sdxl(root / "sdxl")
    save_mask2former(root / "mask2former")
    save_blip_vqa(root / "blip")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), root / "clip.bin")
    write_metadata(root / "metadata.jsonl")
    write_questions(root / "dpg.csv")
    (root / "ocr.txt").write_text('a sign that says "open"\na mug with "tea"\n')
    return root


@pytest.fixture
def evaluate(files: Path, tmp_path: Path) -> Evaluate:
    """Prepare a task, measure its teacher, and return the record."""

    def prepared_and_measured(task: str, prompts: Path, *weights: str, protocol: tuple[str, ...] = ()) -> Record:
        where = ("--cache", str(tmp_path / "cache"), "--plugin", str(PLUGIN))
        named = [part for one in weights for part in ("--weights", one)]
        output(
            "prepare", "--task", task, "--teacher", str(files / "sdxl"), "--prompts", str(prompts), *named, *where
        )
        runs = ("--runs", str(tmp_path / "runs"))
        output("eval", "--task", task, "--sampler", "teacher", *protocol, *runs, *where)
        (record,) = load_records([tmp_path / "runs"]).records
        return record

    return prepared_and_measured


def test_geneval_from_its_published_file(files: Path, evaluate: Evaluate) -> None:
    """The detector sees dogs everywhere: the prompt of a dog is right, and that of a red car wrong."""
    networks = f"mask2former-coco={files / 'mask2former'}", f"clip-l14={files / 'clip.bin'}"
    record = evaluate("standin-geneval", files / "metadata.jsonl", *networks)
    (metric,) = record.metrics
    assert (metric.name, metric.value) == ("geneval", 0.5)
    assert (metric.diagnostics[0]["single_object"], metric.diagnostics[0]["colors"]) == (1.0, 0.0)
    network = record.protocol["extractors"]["geneval"]
    assert network.startswith("geneval by transformers' Mask2Former (not mmdet's), weights ")
    assert network.count("weights") == 3  # detector, colours and prompts, each by its hash


def test_dpg_has_both_numbers_of_the_same_answers(files: Path, evaluate: Evaluate) -> None:
    """A network with random weights answers neither yes nor no."""
    record = evaluate(
        "standin-dpg", files / "dpg.csv", f"blip-vqa={files / 'blip'}", protocol=("--protocol", "dpg-as-official")
    )
    official, ours = record.metrics
    assert (official.name, ours.name) == ("dpg-official", "dpg")
    assert (official.value, ours.value) == (0.0, 0.0)
    assert (official.diagnostics[0]["left_out"], ours.diagnostics[0]["prompts"]) == (1, 2)


def test_ocr_reads_what_the_prompts_quote(files: Path, evaluate: Evaluate) -> None:
    record = evaluate("standin-ocr", files / "ocr.txt")
    (metric,) = record.metrics
    assert (metric.name, metric.samples) == ("ocr", 2)
    assert "PP-OCRv6" in record.protocol["extractors"]["ocr"]


def test_a_missing_network_is_named_before_anything_runs(files: Path, evaluate: Evaluate) -> None:
    with pytest.raises(UserError, match=r"weights 'mask2former-coco', .* are not pinned; fix: bench weights get"):
        evaluate("standin-geneval", files / "metadata.jsonl", f"clip-l14={files / 'clip.bin'}")


def test_another_file_of_prompts_is_refused(files: Path, evaluate: Evaluate) -> None:
    with pytest.raises(UserError, match=r"is not GenEval's metadata: ocr\.txt: line 1 is not JSON"):
        evaluate("standin-geneval", files / "ocr.txt")
