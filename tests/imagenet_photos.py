"""Small real images, cut from the two photographs that come with scikit-learn."""

import io

import numpy as np
from imagenet_forms import WNIDS, Sample, encoded
from PIL import Image
from sklearn.datasets import load_sample_images


def cut(sizes: list[tuple[int, int]], suffix: str, per_class: int = 7) -> list[Sample]:
    """Cut `per_class` pieces for each class, of the given heights and widths in turn, and encode them."""
    photos = load_sample_images().images
    samples = []
    for number in range(per_class * len(WNIDS)):
        height, width = sizes[number % len(sizes)]
        top, left = 13 * number % (427 - height), 29 * number % (640 - width)
        data = encoded(photos[number % 2][top : top + height, left : left + width], suffix)
        pixels = np.asarray(Image.open(io.BytesIO(data)))
        label = number // per_class
        samples.append(Sample(label, f"{WNIDS[label]}_{number:04d}.{suffix}", data, pixels))
    return samples
