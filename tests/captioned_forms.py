"""The same few captioned images in every form that text-to-image data comes in."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from imagenet_forms import encoded, tar_of

SIZES = [(40, 64), (48, 32), (33, 33), (20, 70), (64, 64)]
"""Height and width: wide, tall, odd, smaller than 32 on one side."""


@dataclass(frozen=True)
class Picture:
    """One image with its caption."""

    name: str
    caption: str
    data: bytes
    pixels: np.ndarray
    """What a decoder makes of `data`: [H, W, 3] uint8."""


def pictures(count: int = 11) -> list[Picture]:
    """Smooth random images, JPEGs and PNGs in turn."""
    from PIL import Image

    made = []
    draw = np.random.RandomState(0)
    for number in range(count):
        height, width = SIZES[number % len(SIZES)]
        coarse = draw.randint(0, 256, (4, 4, 3)).astype(np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
        suffix = ("JPEG", "png")[number % 2]
        data = encoded(smooth, suffix)
        pixels = np.asarray(Image.open(io.BytesIO(data)))
        caption = f'a "picture" of Zoë\'s thing {number}'
        made.append(Picture(f"{number:05d}.{'jpg' if suffix == 'JPEG' else suffix}", caption, data, pixels))
    return made


def _images(root: Path, made: Sequence[Picture], below: str = "") -> Path:
    (root / below).mkdir(parents=True, exist_ok=True)
    for picture in made:
        (root / below / picture.name).write_bytes(picture.data)
    return root


def metadata_folder(root: Path, made: Sequence[Picture]) -> Path:
    """Hugging Face's imagefolder, with images one level down."""
    records = [{"file_name": f"images/{p.name}", "text": p.caption, "width": 3} for p in made]
    _images(root, made, "images")
    (root / "metadata.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return root


def captions_folder(root: Path, made: Sequence[Picture]) -> Path:
    _images(root, made)
    lines = "".join(f"{p.name}\t{p.caption}\n" for p in made)
    (root / "captions.txt").write_text(lines, encoding="utf-8")
    return root


def sidecar_folder(root: Path, made: Sequence[Picture]) -> Path:
    _images(root, made)
    for picture in made:
        (root / picture.name).with_suffix(".txt").write_text(f"{picture.caption}\n", encoding="utf-8")
    return root


def shards(root: Path, made: Sequence[Picture]) -> Path:
    """Two shards as img2dataset writes them; the second has its captions in the .json alone."""
    root.mkdir(parents=True)
    half = len(made) // 2
    for number, part in enumerate((made[:half], made[half:])):
        files = []
        for picture in part:
            stem = picture.name.partition(".")[0]
            files.append((picture.name, picture.data))
            if number == 0:
                files.append((f"{stem}.txt", picture.caption.encode()))
            files.append((f"{stem}.json", json.dumps({"caption": picture.caption, "key": stem}).encode()))
        (root / f"{number:05d}.tar").write_bytes(tar_of(files))
    return root


def latent_lmdb(
    root: Path, latents: np.ndarray, captions: Sequence[str], changes: dict[str, bytes | None] | None = None
) -> Path:
    """The official layout, then keys put or deleted."""
    import lmdb

    root.mkdir(parents=True)
    values: dict[str, bytes | None] = {"latents_shape": " ".join(map(str, latents.shape)).encode()}
    for i, (latent, caption) in enumerate(zip(latents, captions, strict=True)):
        values[f"latents_{i}_data"] = latent.tobytes()
        values[f"prompts_{i}_data"] = caption.encode()
    values.update(changes or {})
    with lmdb.open(str(root / "lmdb"), map_size=1 << 22) as environment, environment.begin(write=True) as writing:
        for key, value in values.items():
            if value is not None:
                writing.put(key.encode(), value)
    return root / "lmdb"


Form = Callable[[Path, Sequence[Picture]], Path]

FORMS: dict[Form, str] = {
    metadata_folder: "image folder with captions",
    captions_folder: "image folder with captions",
    sidecar_folder: "image folder with captions",
    shards: "webdataset shards",
}
"""Every form of images, and what the manifest calls it."""
