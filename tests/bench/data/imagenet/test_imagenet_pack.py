"""Packing: resumed after a kill, the same for any number of workers, refused where it would mislead."""

import io
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from imagenet_forms import WNIDS, Sample, class_folders, tar_with_class_folders
from PIL import Image
from stopped_sources import Noted, Stops

from bench.core.errors import UserError
from bench.core.files import file_sha256
from bench.core.progress import SilentProgress
from bench.data import decoding
from bench.data.imagenet import pack as packing
from bench.data.imagenet.detect import open_source
from bench.data.imagenet.pack import pack, pack_source
from bench.data.imagenet.packed import PackedImages
from bench.data.imagenet.source import Source


class Interrupted(Stops, Source):
    """Folders that stop at image `stop_at`, as a kill does; it keeps what was read."""

    format = "class folders"

    def __init__(self, path: Path, stop_at: int | None = None) -> None:
        self.inner = open_source(path)
        self.stop_at, self.seen = stop_at, list[int]()
        super().__init__(path, self.inner.labels, self.inner.index_sha256, self.inner.class_names)


@pytest.fixture
def source(tmp_path: Path, photos: list[Sample]) -> Path:
    return class_folders(tmp_path / "train", photos)


def pack_one_by_one(source: Source, folder: Path) -> PackedImages:
    return pack_source(source, folder, "edm", classes=3, workers=1, progress=SilentProgress())


def finished_blocks(parent: Path) -> set[int]:
    """Blocks that the stopped call noted: all before the stop, and one behind it if that was ready in time."""
    lines = (parent / ".packed.partial" / "blocks.txt").read_text().splitlines()
    return {int(line.split()[0]) for line in lines}


def contents(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in folder.iterdir()}


def test_a_kill_right_after_the_folder_got_its_name_leaves_nothing_more_in_it(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = contents(pack(source, tmp_path / "whole", classes=3).folder)

    rename = Path.rename

    def killed(partial: Path, folder: Path) -> None:
        rename(partial, folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", killed)
        pack(source, tmp_path / "packed", classes=3)
    assert contents(tmp_path / "packed").keys() > expected.keys()
    pack(source, tmp_path / "packed", classes=3)
    assert contents(tmp_path / "packed") == expected


def test_a_finished_folder_holds_three_files_that_numpy_and_sha256sum_can_read(
    tmp_path: Path, source: Path
) -> None:
    folder = tmp_path / "packed"
    result = pack(source, folder, classes=3)
    images, labels = np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "labels.npy")
    assert (images.shape, images.dtype) == ((21, 3, 64, 64), np.uint8)
    assert (labels.shape, labels.dtype) == ((21,), np.int64)
    files = contents(folder)
    assert set(files) == {"images.npy", "labels.npy", "manifest.json"}
    assert result.manifest.sha256 == {name: files[name] for name in ("images.npy", "labels.npy")}
    assert result.manifest.source.name == "train"
    assert "Pillow" in result.manifest.decoder
    assert str(tmp_path) not in (folder / "manifest.json").read_text()


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path, source: Path) -> None:
    for workers in (1, 3, 8):
        pack(source, tmp_path / str(workers), classes=3, workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "3") == contents(tmp_path / "8")


@pytest.mark.parametrize("stop_at", [0, 9, 20])
def test_killed_and_started_again_it_goes_on_to_the_same_bytes(stop_at: int, tmp_path: Path, source: Path) -> None:
    pack_one_by_one(Interrupted(source), tmp_path / "at once")
    folder = tmp_path / "packed"
    with pytest.raises(KeyboardInterrupt):
        pack_one_by_one(Interrupted(source, stop_at), folder)
    assert not folder.exists()
    finished = finished_blocks(tmp_path)
    assert finished >= set(range(stop_at // 4))
    assert stop_at // 4 not in finished
    resumed = Interrupted(source)
    pack_one_by_one(resumed, folder)
    assert sorted(resumed.seen) == [index for index in range(21) if index // 4 not in finished]
    assert contents(folder) == contents(tmp_path / "at once")
    assert sorted(path.name for path in tmp_path.iterdir() if "partial" in path.name) == []


def test_a_line_torn_by_the_kill_does_not_count(tmp_path: Path, source: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack_one_by_one(Interrupted(source, 9), tmp_path / "packed")
    blocks = tmp_path / ".packed.partial" / "blocks.txt"
    blocks.write_text(blocks.read_text() + '5 {"cropped": 1}')
    resumed = Interrupted(source)
    result = pack_one_by_one(resumed, tmp_path / "packed")
    assert 20 in resumed.seen  # of block 5
    assert result.manifest.cropped == 21


def test_the_bar_starts_where_the_last_call_ended(tmp_path: Path, source: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack_one_by_one(Interrupted(source, 9), tmp_path / "packed")
    before = 4 * len(finished_blocks(tmp_path))
    assert before >= 8
    progress = Noted()
    pack(source, tmp_path / "packed", classes=3, progress=progress)
    assert [bar[1:] for bar in progress.bars] == [(21, before)]
    assert progress.advanced == 21 - before


@pytest.mark.parametrize("change", ["crop rule", "Pillow", "source"])
def test_blocks_of_another_source_crop_or_decoder_are_not_used(
    change: str, tmp_path: Path, source: Path, photos: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack_one_by_one(Interrupted(source, 9), tmp_path / "packed")
    if change == "Pillow":
        monkeypatch.setattr(packing, "decoder", lambda: "Pillow 99")
    if change == "source":
        (source / photos[0].path).rename(source / WNIDS[0] / "another.JPEG")
    crop = "adm" if change == "crop rule" else "edm"
    progress = Noted()
    result = pack(source, tmp_path / "packed", crop, classes=3, progress=progress)
    assert any(note.startswith("starting again") for note in progress.notes)
    assert progress.bars[0][2] == 0
    assert result.manifest.crop == crop


def test_a_damaged_image_is_named_and_after_its_repair_the_rest_is_packed(
    tmp_path: Path, source: Path, photos: list[Sample]
) -> None:
    victim = source / photos[10].path
    victim.write_bytes(photos[10].data[:-300])
    with pytest.raises(UserError, match=rf"{victim} cannot be decoded: .*truncated.*run again"):
        pack(source, tmp_path / "packed", classes=3, workers=1)
    victim.write_bytes(photos[10].data)
    before = 4 * len(finished_blocks(tmp_path))
    assert before in (8, 12)  # the block behind the damaged one may have been ready in time
    progress = Noted()
    pack(source, tmp_path / "packed", classes=3, progress=progress)
    assert [bar[1:] for bar in progress.bars] == [(21, before)]


def test_an_image_that_goes_away_meanwhile_is_named(tmp_path: Path, source: Path, photos: list[Sample]) -> None:
    with open_source(source) as opened:
        (source / photos[3].path).unlink()
        with pytest.raises(UserError, match=rf"{photos[3].name} cannot be read: No such file"):
            pack_one_by_one(opened, tmp_path / "packed")


def test_a_tar_that_goes_away_meanwhile_is_named(tmp_path: Path, photos: list[Sample]) -> None:
    path = tar_with_class_folders(tmp_path / "source", photos)
    with open_source(path) as opened:
        path.unlink()
        with pytest.raises(UserError, match=r"train.tar cannot be read: No such file"):
            pack_one_by_one(opened, tmp_path / "packed")


def test_the_crop_rule_is_recorded_only_where_it_was_used(tmp_path: Path, small: list[Sample]) -> None:
    mixed = class_folders(tmp_path / "mixed", small)
    (mixed / WNIDS[2] / "large.png").write_bytes(_png((100, 80)))
    manifest = pack(mixed, tmp_path / "packed mixed", "adm", classes=3).manifest
    assert (manifest.crop, manifest.cropped) == ("adm", 1)
    source = class_folders(tmp_path / "small", small)
    manifest = pack(source, tmp_path / "packed", "adm", classes=3).manifest
    assert (manifest.crop, manifest.cropped) == ("none", 0)


def test_a_finished_folder_is_opened_without_decoding(tmp_path: Path, source: Path) -> None:
    pack(source, tmp_path / "packed", classes=3)
    again = Interrupted(source)
    assert len(pack_one_by_one(again, tmp_path / "packed")) == 21
    assert again.seen == []


def test_a_folder_with_something_else_is_never_overwritten(
    tmp_path: Path, source: Path, photos: list[Sample]
) -> None:
    pack(source, tmp_path / "packed", classes=3)
    before = contents(tmp_path / "packed")
    with pytest.raises(UserError, match="with the crop rule edm, not from class folders train with adm"):
        pack(source, tmp_path / "packed", "adm", classes=3)
    other = class_folders(tmp_path / "other", photos[1:])
    with pytest.raises(UserError, match=r"packed from class folders train .*, not from class folders other"):
        pack(other, tmp_path / "packed", classes=3)
    assert contents(tmp_path / "packed") == before
    with pytest.raises(UserError, match=r"holds no manifest.json"):
        pack(source, source, classes=3)


def test_an_unknown_crop_rule_answers_with_the_known_ones(tmp_path: Path, source: Path) -> None:
    with pytest.raises(UserError, match=r"unknown crop rule 'adn'; did you mean 'adm'\?"):
        pack(source, tmp_path / "packed", "adn", classes=3)
    assert set(decoding.CROPS) == {"edm", "adm"}


def test_a_missing_class_is_refused_because_all_later_labels_would_shift(tmp_path: Path, source: Path) -> None:
    shutil.rmtree(source / WNIDS[1])
    with pytest.raises(UserError, match=r"has 2 classes, not 3; .*none may be missing"):
        pack(source, tmp_path / "packed", classes=3)


def test_too_small_a_disk_is_refused_before_anything_is_decoded(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    unread = Interrupted(source)
    with pytest.raises(UserError, match=r"need 288.0 KiB more, but the disk of .* has 97.7 KiB free; fix:"):
        pack_one_by_one(unread, tmp_path / "packed")
    assert unread.seen == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path, source: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=r"the folder .* cannot be made: .*file is a file"):
        pack(source, tmp_path / "file" / "packed", classes=3)


def _png(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).save(buffer, "PNG")
    return buffer.getvalue()
