"""A tiny SDXL that was chosen, with three captioned images and two prompts, and measured in seconds."""

from __future__ import annotations

from pathlib import Path

import open_clip
import torch
from inception_files import photographs
from PIL import Image
from tests_support import TEXT_PLUGIN
from text_pipelines import save_sdxl

from bench.core.progress import SilentProgress
from bench.runs.registry import load_catalogue
from bench.task.declaration import Sources
from tasks.text.task import TextTask

CATALOGUE = load_catalogue([TEXT_PLUGIN])


def choose_sdxl(root: Path) -> Path:
    """Make the files and choose them, without a tiny VAE; return the cache."""
    save_sdxl(root / "sdxl")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), root / "clip.bin")
    (root / "prompts.txt").write_text("a red bird\ntwo dogs in the snow\n")
    (root / "data").mkdir()
    for i, photo in enumerate(photographs(3, 40)):
        Image.fromarray(photo.permute(1, 2, 0).numpy()).save(root / "data" / f"{i}.png")
        (root / "data" / f"{i}.txt").write_text(f"photograph {i}")
    files = {"teacher": root / "sdxl", "data": root / "data", "prompts": root / "prompts.txt"}
    declared(root / "cache").pin(
        Sources(root / "cache", **files, weights={"clip": root / "clip.bin"}), SilentProgress()
    )
    return root / "cache"


def declared(cache: Path) -> TextTask:
    """The task with what was chosen, measured by CLIP alone."""
    task = CATALOGUE.tasks.get("standin-sdxl").under("quick").located(cache)
    assert isinstance(task, TextTask)
    return task
