"""Saturation, sharpness and contrast against the standard library, SciPy and NumPy, and where they are known."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from inception_files import photographs
from scipy.ndimage import gaussian_filter, laplace

from bench.features.batch import ImageBatch
from bench.features.extracting import pixel_features
from bench.features.pixel_statistics import SIDE, pixel_statistics
from bench.features.preprocess import square


def test_equals_colorsys_and_scipy_on_photographs() -> None:
    images = photographs(3, 24)
    expected = []
    for image in images.permute(0, 2, 3, 1).numpy().astype(np.float64):
        saturations = [colorsys.rgb_to_hsv(*pixel)[1] for pixel in image.reshape(-1, 3) / 255]
        luma = image @ np.array([0.299, 0.587, 0.114])
        expected.append([np.mean(saturations), laplace(luma)[1:-1, 1:-1].var(), luma.std()])
    np.testing.assert_allclose(pixel_statistics(images).numpy(), expected, rtol=1e-12)


def test_grey_red_and_black_are_known() -> None:
    images = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    images[0], images[1, 0] = 77, 200
    np.testing.assert_allclose(pixel_statistics(images).numpy(), [[0, 0, 0], [1, 0, 0], [0, 0, 0]], atol=1e-10)


def test_a_blurred_image_is_less_sharp() -> None:
    image = photographs(1, 64).numpy()
    soft = torch.from_numpy(gaussian_filter(image, (0, 0, 1, 1)))
    assert pixel_statistics(soft)[0, 1] < 0.5 * pixel_statistics(torch.from_numpy(image))[0, 1]


def test_large_squares_are_reduced_and_small_or_grey_images_stay_as_they_are() -> None:
    wide = photographs(2, SIDE + 60)[:, :, :-20]
    found = pixel_features(ImageBatch(wide)).features
    np.testing.assert_array_equal(found, pixel_statistics(square(wide, SIDE)).numpy())
    grey = photographs(2, 28)[:, :1]
    np.testing.assert_array_equal(
        pixel_features(ImageBatch(grey)).features, pixel_statistics(grey.expand(-1, 3, -1, -1)).numpy()
    )


def test_real_images_of_many_sizes_are_read_in_full_resolution() -> None:
    """The crop that a protocol made of them for another network is not looked at."""
    originals = [photographs(1, side) for side in (40, 90)]
    crops = torch.cat([square(one, 16) for one in originals])
    found = pixel_features(ImageBatch(crops, originals=originals)).features
    expected = torch.cat([pixel_statistics(one) for one in originals]).numpy()
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float64 and found[:, 1] == pytest.approx(expected[:, 1])
