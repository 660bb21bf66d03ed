"""What a user gave has the name that the user knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.path_names import path_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("models/fast.safetensors", "fast.safetensors"),
        ("hub/models--me--fast-v1.5/snapshots/0123abcd", "fast-v1.5"),
        ("hub/models--me--fast/snapshots/0123abcd/unet", "fast-unet"),
        ("hub/models--me--fast/snapshots/0123abcd/unet/model.fp16.safetensors", "fast-model.fp16.safetensors"),
        ("models/fast/unet", "fast-unet"),
        ("models/fast/pytorch_lora_weights.safetensors", "fast-pytorch_lora_weights.safetensors"),
        (f"{'0123456789' * 4}/unet", "012345678901-unet"),
        ("/unet", "unet"),
        ("models/unet-fast", "unet-fast"),
        ("hub/models--gpt2/snapshots/0123abcd", "gpt2"),
        ("photos/snapshots/monday", "monday"),
    ],
)
def test_a_name_tells_a_model_from_others(path: str, name: str) -> None:
    assert path_name(Path(path)) == name


def test_a_link_has_its_own_name(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / "77aa"
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    (tmp_path / "lora.safetensors").symlink_to(blob)
    assert path_name(tmp_path / "lora.safetensors") == "lora.safetensors"


def test_dots_stand_for_the_folder_that_they_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert path_name(Path()) == tmp_path.name
    assert path_name(Path("..")) == tmp_path.parent.name
