"""Images of the tiny task in every form in which a user may give them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def write_folder(folder: Path, images: np.ndarray, names: Sequence[str] = ()) -> Path:
    """Write images [N, C, H, W] uint8 as PNG files, by default named by their number."""
    for number, image in enumerate(images):
        path = folder / (names[number] if names else f"{number:06d}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = image.transpose(1, 2, 0)
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(path)
    return folder


def zip_of(folder: Path, path: Path) -> Path:
    """Write a zip of a folder's files, with the folder around them, as file managers do."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, f"{folder.name}/{file.relative_to(folder)}")
    return path


def shards_of(folder: Path, to: Path, count: int = 2) -> Path:
    """Write a folder's files as tars, `000.tar` and so on."""
    to.mkdir()
    files = sorted(folder.rglob("*.*"))
    for shard in range(count):
        with tarfile.open(to / f"{shard:03d}.tar", "w") as tar:
            for file in files[shard * len(files) // count : (shard + 1) * len(files) // count]:
                data = file.read_bytes()
                info = tarfile.TarInfo(str(file.relative_to(folder)))
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return to
