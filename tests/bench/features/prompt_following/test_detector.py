"""GenEval's detector: rules on tensors made by hand, and a tiny network of the published class and format."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compositional_files import save_mask2former
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Mask2FormerForUniversalSegmentation

from bench.core.errors import UserError
from bench.data.text.object_names import NAMES
from bench.features.prompt_following.detector import TABLES, load_detector, objects_of, scaled
from bench.features.prompt_following.geneval_rules import Detection
from bench.features.prompt_following.object_colours import BACKGROUND, cut_out, sentences

LABELS = {0: "dog", 1: "cat"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mask2former(tmp_path_factory.mktemp("detector") / "mask2former")


def masks_of(*boxes: tuple[int, int, int, int], side: int = 8) -> Tensor:
    """Logits of 4 in each box and -4 outside, [boxes, side, side]."""
    masks = torch.full((len(boxes), side, side), -4.0)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 4.0
    return masks


def test_an_object_has_the_box_around_its_pixels_and_both_probabilities_in_its_score() -> None:
    logits = torch.tensor([[0.9, 0.05, 0.05]]).log()
    (found,) = objects_of(logits, masks_of((2, 1, 5, 8)), (8, 8), LABELS)
    assert (found.name, found.box) == ("dog", (2.0, 1.0, 5.0, 8.0))
    assert found.score == pytest.approx(0.9 * torch.tensor(4.0).sigmoid().item())
    assert found.mask is not None and found.mask.sum() == 3 * 7


def test_one_mask_may_be_two_kinds_and_no_object_is_none() -> None:
    logits = torch.tensor([[0.45, 0.45, 0.1], [0.1, 0.1, 0.8]]).log()
    found = objects_of(logits, masks_of((0, 0, 4, 4), (4, 4, 8, 8)), (8, 8), LABELS)
    assert sorted(one.name for one in found) == ["cat", "dog"]
    assert {one.box for one in found} == {(0.0, 0.0, 4.0, 4.0)}


def test_an_empty_mask_is_no_object() -> None:
    assert objects_of(torch.tensor([[9.0, 0.0, 0.0]]), masks_of((0, 0, 0, 0)), (8, 8), LABELS) == []


def test_masks_grow_with_the_image() -> None:
    (found,) = objects_of(torch.tensor([[9.0, 0.0, 0.0]]), masks_of((0, 0, 8, 4)), (32, 64), LABELS)
    assert found.mask is not None
    assert (found.mask.shape, found.box) == ((32, 64), (0.0, 0.0, 64.0, 16.0))


@pytest.mark.parametrize(("size", "expected"), [
    ((1024, 1024), (800, 800)),
    ((512, 1024), (667, 1333)),  # the longer side limits
    ((600, 800), (800, 1067)),
])  # fmt: skip
def test_images_are_resized_as_mmdet_does(size: tuple[int, int], expected: tuple[int, int]) -> None:
    pixels = scaled(torch.zeros(3, *size, dtype=torch.uint8), 800)
    assert tuple(pixels.shape[1:]) == expected
    assert pixels[:, 0, 0].tolist() == pytest.approx([-123.675 / 58.395, -116.28 / 57.12, -103.53 / 57.375])


def test_a_network_in_the_published_format_detects(folder: Path) -> None:
    """Its image is no multiple of 32 pixels."""
    detector = load_detector(folder, side=64)
    image = torch.randint(0, 256, (3, 40, 51), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = detector(image)
    assert found and {one.name for one in found} == {"dog"}
    for one in found:
        assert one.mask is not None and one.mask.shape == (40, 51)
        assert 0.3 < one.score <= 1 and 0 <= one.box[0] < one.box[2] <= 51 and 0 <= one.box[1] < one.box[3] <= 40


def test_tables_that_older_files_store_are_compared(folder: Path, tmp_path: Path) -> None:
    save_mask2former(tmp_path)
    network = Mask2FormerForUniversalSegmentation.from_pretrained(folder)
    tables = {name: value for name, value in network.named_buffers() if name.endswith(TABLES)}
    assert tables
    state = load_file(tmp_path / "model.safetensors")
    save_file(state | {name: value.clone() for name, value in tables.items()}, tmp_path / "model.safetensors")
    load_detector(tmp_path)
    other = {name: value + 1 for name, value in tables.items()}
    save_file(state | other, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"relative_position_index .not as the network makes it"):
        load_detector(tmp_path)


def test_other_labels_are_refused(tmp_path: Path) -> None:
    save_mask2former(tmp_path, tuple(f"LABEL_{number}" for number in range(len(NAMES))))
    with pytest.raises(UserError, match="does not detect COCO's 80 kinds"):
        load_detector(tmp_path)


def test_a_missing_tensor_is_refused_by_its_name(tmp_path: Path) -> None:
    save_mask2former(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["class_predictor.bias"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"class_predictor\.bias"):
        load_detector(tmp_path)


def test_an_object_is_cut_out_on_grey() -> None:
    image = torch.full((3, 4, 6), 7, dtype=torch.uint8)
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 2:4] = True
    found = Detection("dog", 0.9, (1.6, 1.0, 4.4, 3.0), mask)  # to whole pixels: 2 ... 4
    part = cut_out(image, replace(found, box=(1.4, 1.0, 4.4, 3.0)))
    assert part[0].tolist() == [[BACKGROUND, 7, 7], [BACKGROUND, 7, 7]]
    assert cut_out(image, found)[0].tolist() == [[7, 7], [7, 7]]
    assert (cut_out(image, replace(found, mask=None)) == 7).all()


def test_a_colour_has_three_sentences() -> None:
    assert sentences("red", "car") == [
        "a photo of a red car",
        "a photo of a red-colored car",
        "a photo of a red object",
    ]
