"""Small real images, cut from the two photographs that come with scikit-learn."""

import io

import numpy as np
import pytest
from imagenet_forms import WNIDS, Sample, encoded
from PIL import Image
from sklearn.datasets import load_sample_images

from tasks.data.imagenet import pack

PER_CLASS = 7


def cut(sizes: list[tuple[int, int]], suffix: str) -> list[Sample]:
    """Cut PER_CLASS pieces for each class, of the given heights and widths in turn, and encode them."""
    photos = load_sample_images().images
    samples = []
    for number in range(PER_CLASS * len(WNIDS)):
        height, width = sizes[number % len(sizes)]
        top, left = 13 * number % (427 - height), 29 * number % (640 - width)
        data = encoded(photos[number % 2][top : top + height, left : left + width], suffix)
        pixels = np.asarray(Image.open(io.BytesIO(data)))
        label = number // PER_CLASS
        samples.append(Sample(label, f"{WNIDS[label]}_{number:04d}.{suffix}", data, pixels))
    return samples


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six blocks for 21 images."""
    monkeypatch.setattr(pack, "BLOCK", 4)


@pytest.fixture(scope="session")
def small() -> list[Sample]:
    """PNGs that are 64x64 already: every form can hold them, without loss."""
    return cut([(64, 64)], "png")


@pytest.fixture(scope="session")
def photos() -> list[Sample]:
    """JPEGs of several sizes: wide, tall, odd, one side 64, smaller than 64."""
    return cut([(301, 400), (333, 200), (64, 90), (129, 129), (50, 41)], "JPEG")
