"""Small real images, cut from the two photographs that come with scikit-learn."""

import pytest
from imagenet_forms import Sample
from imagenet_photos import cut

from bench.data.imagenet import pack


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
