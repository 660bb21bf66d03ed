"""Labelled images: validation, and a hash of everything that they hold."""

import hashlib

import numpy as np
import pytest

from bench.data.images import LabelledImages, Splits


def pixels(n: int = 3, size: int = 2) -> np.ndarray:
    return np.arange(n * size * size, dtype=np.uint8).reshape(n, 1, size, size)


def test_hash_is_of_shapes_then_pixels_then_labels() -> None:
    held = LabelledImages.of(pixels(2), np.array([1, 0]))
    expected = b'{"images":[2,1,2,2],"labels":[2]}' + bytes(range(8)) + b"\1" + bytes(15)
    assert held.sha256 == hashlib.sha256(expected).hexdigest()
    assert len(held) == 2


def test_hash_tells_pixels_labels_and_shapes_apart() -> None:
    labels = np.array([0, 1, 2])
    sets = [
        LabelledImages.of(pixels(), labels),
        LabelledImages.of(pixels() + np.uint8(1), labels),
        LabelledImages.of(pixels(), labels[::-1]),
        LabelledImages.of(pixels().reshape(3, 2, 2, 1), labels),
    ]
    assert len({s.sha256 for s in sets}) == 4


def test_hash_does_not_depend_on_memory_layout() -> None:
    strided = np.repeat(pixels(), 2, axis=3)[..., ::2]
    assert not strided.flags.c_contiguous
    held = LabelledImages.of(strided, np.arange(6)[::2])
    assert held.images.flags.c_contiguous
    assert held.sha256 == LabelledImages.of(pixels(), np.array([0, 2, 4])).sha256


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (pixels().astype(np.float32), np.arange(3), "uint8"),
        (pixels()[:, 0], np.arange(3), r"\[N, C, H, W\]"),
        (pixels(), np.arange(3, dtype=np.int32), "int64"),
        (pixels(), np.arange(3)[:, None], r"\[N\]"),
        (pixels(), np.arange(2), "3 images but 2 labels"),
        (pixels()[:0], np.arange(0), "no pixels"),
        (pixels(), np.array([0, -1, 0]), "negative: -1"),
    ],
)
def test_malformed_sets_are_refused(images: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelledImages.of(images, labels)


def test_splits_have_one_image_shape() -> None:
    labels = np.arange(3)
    with pytest.raises(ValueError, match="image shapes differ"):
        Splits(LabelledImages.of(pixels(), labels), LabelledImages.of(pixels(size=4), labels), "made up")
