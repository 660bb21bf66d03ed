"""What a data set of the user's own may load, and what a network of the user's own must keep on disk."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.core.disk import DiskFullError
from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.data.base import Dataset
from bench.data.images import LabelledImages, Splits
from bench.task.declaration import Sources
from tasks.digits import task as digits
from tasks.micro.task import MicroTask
from tasks.micro.teacher import build_denoiser, refuse_lost, train_teacher


def images_of(labels: list[int]) -> LabelledImages:
    return LabelledImages.of(np.zeros((len(labels), 1, 8, 8), np.uint8), np.array(labels, np.int64))


@dataclass(frozen=True)
class Given(Dataset):
    """A data set that loads what it is given."""

    loaded: Any = None

    def locate(self, folder: Path | None, cache: Path) -> Path | None:
        return folder or cache

    def load(self, *arguments: object) -> Any:
        del arguments
        return self.loaded


def splits_of(loaded: object, **changed: Any) -> Splits:
    """Return what a task of three classes makes of what its data set loaded."""
    hashes = {}
    if isinstance(loaded, Splits) and isinstance(loaded.train, LabelledImages):
        hashes = {"train_sha256": loaded.train.sha256, "held_out_sha256": loaded.held_out.sha256}
    task: MicroTask = replace(
        digits.TASK,
        data=Given("given", "given", "none", "give it", loaded),
        class_names=("a", "b", "c"),
        **hashes,
        **changed,
    )
    return task.splits(Sources(Path("cache")), SilentProgress())


SMALL = replace(digits.TASK.classifier, batch_size=2)


@pytest.mark.parametrize(
    ("train", "held_out", "said"),
    [
        (
            [0, 2, 2],
            [0, 1, 2],
            "training images from mine have none of class 1, and task 'digits' has the classes 0 to",
        ),
        ([0, 1, 2], [0, 1, 1], "held-out images from mine have none of class 2"),
        ([0, 1, 2], [0, 1, 2, 4], "held-out images from mine have the label 4"),
    ],
)
def test_both_splits_have_every_class_and_no_other(train: list[int], held_out: list[int], said: str) -> None:
    with pytest.raises(UserError, match=f"{said}.*; fix: let both splits"):
        splits_of(Splits(images_of(train), images_of(held_out), "mine"), classifier=SMALL)


def test_images_of_all_classes_are_taken_as_they_are() -> None:
    loaded = Splits(images_of([0, 1, 2]), images_of([2, 1, 0]), "mine")
    assert splits_of(loaded, classifier=SMALL) is loaded


@pytest.mark.parametrize("loaded", [None, images_of([0]), ([0], [1])])
def test_anything_else_than_two_splits_is_refused(loaded: object) -> None:
    with pytest.raises(UserError, match=r"the data set 'given' loaded \w+; fix: let its load\(\) return Splits"):
        splits_of(loaded)


@pytest.mark.parametrize("changed", [{"batch_size": 4}, {"batch_size": 2, "epochs": 0}])
def test_a_feature_network_that_would_not_be_trained_is_refused_before_the_teacher_is(changed: Any) -> None:
    loaded = Splits(images_of([0, 1, 2]), images_of([0, 1, 2]), "mine")
    with pytest.raises(
        UserError, match="feature network of task 'digits' would not be trained: 3 images in batches"
    ):
        splits_of(loaded, classifier=replace(SMALL, **changed))


def test_the_hash_of_images_is_that_of_their_pixels() -> None:
    with pytest.raises(TypeError, match=r"sha256|positional"):
        LabelledImages(*vars(images_of([0])).values())


def untrained() -> Any:
    return build_denoiser(digits.TASK.network, (1, 8, 8), 3)


def test_a_teacher_that_is_read_with_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it an untrained network would pass for the teacher."""
    denoiser = untrained()
    refuse_lost(denoiser)
    read = type(denoiser).read_network

    def forgetful(*arguments: Any, **options: Any) -> Any:
        network = read(*arguments, **options)
        with torch.no_grad():
            next(network.parameters()).add_(1)
        return network

    monkeypatch.setattr(type(denoiser), "read_network", forgetful)
    with pytest.raises(
        UserError, match=r"family 'edm' does not read the teacher that it wrote: .* are other ones; fix"
    ):
        refuse_lost(denoiser)


def test_a_teacher_that_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser = untrained()
    monkeypatch.setattr(type(denoiser), "describe", lambda self: {"a": object()})  # noqa: ARG005
    with pytest.raises(
        UserError, match=r"does not read the teacher that it wrote: TypeError: .*JSON.*; fix: let its"
    ):
        refuse_lost(denoiser)


def test_a_full_disk_is_no_fault_of_the_family(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    denoiser = untrained()
    monkeypatch.setattr(type(denoiser), "write_network", full)
    with pytest.raises(DiskFullError, match=r"^the disk is full"):
        refuse_lost(denoiser)


def test_a_teacher_whose_training_diverged_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(digits.TASK.teacher, iterations=2, batch_size=2)
    monkeypatch.setattr("tasks.micro.teacher.denoiser_loss", lambda denoiser, *_: _nan(denoiser))
    with pytest.raises(
        UserError, match=r"diverged: .* is not finite after 2 iterations; fix: correct the network"
    ):
        train_teacher(
            torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]), 3, digits.TASK.network, recipe, SilentProgress()
        )


def _nan(denoiser: torch.nn.Module) -> torch.Tensor:
    return sum(parameter.sum() for parameter in denoiser.parameters()) * float("nan")
