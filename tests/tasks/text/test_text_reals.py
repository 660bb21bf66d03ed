"""The folder of real images that a text-to-image task was given, read again for further feature extractors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from inception_files import photographs
from PIL import Image

from bench.core.errors import UserError
from bench.features.preprocess import square
from bench.task.pinned import PinnedAsset
from tasks.text.reals import open_reals, pinned_reals

NAMES = ("2.png", "0.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photographs, 40 pixels high and 40 to 60 wide."""
    for i, photo in enumerate(photographs(3, 60)):
        Image.fromarray(photo[:, :40, : 40 + 10 * i].permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
    return tmp_path


def pinned(folder: Path, names: tuple[str, ...]) -> PinnedAsset:
    return PinnedAsset(str(folder), open_reals(folder, names).index_sha256, "three images")


@pytest.mark.parametrize("names", [(), NAMES])
def test_images_come_in_their_order_as_squares_with_their_originals(folder: Path, names: tuple[str, ...]) -> None:
    found = pinned_reals(pinned(folder, names), names, 16, "coco10k")
    (batch,) = found.batches()
    photos = photographs(3, 60)
    expected = [photos[i : i + 1, :, :40, : 40 + 10 * i] for i in ((2, 0) if names else (0, 1, 2))]
    assert found.count == len(expected) and found.crop == "centre square, 16 px"
    assert all(torch.equal(one, other) for one, other in zip(batch.originals, expected, strict=True))
    assert torch.equal(batch.images, torch.cat([square(one, 16) for one in expected]))


def test_a_folder_that_lacks_an_image_or_has_another_one_is_refused(folder: Path) -> None:
    asset, listed = pinned(folder, ()), pinned(folder, NAMES)
    (folder / "1.png").unlink()
    message = re.escape(
        f"the real images in {folder} have changed since bench prepare pinned them; fix: bench prepare"
    )
    with pytest.raises(UserError, match=message):
        pinned_reals(asset, (), 16, "coco10k")
    assert pinned_reals(listed, NAMES, 16, "coco10k").count == 2
    (folder / "2.png").unlink()
    with pytest.raises(UserError, match=r"1 of 2 images are missing in .*, the first is 2\.png; fix: "):
        pinned_reals(listed, NAMES, 16, "coco10k")
