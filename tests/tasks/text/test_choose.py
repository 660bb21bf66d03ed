"""Real images as they are seen before their statistics are kept."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from inception_files import photographs
from PIL import Image
from torch import Tensor

from tasks.coco import TASK_10K
from tasks.data.text.folders import ImageFiles
from tasks.references import Description, checked_reference, load_reference, save_reference
from tasks.text import choose
from tasks.text.choose import PATCH_SUFFIX

SIZES = [(320, 300), (299, 299), (298, 400), (40, 40), (350, 310)]


def features(images: Tensor) -> dict[str, Tensor]:
    """A feature network of a few numbers."""
    flat = images.float().flatten(2)
    return {"pool": torch.cat([flat.mean(dim=2), flat.std(dim=2)], dim=1)}


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    """Two of five images have no patch of 299 pixels."""
    paths = []
    for number, (width, height) in enumerate(SIZES):
        photo = photographs(1, max(width, height))[0, :, :height, :width]
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(photo.permute(1, 2, 0).numpy()).save(paths[-1])
    return ImageFiles(tmp_path, paths)


def test_real_images_without_a_patch_are_counted(files: ImageFiles) -> None:
    counted: Counter[str] = Counter()
    (batch,) = choose._seen(files, features, TASK_10K, counted)  # type: ignore[arg-type]
    assert {suffix: rows.shape for suffix, rows in batch.items()} == {"": (5, 6), PATCH_SUFFIX: (5, 6)}
    assert counted == {PATCH_SUFFIX: 2}


def test_the_count_is_kept_with_the_reference(tmp_path: Path) -> None:
    """References from before it was kept are read, too."""
    rows = np.random.default_rng(0).normal(size=(50, 3))
    about = Description("reals-patch", "pixels", 50, None, "reals", "0" * 64, fallbacks=2)
    save_reference(checked_reference(rows.mean(axis=0), np.cov(rows.T), about, "reals"), tmp_path)
    assert load_reference(tmp_path, "reals-patch").description.fallbacks == 2
    description = tmp_path / "reals-patch" / "reference.json"
    description.write_text(description.read_text().replace(',\n  "fallbacks": 2', ""))
    assert load_reference(tmp_path, "reals-patch").description.fallbacks is None
