"""The layouts of folders with weights: what is read, and what a user is told to do about the rest."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel
from text_pipelines import save_sdxl, tiny_unet

from bench.core.errors import UserError
from bench.models.text.pipelines import load_pipeline
from bench.models.weights.folders import load_network

WHOLE = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_unet().save_pretrained(tmp_path / "unet")
    return tmp_path / "unet"


def refused(folder: Path, message: str) -> str:
    with pytest.raises(UserError, match=message) as caught:
        load_network(UNet2DConditionModel, folder)
    return str(caught.value)


def run_fix(message: str) -> Path:
    """Run the command of a message; the folder that it says to name."""
    found = re.search(r"fix: (python -c .*), and name (\S+)$", message)
    assert found, message
    subprocess.run([sys.executable, *shlex.split(found[1])[1:]], check=True, capture_output=True)
    return Path(found[2])


def test_a_variant_in_half_precision_is_read_after_the_command_that_is_named(folder: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(folder).half()
    shutil.rmtree(folder)
    unet.save_pretrained(folder, variant="fp16", max_shard_size="50KB")
    made = run_fix(refused(folder, "pickles and variants in half precision are not read"))
    read = load_network(UNet2DConditionModel, made).state_dict()
    assert all((value == read[name]).all() for name, value in unet.float().state_dict().items())


def test_of_a_pipeline_all_parts_are_written(tmp_path: Path) -> None:
    folder = save_sdxl(tmp_path / "sdxl")
    for file in [*folder.rglob("*.safetensors")]:
        file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))
    with pytest.raises(UserError, match="half precision are not read") as caught:
        load_pipeline(folder)
    assert load_pipeline(run_fix(str(caught.value))).denoiser()


def test_weights_whole_and_in_parts_are_not_chosen_from(folder: Path, tmp_path: Path) -> None:
    """diffusers takes the parts without a word."""
    tiny_unet().save_pretrained(tmp_path / "parts", max_shard_size="50KB")
    for file in (tmp_path / "parts").glob("*.safetensors*"):
        shutil.copy(file, folder)
    refused(
        folder, rf"weights whole \({WHOLE}\) and in parts \(diffusion_pytorch_model-00001-of-.*; fix: move one"
    )


def test_a_link_to_nothing(folder: Path) -> None:
    (folder / WHOLE).unlink()
    (folder / WHOLE).symlink_to("../../blobs/0a1b")
    refused(folder, rf"{WHOLE} is a link to \.\./\.\./blobs/0a1b, which does not exist; fix: ")


def test_a_pointer_of_git_lfs(folder: Path) -> None:
    (folder / WHOLE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 1\n")
    refused(folder, rf"{WHOLE} is a Git LFS pointer, not the weights; fix: `git lfs pull`")
