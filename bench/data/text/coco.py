"""Select the prompts of the paper's protocols from COCO 2014 validation, and find their real images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import UserError, without_fix
from bench.core.files import regular_file
from bench.data.kinds import IMAGE_KINDS
from bench.data.plain import json_of, kind_of
from bench.data.source import Files, images_under, read_bytes
from bench.data.text.prompts import PromptList, read_prompts

VAL2014_IMAGES = 40_504
COCO30K_PROMPTS = 30_000
COCO30K_SHA256 = "9644fff829054902877863ed0936eb7bdf72c837d9a8ff19f610996d76abdf21"
"""PromptList.sha256 of the published captions, each without surrounding blanks, as the .txt file is read."""
COCO10K_PROMPTS = 10_000
COCO10K_SEED = 123


@dataclass(frozen=True)
class CocoSubset:
    """Prompts and the real images that generated images are compared with."""

    prompts: PromptList
    images: tuple[str, ...]
    """File names, such as COCO_val2014_000000000042.jpg."""


@dataclass(frozen=True)
class Captions:
    """The content of captions_val2014.json."""

    images: dict[int, str]
    """File name of each image, by its id, in the file's order."""
    rows: list[tuple[int, str]]
    """(id of the image, caption), in the file's order; five or more for each image."""

    def merged(self) -> list[tuple[int, str]]:
        """Return the rows in the order of a left merge into `images`: by image, then as in the file."""
        of: dict[int, list[str]] = {image: [] for image in self.images}
        for image, caption in self.rows:
            of[image].append(caption)
        return [(image, caption) for image, captions in of.items() for caption in captions]


def coco30k(path: Path) -> PromptList:
    """Read the published 30,000 captions from `captions_coco14_test`, as .txt or .pkl.

    Their selection rule is unknown, so the list comes only from its file; images of these prompts are compared
    with all 40,504 of val2014. Blanks around the captions in the .pkl are kept. Raises
    UserError if it is another list.
    Source: metrics-and-protocols, P2.
    """
    listed = read_prompts(path, name="coco30k")
    stripped = PromptList.of(listed.name, [prompt.strip() for prompt in listed], listed.source)
    if stripped.sha256 != COCO30K_SHA256:
        raise UserError(
            f"{path} holds {len(listed):,} prompts with the SHA-256 {stripped.sha256}, not the "
            f"{COCO30K_PROMPTS:,} published captions; fix: download captions_coco14_test again"
        )
    return listed


def coco10k(path: Path) -> CocoSubset:
    """Select 10,000 images of val2014 and a caption of each by the official rule; images[i] has prompts[i].

    `path` is captions_val2014.json. The rule: merge the captions into the file's `images` (a left merge, which
    takes the images in their order and the captions of each in theirs), seed numpy with 123, shuffle all
    (image, caption) rows, keep the first of each image, sample 10,000. Pandas does it with one stream of random
    numbers: `sample(frac=1)`, `drop_duplicates` and `sample(10_000)` after `numpy.random.seed(123)`, each of which
    takes a prefix of RandomState.permutation. The order of rows decides the list: rows in the order of
    `annotations` give a list that shares only a quarter of its images with the official one, by chance.
    Raises UserError if the file is not COCO's. Source: official-dmd2, 3.3.
    """
    captions = read_captions(path)
    rows = captions.merged()
    random = np.random.RandomState(COCO10K_SEED)
    first: dict[int, str] = {}
    for row in random.permutation(len(rows)):
        first.setdefault(*rows[row])
    ids = list(first)
    chosen = [ids[place] for place in random.permutation(len(ids))[:COCO10K_PROMPTS]]
    source = f"{path.name}: one caption each of {len(chosen):,} images, merged, numpy seed {COCO10K_SEED}"
    prompts = PromptList.of("coco10k", tuple(first[image] for image in chosen), source)
    return CocoSubset(prompts, tuple(captions.images[image] for image in chosen))


def is_captions_file(path: Path) -> bool:
    """Say whether a file holds captions in COCO's format, of any year and split, not a list of prompts."""
    if path.suffix.lower() != ".json":
        return False
    try:
        content = _json(path)
    except UserError:
        return False  # reading it as a list of prompts then reports the error
    return isinstance(content, dict) and "annotations" in content


def read_captions(path: Path) -> Captions:
    """Read captions_val2014.json. Raises UserError if it is missing, damaged or of another year or split."""
    try:
        content = _json(path)
        if not isinstance(content, dict):
            raise UserError(f"{path} is {kind_of(content)}, and no captions file of COCO")
        images = {int(image["id"]): _text_in(image, "file_name") for image in content["images"]}
        rows = [(int(row["image_id"]), _text_in(row, "caption")) for row in content["annotations"]]
        if len(images) != len(content["images"]):
            raise ValueError("two images have one id")
    except UserError as error:
        raise UserError(f"{without_fix(error)}; fix: name captions_val2014.json") from None
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise UserError(
            f"{path} is not a captions file of COCO ({type(error).__name__}: {error}); "
            "fix: unpack annotations_trainval2014.zip again"
        ) from None
    captioned = {image for image, _ in rows}
    if len(images) != VAL2014_IMAGES or captioned != set(images):
        raise UserError(
            f"{path} lists {len(images):,} images and captions of {len(captioned):,}, not {VAL2014_IMAGES:,} of "
            "each; fix: name captions_val2014.json"
        )
    return Captions(images, rows)


def _json(path: Path) -> Any:
    """Read a JSON file. Raises UserError if it cannot be read, is a pipe or a device, or is too large."""
    return json_of(read_bytes(regular_file(path)), str(path))


def _text_in(row: Any, key: str) -> str:
    """Return a text of a row. Raises TypeError for anything else: None must not become the caption "None"."""
    if not isinstance(row[key], str):
        raise TypeError(f"a {key} is {type(row[key]).__name__}, not text")
    text: str = row[key]
    return text


def real_images(folder: Path) -> Files:
    """Find all images under `folder`, in order of their paths. Raises UserError if there is none."""
    found = images_under(folder.expanduser())
    if not found.paths:
        raise UserError(f"{folder} holds no {IMAGE_KINDS} images; fix: name the folder of the real images")
    return found


def locate_images(folder: Path, names: Sequence[str]) -> list[Path]:
    """Find images by their file names anywhere under `folder`, in the order of `names`.

    Raises UserError that names a duplicate, or the number of missing images and the first of them.
    """
    found: dict[str, Path] = {}
    for path in real_images(folder).paths:
        if found.setdefault(path.name, path) != path:
            raise UserError(
                f"{folder} holds {path.name} more than once, as {found[path.name]} and {path}; "
                "fix: name the folder of one copy"
            )
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(
            f"{len(missing):,} of {len(names):,} images are missing in {folder}, the first is {missing[0]}; "
            "fix: unpack val2014.zip there, or name the folder that holds it"
        )
    return [found[name] for name in names]
