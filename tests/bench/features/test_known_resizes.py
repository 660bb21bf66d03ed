"""The resizes' numbers are those of the packages, and another filter is noticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bench.features.known_resizes import KNOWN_RESIZES, KnownResize, fingerprint, formula_image

SMALLER, LARGER = KNOWN_RESIZES[:2]
BY_PILLOW = [one for one in KNOWN_RESIZES if "Pillow's" in one.case]


def by_clean_fid(images: Tensor) -> Tensor:
    resize = pytest.importorskip("cleanfid.resize").make_resizer("PIL", False, "bicubic", (299, 299))
    return torch.from_numpy(resize(images[0].permute(1, 2, 0).numpy())).permute(2, 0, 1)[None].clamp(0, 255)


def by_torch_fidelity(images: Tensor) -> Tensor:
    package = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    found: Tensor = package.interpolate_bilinear_2d_like_tensorflow1x(
        images.float(), size=(299, 299), align_corners=False
    )
    return found


@pytest.mark.parametrize("known", KNOWN_RESIZES, ids=lambda known: known.case)
def test_the_numbers_are_those_of_the_packages(known: KnownResize) -> None:
    packages: dict[str, Callable[[Tensor], Tensor]] = {"clean-fid": by_clean_fid, "torch-fid": by_torch_fidelity}
    theirs = packages.get(known.source[:9], known.resize)  # Pillow is what ours calls
    image = formula_image(known.height, known.width)
    assert fingerprint(theirs(image)) == pytest.approx(known.expected, abs=known.tolerance)
    assert fingerprint(known.resize(image)) == pytest.approx(known.expected, abs=known.tolerance)


def is_right(known: KnownResize) -> bool:
    found = fingerprint(known.resize(formula_image(known.height, known.width)))
    return abs(found - known.expected) <= known.tolerance


@pytest.mark.parametrize("known", [SMALLER, LARGER], ids=lambda known: known.case)
@pytest.mark.parametrize("fault", ["no antialias", "float32", "bilinear"])
def test_another_interpolation_is_noticed(known: KnownResize, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = F.interpolate

    def other(images: Tensor, *given: Any, **options: Any) -> Tensor:
        options |= {"no antialias": {"antialias": False}, "bilinear": {"mode": "bilinear"}}.get(fault, {})
        return right(images.float() if fault == "float32" else images, *given, **options)

    monkeypatch.setattr(F, "interpolate", other)
    assert not is_right(known)


@pytest.mark.parametrize("known", BY_PILLOW, ids=lambda known: known.case)
def test_a_pillow_with_another_filter_is_noticed(known: KnownResize, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, size, _: right(self, size, Image.Resampling.BILINEAR))
    assert not is_right(known)


def test_the_image_has_every_grey_level_and_is_the_same_everywhere() -> None:
    image = formula_image(64, 48).numpy()
    assert np.unique(image).size == 256
    assert image[0, :, 5, 7].tolist() == [(25 * (c + 3) // 8 + 7 * 35 // 4 + 49) % 256 for c in range(3)]
