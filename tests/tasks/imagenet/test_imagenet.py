"""The declaration of the ImageNet task: pinned assets, missing requirements, protocols."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.features.files import TRUNKS
from bench.models.weights.edm_unet import IMAGENET64, edm_unet
from bench.task.declaration import Sources
from tasks.imagenet.task import PinnedAsset, PinnedImageNet
from tasks.imagenet64 import TASK

CHOSEN = {
    "features": PinnedAsset("/nowhere/own.pth", "f" * 64, "inception-own-ffff"),
    "reference": PinnedAsset("/nowhere/reals", "a" * 64, "reals"),
}
PINNED = PinnedImageNet(**CHOSEN)


def test_a_choice_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert PinnedImageNet.pin(tmp_path / "pinned.json", **CHOSEN) == PINNED
    assert PinnedImageNet.read(tmp_path / "pinned.json") == PINNED
    assert PinnedImageNet.read(tmp_path / "none.json") == PinnedImageNet()


@pytest.mark.parametrize("content", ["{", "[]", '{"data": {"path": 1}}', '{"colour": {}}'])
def test_a_damaged_choice_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pinned.json"
    path.write_text(content)
    with pytest.raises(UserError, match=rf"{path} is damaged .* bench prepare again"):
        PinnedImageNet.read(path)


def test_protocols_carry_the_features_and_the_reference_that_were_chosen(tmp_path: Path) -> None:
    PinnedImageNet.pin(TASK.pinned_path(tmp_path), **CHOSEN)
    task = TASK.located(tmp_path)
    for protocol in (task.protocol, *task.protocols.values()):
        assert (protocol.features, protocol.reference) == ("inception-own-ffff", "reals")
    assert task.protocol.digest() != TASK.protocol.digest()


def test_identity_follows_the_bytes_that_were_chosen(tmp_path: Path) -> None:
    assert set(TASK.identity().values()) == {"not chosen"}
    PinnedImageNet.pin(TASK.pinned_path(tmp_path), **CHOSEN)
    assert TASK.located(tmp_path).identity() == {
        "data": "not chosen",
        "teacher": "not chosen",
        "features": "f" * 64,
        "reference": "a" * 64,
    }


def test_our_protocol_takes_in_the_metrics_that_the_choice_allows(tmp_path: Path) -> None:
    """Published protocols stay as they are, and so does the identity of runs that have nothing further."""
    PinnedImageNet.pin(TASK.pinned_path(tmp_path), **CHOSEN)
    PinnedImageNet.pin(
        TASK.pinned_path(tmp_path),
        reference=replace(CHOSEN["reference"], rows=100),
        spatial=PinnedAsset("/nowhere/reals-spatial", "b" * 64, "reals-spatial"),
        dinov2=PinnedAsset("/nowhere/dinov2", "c" * 64, "dinov2-vitl14"),
    )
    task = TASK.located(tmp_path)
    assert task.protocol.metrics == ("fd", "is", "kid", "precision", "recall", "sfid")  # DINOv2 has no reference
    assert task.protocol.network("spatial") == "inception-own-ffff-spatial"
    assert task.protocols["imagenet64-edm"].metrics == ("fd",)
    assert task.identity()["spatial"] == "b" * 64 and "dinov2_reference" not in task.identity()


def test_another_protocol_is_taken_by_name(tmp_path: Path) -> None:
    task = TASK.located(tmp_path).under("imagenet64-edm")
    assert (task.protocol.labels, task.protocol.aggregate) == ("random", "minimum")
    with pytest.raises(UserError, match=r"unknown protocol of task 'imagenet64': 'imagenet64-emd'; did you mean"):
        TASK.under("imagenet64-emd")


def test_the_network_has_the_size_that_costs_are_printed_for() -> None:
    with torch.device("meta"):
        unet = edm_unet(IMAGENET64)
    assert sum(parameter.numel() for parameter in unet.parameters()) == TASK.network_parameters


def test_what_is_missing_is_said_with_the_command_that_gets_it(tmp_path: Path) -> None:
    assert [requirement.path for requirement in TASK.requirements(Sources(tmp_path))] == [None] * 4
    with pytest.raises(UserError) as caught:
        TASK.located(tmp_path).prepare(Sources(tmp_path), SilentProgress())
    for option in ("--data", "--teacher", "--weights", "--reference"):
        assert f"bench prepare --task imagenet64 {option}" in str(caught.value)


def test_lpips_is_asked_for_by_recipes_alone_and_names_no_other_run(tmp_path: Path) -> None:
    (requirement,) = TASK.role_requirements({"lpips", "tiny_vae"})
    assert requirement.path is None and TASK.role_requirements(frozenset()) == []
    assert requirement.fix.startswith("bench prepare --task imagenet64 --weights lpips=FILE")
    assert TRUNKS["vgg"].url in requirement.fix and TRUNKS["vgg"].name in requirement.fix
    weights = tmp_path / "vgg16.pth"
    weights.touch()
    PinnedImageNet.pin(TASK.pinned_path(tmp_path), **CHOSEN)
    without = TASK.located(tmp_path)
    PinnedImageNet.pin(TASK.pinned_path(tmp_path), lpips=PinnedAsset(str(weights), "1" * 64, "LPIPS's VGG16"))
    task = TASK.located(tmp_path)
    (found,) = task.role_requirements({"lpips"})
    assert found.path == weights
    assert (task.identity(), task.protocol) == (without.identity(), without.protocol)


def test_another_file_is_not_chosen_as_lpips(tmp_path: Path) -> None:
    (tmp_path / "vgg16.pth").write_bytes(b"another")
    with pytest.raises(UserError, match=r"vgg16.pth is not vgg16-397923af.pth: its SHA-256 is"):
        TASK.pin(Sources(tmp_path, weights={"lpips": tmp_path / "vgg16.pth"}), SilentProgress())
    assert TASK.located(tmp_path).pinned.lpips is None
