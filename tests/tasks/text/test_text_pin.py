"""Pinning of text-to-image assets: real images, prompts and networks are checked before they are stored."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from inception_files import photographs
from PIL import Image
from recorded_notes import RecordedNotes
from single_file import write_single_file
from torch import Tensor

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.data.altered import ENLARGED, TRANSPARENT
from bench.data.text.folders import ImageFiles
from bench.data.text.prompts import PromptList
from bench.features.batch import ImageBatch
from bench.features.extracting import inception_of_patches, inception_of_squares
from bench.features.references.make import FeatureSpace, folder_images, make_references
from bench.features.references.store import Description, checked_reference, load_reference, save_reference
from bench.features.views import NO_PATCH
from bench.task.declaration import Sources
from bench.task.pinned import PinnedAsset, pin_assets, read_pinned
from tasks.coco import TASK_10K, TASK_30K
from tasks.partiprompts import TASK as PARTIPROMPTS
from tasks.text import pin as choose
from tasks.text.prompts import kept_prompts, pinned_prompts
from tasks.text.teachers import pinned_teacher

SIZES = [(320, 300), (299, 299), (298, 400), (40, 40), (350, 310)]


def features(images: Tensor) -> dict[str, Tensor]:
    """A feature network of a few numbers."""
    flat = images.float().flatten(2)
    return {"pool": torch.cat([flat.mean(dim=2), flat.std(dim=2)], dim=1)}


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    """Two of five images have no patch of 299 pixels."""
    paths = []
    for number, (width, height) in enumerate(SIZES):
        photo = photographs(1, max(width, height))[0, :, :height, :width]
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(photo.permute(1, 2, 0).numpy()).save(paths[-1])
    return ImageFiles(tmp_path, paths)


def test_real_images_without_a_patch_are_counted(files: ImageFiles) -> None:
    (batch,) = folder_images(files, side=64).batches()
    whole = inception_of_squares(features, 64, batch)  # type: ignore[arg-type]
    patches = inception_of_patches(features, "squash", batch)  # type: ignore[arg-type]
    assert whole.features.shape == patches.features.shape == (5, 6)
    assert patches.scores[NO_PATCH].tolist() == [False, False, True, True, False]


def test_grey_images_have_patches_of_three_channels() -> None:
    """As they have whole squares: published networks read colour."""
    grey = ImageBatch(photographs(2, 310)[:, :1])
    colour = ImageBatch(grey.images.expand(-1, 3, -1, -1))
    found, expected = (inception_of_patches(features, "squash", batch) for batch in (grey, colour))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.features, expected.features)


def test_the_count_is_kept_with_the_reference(tmp_path: Path) -> None:
    """References from before it was kept are read, too."""
    rows = np.random.default_rng(0).normal(size=(50, 3))
    about = Description("reals-patch", "pixels", 50, None, "reals", "0" * 64, fallbacks=2)
    save_reference(checked_reference(rows.mean(axis=0), np.cov(rows.T), about, "reals"), tmp_path)
    assert load_reference(tmp_path, "reals-patch").description.fallbacks == 2
    description = tmp_path / "reals-patch" / "reference.json"
    description.write_text(description.read_text().replace(',\n  "fallbacks": 2', ""))
    assert load_reference(tmp_path, "reals-patch").description.fallbacks is None


def test_what_is_lost_of_real_images_is_told_and_kept_with_the_reference(tmp_path: Path) -> None:
    for number, alpha in enumerate((255, 100, 0)):
        Image.new("RGBA", (20 + 20 * number, 50), (90 * number, 9, 9, alpha)).save(tmp_path / f"{number}.png")
    files = ImageFiles(tmp_path, sorted(tmp_path.glob("*.png")))
    images, progress = folder_images(files, side=32), RecordedNotes()
    spaces = {"": FeatureSpace("pixels", partial(inception_of_squares, features, 32))}  # type: ignore[arg-type]
    for _ in range(2):  # a second pass does not count twice
        made = make_references(images, spaces, "reals", progress)[""]
        assert made.description.altered == {ENLARGED: 1, TRANSPARENT: 2}
    assert (
        progress.notes[0]
        == progress.notes[1]
        == (
            f"3 images of {tmp_path.name}: 1 smaller than the resolution and enlarged; "
            "2 with transparency, which was dropped"
        )
    )
    save_reference(made, tmp_path / "store")
    assert load_reference(tmp_path / "store", "reals").description.altered == made.description.altered


def test_a_teacher_in_one_file_may_get_its_configuration(
    sdxl_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message that names --download says so."""
    write_single_file(sdxl_folder, tmp_path / "sdxl.safetensors")

    def from_hub(_name: str, *, local_files_only: bool, **_more: object) -> str:
        if local_files_only:
            raise FileNotFoundError
        return str(sdxl_folder)

    monkeypatch.setattr("bench.models.text.hub.snapshot_download", from_hub)
    file = tmp_path / "sdxl.safetensors"
    with pytest.raises(UserError, match="the same command with --download"):
        pinned_teacher(TASK_10K, file, False, SilentProgress())
    assert pinned_teacher(TASK_10K, file, True, SilentProgress()).name == "sdxl.safetensors"


def test_options_of_a_teacher_that_diffusers_does_not_know_are_said(sdxl_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sdxl_folder, tmp_path / "sdxl"))
    config = folder / "vae" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"later": 1}))
    progress = RecordedNotes()
    pinned_teacher(replace(TASK_10K, network_parameters=None), folder, False, progress)
    (note,) = progress.notes
    assert note.startswith(f"{config}: diffusers ") and note.endswith("are not used: later")


@pytest.mark.parametrize("name", ["list.json", "list.txt", "LIST.JSON"])
def test_coco10k_takes_a_list_of_any_kind(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('["a cat", "a dog"]' if "txt" not in name else "a cat\na dog\n")
    kept, images = kept_prompts(Path(pinned_prompts(TASK_10K, tmp_path / name, tmp_path).path))
    assert (kept.prompts, images) == (("a cat", "a dog"), ())


def test_the_categories_of_prompts_are_kept_with_them_and_change_no_hash(tmp_path: Path) -> None:
    lines = [f"prompt {number}\t{'Animals' if number % 4 else 'World Knowledge'}" for number in range(128)]
    (tmp_path / "PartiPrompts.tsv").write_text("\n".join(["Prompt\tCategory", *lines, ""]))
    asset = pinned_prompts(PARTIPROMPTS, tmp_path / "PartiPrompts.tsv", tmp_path)
    kept, _ = kept_prompts(Path(asset.path))
    assert kept.categories[:5] == ("World Knowledge", *["Animals"] * 3, "World Knowledge")
    assert kept.sha256 == PromptList.of("x", kept.prompts, "").sha256 == asset.sha256


def test_coco10k_takes_captions_of_its_own_year_alone_whatever_their_file_is_called(tmp_path: Path) -> None:
    few = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [{"image_id": 1, "caption": "a cat"}]}
    (tmp_path / "CAPTIONS.JSON").write_text(json.dumps(few))
    with pytest.raises(UserError, match=r"lists 1 images and captions of 1, not 40,504 of each"):
        pinned_prompts(TASK_10K, tmp_path / "CAPTIONS.JSON", tmp_path)


@pytest.mark.parametrize(
    ("count", "reason"),
    [(3, "they are repeated from the first on"), (10_001, "the first 10,000 are used"), (10_000, None)],
)
def test_another_number_of_prompts_than_of_samples_is_said(count: int, reason: str | None, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"prompt {i}\n" for i in range(count)))
    progress = RecordedNotes()
    choose.pin(TASK_10K, Sources(tmp_path / "cache", prompts=tmp_path / "list.txt"), progress)
    assert f"coco10k runs on prompts list, {count}, sha256" in progress.notes[0]
    assert progress.notes[1:] == (
        [f"{count:,} prompts, but protocol coco10k has 10,000: {reason}"] if reason else []
    )


@pytest.mark.parametrize("role", ["prompts", "training_prompts"])
def test_empty_prompts_are_told(role: str, tmp_path: Path) -> None:
    """They are used: an image without a text is what some lists ask for."""
    (tmp_path / "list.json").write_text(json.dumps(["a cat", "", "a dog", " "]))
    progress, named = RecordedNotes(), {role: tmp_path / "list.json"}
    choose.pin(TASK_10K, Sources(tmp_path / "cache", **named), progress)  # type: ignore[arg-type]
    assert progress.notes[-1] == "4 prompts: 2 empty, at 1, 3 (counted from 0)"


def test_training_prompts_that_the_teacher_does_not_read_whole_are_told(sdxl_folder: Path, tmp_path: Path) -> None:
    """In either order: the prompts may be named before their teacher."""
    (tmp_path / "list.json").write_text(json.dumps(["a cat", "a dog " * 80]))
    named = {"teacher": sdxl_folder, "training_prompts": tmp_path / "list.json"}
    for first in named:
        cache, progress = tmp_path / first, RecordedNotes()
        choose.pin(TASK_10K, Sources(cache, **{first: named[first]}), progress)  # type: ignore[arg-type]
        task = replace(TASK_10K, pinned=read_pinned(TASK_10K.pinned_path(cache)))
        others = {role: path for role, path in named.items() if role != first}
        choose.pin(task, Sources(cache, **others), progress)  # type: ignore[arg-type]
        told = "2 training prompts: 1 longer than the text encoder reads, and cut there, at 1 (counted from 0)"
        assert progress.notes.count(told) == 1 and progress.notes[-1] == told


def test_coco30k_compares_with_all_of_val2014(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "1.jpg")
    (tmp_path / "list.txt").write_text("a cat\n")
    pinned = {
        "features": PinnedAsset("", "", ""),
        "prompts": pinned_prompts(TASK_10K, tmp_path / "list.txt", tmp_path),
    }
    with pytest.raises(UserError, match=r"contains 1 images, not the 40,504 of val2014 that coco30k compares"):
        choose._reals(TASK_30K, Sources(tmp_path, reals=tmp_path), pinned, RecordedNotes())


def test_metrics_of_pixels_alone_need_the_folder_of_real_images_and_no_inception(tmp_path: Path) -> None:
    """The protocol names the images by their hash, so that numbers against two folders never share a column."""
    protocol = replace(TASK_10K.protocol, name="pixels", metrics=("saturation", "clip"), extractors={})
    task = replace(TASK_10K, prompt_rule="list", protocol=protocol, protocols={"pixels": protocol})
    fixes = {one.role: one.fix for one in task.requirements(Sources(tmp_path))}
    assert fixes["reals"] == "bench prepare --task coco10k --reals FOLDER"
    assert not fixes.keys() & {"features", "reference", "patch_reference"}
    references = set()
    for grey in (0, 90):
        folder = tmp_path / str(grey)
        folder.mkdir()
        Image.new("RGB", (8, 8 + grey)).save(folder / "1.png")
        (folder / "list.txt").write_text("a cat\n")
        pinned = task.pin(Sources(tmp_path, prompts=folder / "list.txt", reals=folder), SilentProgress())
        assert [one.role for one in pinned.missing(Sources(tmp_path))] == ["teacher", "latents", "clip"]
        assert pinned.protocol.reference.startswith(f"1 images of {grey}, sha256 ")
        references.add(pinned.protocol.reference)
    assert len(references) == 2


def test_real_images_of_a_protocol_with_fid_need_the_inception_first(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a cat\n")
    with pytest.raises(UserError, match="the FID Inception and the prompts must be pinned before real images"):
        TASK_10K.pin(Sources(tmp_path, prompts=tmp_path / "list.txt", reals=tmp_path), SilentProgress())


def test_a_further_metric_keeps_the_name_of_the_real_images_that_the_protocol_has(tmp_path: Path) -> None:
    """Numbers from before folders had names stay in their columns."""
    named = {"reference": PinnedAsset("/r", "1" * 64, "coco10k-1"), "reals": PinnedAsset("/i", "2" * 64, "images")}
    pin_assets(TASK_10K.pinned_path(tmp_path), named)
    task = TASK_10K.located(tmp_path)
    assert task.naming_pinned(replace(task.protocol, metrics=("cmmd",))).reference == "coco10k-1"


def test_each_clip_network_has_weights_of_its_own(tmp_path: Path) -> None:
    """Choosing bigG's for its protocol leaves the others, and the identity of runs, as they were."""
    g14, bigg = PinnedAsset("/g14", "1" * 64, "any"), PinnedAsset("/bigg", "2" * 64, "any")
    pin_assets(TASK_10K.pinned_path(tmp_path), {"clip": g14})
    before = TASK_10K.located(tmp_path)
    fixes = {
        requirement.role: requirement.fix
        for requirement in before.under("coco10k-bigg14").requirements(Sources(tmp_path))
    }
    assert "bench prepare --task coco10k --weights clip-bigg14=FILE" in fixes["clip-bigg14"]
    pin_assets(TASK_10K.pinned_path(tmp_path), {"clip": g14, "clip-bigg14": bigg})
    after = TASK_10K.located(tmp_path)
    assert after.identity() == before.identity() and after.protocol == before.protocol
    assert before.protocol.extractors["clip"] == "clip-g14-dmd2, weights 111111111111"
    assert after.under("coco10k-bigg14").protocol.extractors["clip"] == "clip-bigg14, weights 222222222222"


def test_a_network_is_called_as_its_protocol_uses_it(tmp_path: Path) -> None:
    """It does not matter under which protocol the file was named."""
    asset = PinnedAsset("/vgg", "1" * 64, "lpips-vgg, trunk 111111111111")
    pin_assets(PARTIPROMPTS.pinned_path(tmp_path), {"lpips": asset})
    for protocol, network in (
        ("partiprompts", "lpips-vgg"),
        ("partiprompts-as-official", "lpips-piq"),
    ):
        found = PARTIPROMPTS.located(tmp_path).under(protocol).protocol
        assert found.extractors["lpips"] == f"{network}, trunk 111111111111"
