"""Images that a user gives are all checked before the first is measured, and are what is measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from given_forms import write_folder
from PIL import Image
from stopped_sources import Noted

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.data.given.files import open_given
from bench.evaluation import given_images
from bench.evaluation.function_images import FunctionImages, as_levels
from bench.evaluation.given_images import GivenImages
from bench.task.base import PreparedTask

COUNT = 120
"""Samples of the tiny task's protocol; its images are grey, 8x8."""


@pytest.fixture
def pixels(tiny: PreparedTask) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, *tiny.task.image_shape), dtype=np.uint8)


@pytest.fixture
def folder(pixels: np.ndarray, tmp_path: Path) -> Path:
    return write_folder(tmp_path / "mine", pixels)


def given(folder: Path, tiny: PreparedTask) -> GivenImages:
    return GivenImages(open_given(folder), None, tiny, SilentProgress())


@pytest.mark.parametrize("kept", [2**30, 0], ids=["kept in memory", "read twice"])
def test_batches_are_the_files_pixels_with_their_classes(
    pixels: np.ndarray, folder: Path, tiny: PreparedTask, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given_images, "KEPT_BYTES", kept)
    source = given(folder, tiny)
    batch = source.batch(0, 13, 50)
    assert source.repetitions == 1 and torch.equal(batch.images, torch.from_numpy(pixels[13:50]))
    assert batch.conditions is not None and torch.equal(batch.conditions, torch.arange(13, 50) % 10)
    assert batch.finite and not source.lossy and source.formats == {"PNG": COUNT}


def test_the_hash_is_of_pixels_and_order_alone(pixels: np.ndarray, tiny: PreparedTask, tmp_path: Path) -> None:
    def hash_of(name: str, images: np.ndarray) -> str:
        return given(write_folder(tmp_path / name, images, [f"{n}.png" for n in range(COUNT)]), tiny).sha256

    assert hash_of("a", pixels) == given(write_folder(tmp_path / "b", pixels), tiny).sha256
    assert hash_of("c", pixels[::-1]) != hash_of("d", pixels)


def test_what_is_no_image_and_is_left_out_is_told(folder: Path, tiny: PreparedTask) -> None:
    (folder / ".DS_Store").write_bytes(b"x")
    progress = Noted()
    GivenImages(open_given(folder), None, tiny, progress)
    assert progress.notes == [f"120 images found in {folder}, 1 skipped (1 .DS_Store)"]


def test_jpeg_is_measured_and_called_lossy(folder: Path, tiny: PreparedTask) -> None:
    Image.open(folder / "000007.png").save(folder / "000007.jpg")
    (folder / "000007.png").unlink()
    source = given(folder, tiny)
    assert source.lossy and source.formats == {"JPEG": 1, "PNG": COUNT - 1}


def resized(path: Path) -> None:
    Image.open(path).resize((9, 9)).save(path)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def in_colour(path: Path) -> None:
    Image.open(path).convert("RGB").save(path)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (resized, r"1 of another size than 8x8: 000003\.png \(9x9\)"),
        (cut_short, r"1 damaged or cut short: 000003\.png"),
        (in_colour, r"1 not of the mode L \(grey\): 000003\.png \(RGB\)"),
    ],
)
def test_one_image_that_is_not_as_it_should_be_is_named(
    spoil: Callable[[Path], None], problem: str, folder: Path, tiny: PreparedTask
) -> None:
    spoil(folder / "000003.png")
    with pytest.raises(UserError, match=rf"1 image of 120 cannot be measured as they are: {problem}.*; fix: "):
        given(folder, tiny)


def test_all_odd_images_are_counted_by_what_is_wrong(folder: Path, tiny: PreparedTask) -> None:
    for number in range(6):
        resized(folder / f"{number:06d}.png")
    cut_short(folder / "000100.png")
    with pytest.raises(UserError, match=r"7 images of 120 .*: 6 of another size .* and 2 more; 1 damaged or cut"):
        given(folder, tiny)


def test_removing_or_doubling_one_image_is_noticed(folder: Path, tiny: PreparedTask) -> None:
    (folder / "3.png").write_bytes((folder / "000003.png").read_bytes())
    with pytest.raises(UserError, match=r"1 image given more than once: number 3 is"):
        given(folder, tiny)
    (folder / "3.png").unlink()
    (folder / "000003.png").unlink()
    with pytest.raises(UserError, match=r"1 image missing, 119 given: .* number 3; the protocol needs 240 images"):
        given(folder, tiny)


def test_images_with_the_pixels_of_another_are_told_of_and_measured(
    folder: Path, tiny: PreparedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(SilentProgress, "note", lambda _, text: told.append(text))
    assert given(folder, tiny).repeated == 0 and not told
    (folder / "000042.png").write_bytes((folder / "000007.png").read_bytes())
    source = given(folder, tiny)
    assert source.repeated == 1 and torch.equal(source.batch(0, 7, 8).images, source.batch(0, 42, 43).images)
    assert told == ["2 images have the pixels of another one, and are measured: 000007.png, 000042.png"]


def test_an_image_that_changes_after_the_check_is_noticed(
    folder: Path, tiny: PreparedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given_images, "KEPT_BYTES", 0)
    source = given(folder, tiny)
    Image.new("L", (8, 8)).save(folder / "000003.png")
    with pytest.raises(UserError, match=r"000003\.png has changed since it was checked"):
        source.batch(0, 0, 10)


def test_a_functions_images_may_be_tensors_arrays_or_pillows(pixels: np.ndarray, tiny: PreparedTask) -> None:
    shape, expected = tiny.task.image_shape, torch.from_numpy(pixels[:4])
    last = expected.permute(0, 2, 3, 1)
    pillows = [Image.fromarray(image) for image in pixels[:4, 0]]
    for made in (expected, last, expected.numpy(), last.numpy(), pillows):
        assert torch.equal(as_levels(made, 4, shape, "f"), expected)


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (torch.zeros(4, 1, 8, 8), r"f returned Tensor of torch\.float32; fix: return 4 images of 8x8 .* uint8"),
        (torch.zeros(3, 1, 8, 8, dtype=torch.uint8), r"f returned a tensor \[3, 1, 8, 8\]; fix: return 4 images"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), r"f returned a tensor \[4, 3, 8, 8\]"),
        ([Image.new("RGB", (8, 8))] * 4, r"f returned RGB 8x8; fix: .* mode L"),
        ([Image.new("L", (8, 8)), Image.new("L", (9, 8))], r"f returned L 8x8, L 9x8; fix: "),
        ([], r"f returned no images"),
        (None, r"f returned NoneType; fix: "),
    ],
)
def test_what_a_function_may_not_return(made: object, problem: str, tiny: PreparedTask) -> None:
    with pytest.raises(UserError, match=problem):
        as_levels(made, 4, tiny.task.image_shape, "f")


def test_a_function_gets_classes_and_seeds_and_its_errors_have_a_line(tiny: PreparedTask) -> None:
    asked: list[object] = []

    def draw(classes: list[int], seeds: list[int]) -> torch.Tensor:
        asked.extend([classes, seeds])
        if len(seeds) == 2:
            raise RuntimeError("out of paper")
        return torch.zeros(len(seeds), *tiny.task.image_shape, dtype=torch.uint8)

    source = FunctionImages(draw, "mine.py:draw", tiny)
    batch = source.batch(1, 11, 14)
    first = tiny.task.protocol.first_seed + COUNT
    assert asked == [[1, 2, 3], [first + 11, first + 12, first + 13]]
    assert len(batch) == 3 and not batch.images.any()
    with pytest.raises(UserError, match=r"mine\.py:draw failed at .*\.py:\d+: RuntimeError: out of paper"):
        source.batch(0, 0, 2)


def noise_of(shape: tuple[int, ...], seed: int | None) -> torch.Tensor:
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    "draw",
    [
        lambda shape, seeds: noise_of((len(seeds), *shape), None),
        lambda shape, seeds: noise_of((len(seeds), *shape), 0),
        lambda shape, seeds: noise_of((len(seeds), *shape), seeds[0]),
    ],
    ids=["unseeded", "one seed for all batches", "the first seed for a batch"],
)
def test_a_function_whose_images_depend_on_their_batch_is_refused(draw: Any, tiny: PreparedTask) -> None:
    """With one seed for all batches, repetitions have the same images, and a metric no interval."""
    shape = tiny.task.image_shape
    source = FunctionImages(lambda classes, seeds: draw(shape, seeds), "mine.py:draw", tiny)  # noqa: ARG005
    with pytest.raises(
        UserError, match=r"mine\.py:draw makes another image of the same seed .*; fix: draw the noise"
    ):
        source.probe(SilentProgress())


def test_a_function_with_a_seed_for_each_image_is_accepted_to_rounding(tiny: PreparedTask) -> None:
    def draw(classes: list[int], seeds: list[int]) -> torch.Tensor:  # noqa: ARG001
        images = torch.stack([noise_of(tiny.task.image_shape, seed) for seed in seeds]) // 2
        return images + len(seeds)

    progress = Noted()
    FunctionImages(draw, "mine.py:draw", tiny).probe(progress)
    assert progress.notes == []


def test_a_function_that_gives_two_seeds_one_image_is_told(tiny: PreparedTask) -> None:
    def draw(classes: list[int], seeds: list[int]) -> torch.Tensor:  # noqa: ARG001
        return torch.stack([noise_of(tiny.task.image_shape, one) for one in classes])

    progress = Noted()
    FunctionImages(draw, "mine.py:draw", tiny).probe(progress)
    (note,) = progress.notes
    assert note.startswith(f"mine.py:draw makes the same image of the seeds 0 and {COUNT}: ")


def test_a_function_of_other_arguments_is_told_which_it_gets(tiny: PreparedTask) -> None:
    source = FunctionImages(lambda seeds: seeds, "mine.py:draw", tiny)
    with pytest.raises(
        UserError, match=r"draw failed: TypeError: .*; fix: let it take two arguments, conditions and"
    ):
        source.probe(SilentProgress())
