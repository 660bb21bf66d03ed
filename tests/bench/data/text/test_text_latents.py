"""Packed latents: equal to a direct encoding, resumed after a kill, refused where they would mislead."""

import json
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from captioned_forms import FORMS, Form, Picture, latent_lmdb, sidecar_folder
from diffusers import AutoencoderKL
from PIL import Image
from stopped_sources import Noted, Stops
from torch import Tensor

from bench.core.errors import UserError
from bench.core.files import file_sha256
from bench.data.altered import EMPTY_CAPTION, ENLARGED, TRANSPARENT, Decoded
from bench.data.text import latents as packing
from bench.data.text.captioned import Captioned
from bench.data.text.detect import open_captioned
from bench.data.text.latent_lmdb import LatentLMDB
from bench.data.text.latents import pack_latent_lmdb, pack_latents
from bench.data.text.packed import PackedLatents, open_latents

RESOLUTION, SCALING = 32, 0.18215


class Interrupted(Stops, Captioned[Decoded]):
    """A source that stops at image `stop_at`, as a kill does; it keeps what was read."""

    format = "image folder with captions"

    def __init__(self, path: Path, stop_at: int | None = None) -> None:
        inner = open_captioned(path)
        assert not isinstance(inner, LatentLMDB)
        self.inner, self.stop_at, self.seen = inner, stop_at, list[int]()
        super().__init__(path, inner.captions, inner.index_sha256)


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    down, up = ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2
    return AutoencoderKL(
        down_block_types=down, up_block_types=up, block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4
    ).eval()


@pytest.fixture(scope="module")
def encode(vae: AutoencoderKL) -> Callable[[Tensor], Tensor]:
    return lambda images: vae.encode(images).latent_dist.mode() * SCALING


@pytest.fixture
def folder(tmp_path: Path, made: list[Picture]) -> Path:
    return sidecar_folder(tmp_path / "data", made)


Pack = Callable[..., PackedLatents]


@pytest.fixture
def pack(encode: Callable[[Tensor], Tensor]) -> Pack:
    """Three blocks for eleven images."""
    return partial(
        pack_latents, encode=encode, resolution=RESOLUTION, scaling=SCALING, vae_sha256="ab", batch=4, workers=1
    )


def contents(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in folder.iterdir()}


# What is packed


@pytest.mark.parametrize("form", FORMS)
def test_latents_equal_a_direct_encoding(
    form: Form, tmp_path: Path, made: list[Picture], vae: AutoencoderKL, pack: Pack
) -> None:
    """Pillow crops and resizes, diffusers encodes: what a user would write by hand."""
    with open_captioned(form(tmp_path / "data", made)) as source:
        packed = pack(source, tmp_path / "packed")
    assert packed.captions == tuple(picture.caption for picture in made)
    assert packed.latents.shape == (11, 4, 16, 16)
    for first in range(0, 11, 4):
        batch = []
        for picture in made[first : first + 4]:
            height, width, _ = picture.pixels.shape
            side = min(height, width)
            left, top = (width - side) // 2, (height - side) // 2
            square = Image.fromarray(picture.pixels).crop((left, top, left + side, top + side))
            resized = np.asarray(square.resize((RESOLUTION, RESOLUTION), Image.Resampling.LANCZOS))
            batch.append(torch.from_numpy(resized.copy()).permute(2, 0, 1).float() / 127.5 - 1)
        with torch.no_grad():
            expected = vae.encode(torch.stack(batch)).latent_dist.mode() * SCALING
        np.testing.assert_array_equal(packed.latents[first : first + 4], expected.half().numpy())


def test_the_official_latents_are_copied_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lmdb", reason="lmdb (extra `imagenet`) is not installed")
    monkeypatch.setattr(packing, "LMDB_BLOCK", 3)
    latents = np.random.RandomState(0).randn(7, 4, 3, 5).astype(np.float16)
    path = latent_lmdb(tmp_path / "data", latents, [f"line\n{i}" for i in range(7)])
    with LatentLMDB(path) as source:
        packed = pack_latent_lmdb(source, tmp_path / "packed", scaling=0.13025)
    np.testing.assert_array_equal(packed.latents, latents)
    assert packed.captions[2] == "line\n2"
    assert packed.manifest.encoding.images is None
    assert packed.manifest.encoding.scaling == 0.13025


def test_what_a_finished_folder_holds(tmp_path: Path, folder: Path, pack: Pack) -> None:
    packed = pack(open_captioned(folder), tmp_path / "packed")
    files, manifest = contents(tmp_path / "packed"), packed.manifest
    assert set(files) == {"latents.npy", "captions.jsonl", "manifest.json"}
    assert manifest.sha256 == {name: files[name] for name in ("latents.npy", "captions.jsonl")}
    assert (manifest.count, manifest.shape, manifest.altered) == (11, (4, 16, 16), {ENLARGED: 2})
    assert (manifest.encoding.scaling, manifest.encoding.vae_sha256) == (SCALING, "ab")
    assert manifest.encoding.images is not None
    assert manifest.encoding.images.resolution == RESOLUTION
    assert "LANCZOS" in manifest.encoding.images.crop
    assert str(tmp_path) not in (tmp_path / "packed" / "manifest.json").read_text()
    packed.verify()


def test_what_is_lost_is_counted_told_and_kept(tmp_path: Path, made: list[Picture], pack: Pack) -> None:
    """After a kill, and when a finished folder is opened again, the counts are those of all images."""
    folder = sidecar_folder(tmp_path / "data", made)
    for number in (0, 10):
        Image.new("RGBA", (64, 64), (9, 9, 9, 100)).save(folder / f"a{number:04d}.png")
        (folder / f"a{number:04d}.txt").write_text(" \n")
    with pytest.raises(KeyboardInterrupt):
        pack(Interrupted(folder, 9), tmp_path / "packed")
    for _ in range(2):
        progress = Noted()
        packed = pack(Interrupted(folder), tmp_path / "packed", progress=progress)
        assert packed.manifest.altered == {ENLARGED: 2, EMPTY_CAPTION: 2, TRANSPARENT: 2}
        assert progress.notes[-1] == (
            "13 latents: 2 smaller than the resolution and enlarged; 2 with an empty caption; "
            "2 with transparency, which was dropped"
        )


def test_folders_of_before_transparency_was_counted_are_read(tmp_path: Path, folder: Path, pack: Pack) -> None:
    manifest = pack(open_captioned(folder), tmp_path / "packed").folder / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["altered"]
    manifest.write_text(json.dumps(content | {"upsampled": 2}))
    assert open_latents(tmp_path / "packed").manifest.altered == {ENLARGED: 2}


def test_gathering_and_sending_to_another_process(tmp_path: Path, folder: Path, pack: Pack) -> None:
    packed = pack(open_captioned(folder), tmp_path / "packed")
    gathered = packed.gather([3, 0, -1])
    assert gathered.dtype == torch.float32
    np.testing.assert_array_equal(gathered.numpy(), np.asarray(packed.latents)[[3, 0, 10]].astype(np.float32))
    sent = pickle.dumps(packed)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).latents, packed.latents)
    with pytest.raises(IndexError):
        packed.gather([11])


# However it is made


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path, folder: Path, pack: Pack) -> None:
    for workers in (1, 3, 8):
        pack(open_captioned(folder), tmp_path / str(workers), workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "3") == contents(tmp_path / "8")


@pytest.mark.parametrize("stop_at", [0, 5, 10])
def test_killed_and_called_again_it_goes_on_to_the_same_bytes(
    stop_at: int, tmp_path: Path, folder: Path, pack: Pack
) -> None:
    pack(Interrupted(folder), tmp_path / "at once")
    with pytest.raises(KeyboardInterrupt):
        pack(Interrupted(folder, stop_at), tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
    lines = (tmp_path / ".packed.partial" / "blocks.txt").read_text().splitlines()
    finished = {int(line.split()[0]) for line in lines}
    assert finished >= set(range(stop_at // 4))
    resumed, progress = Interrupted(folder), Noted()
    pack(resumed, tmp_path / "packed", progress=progress)
    assert sorted(resumed.seen) == [index for index in range(11) if index // 4 not in finished]
    before = sum(min(4, 11 - 4 * number) for number in finished)
    assert progress.bars == [("pack latents", 11, before)]
    assert progress.advanced == 11 - before
    assert contents(tmp_path / "packed") == contents(tmp_path / "at once")


def test_killed_while_it_encodes(tmp_path: Path, folder: Path, pack: Pack, encode: Callable) -> None:
    pack(open_captioned(folder), tmp_path / "at once")
    calls = 0

    def killed(images: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:  # the shape, block 0, block 1
            raise KeyboardInterrupt
        return encode(images)

    with pytest.raises(KeyboardInterrupt):
        pack(open_captioned(folder), tmp_path / "packed", encode=killed)
    assert len((tmp_path / ".packed.partial" / "blocks.txt").read_text().splitlines()) == 1
    pack(open_captioned(folder), tmp_path / "packed")
    assert contents(tmp_path / "packed") == contents(tmp_path / "at once")


@pytest.mark.parametrize(
    "change", [{"vae_sha256": "cd"}, {"resolution": 16}, {"batch": 5}, {"scaling": 0.5}, {"shift": 0.1}]
)
def test_blocks_of_another_encoding_are_not_used(
    change: dict[str, object], tmp_path: Path, folder: Path, pack: Pack
) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(Interrupted(folder, 9), tmp_path / "packed")
    resumed, progress = Interrupted(folder), Noted()
    pack(resumed, tmp_path / "packed", progress=progress, **change)
    assert progress.notes[0] == f"11 found in {folder}: 11 to use, nothing skipped"
    assert progress.notes[1].startswith("starting again because this has changed: ")
    assert sorted(resumed.seen) == list(range(11))


def test_a_finished_folder_is_opened_without_decoding(tmp_path: Path, folder: Path, pack: Pack) -> None:
    pack(open_captioned(folder), tmp_path / "packed")
    again = Interrupted(folder)
    assert len(pack(again, tmp_path / "packed", encode=lambda _: pytest.fail("encoded"))) == 11
    assert again.seen == []


# What is refused


def test_a_folder_with_something_else_is_never_overwritten(
    tmp_path: Path, made: list[Picture], folder: Path, pack: Pack
) -> None:
    pack(open_captioned(folder), tmp_path / "packed")
    before = contents(tmp_path / "packed")
    with pytest.raises(UserError, match=r"whose VAE is ab, not cd; fix: give another --cache, or, to encode"):
        pack(open_captioned(folder), tmp_path / "packed", vae_sha256="cd")
    with pytest.raises(UserError, match="whose resolution is 32, not 64"):
        pack(open_captioned(folder), tmp_path / "packed", resolution=64)
    other = sidecar_folder(tmp_path / "other", made[1:])
    with pytest.raises(UserError, match="holds latents of image folder with captions data whose source is"):
        pack(open_captioned(other), tmp_path / "packed")
    assert contents(tmp_path / "packed") == before


def test_latents_that_are_not_finite_are_named(
    tmp_path: Path, folder: Path, pack: Pack, encode: Callable[[Tensor], Tensor]
) -> None:
    def overflow(images: Tensor) -> Tensor:
        latents = encode(images)
        latents[-1] *= 1e9 if len(images) > 1 else 1  # not where the shape is asked for; of either first block
        return latents

    with pytest.raises(UserError, match=r"the latent of .*0000[37].png is not finite in float16; fix:"):
        pack(open_captioned(folder), tmp_path / "packed", encode=overflow)


def test_an_encoder_of_another_form(tmp_path: Path, folder: Path, pack: Pack) -> None:
    with pytest.raises(UserError, match=r"the encoder made \[1, 3072\] of 1 images, not \[B, C, h, w\]"):
        pack(open_captioned(folder), tmp_path / "packed", encode=lambda images: images.flatten(1))
    with pytest.raises(ValueError, match=r"a block of latents is \(4, 3, 16, 32\) float16"):
        pack(open_captioned(folder), tmp_path / "p", encode=lambda x: x[:, :, ::2] if len(x) > 1 else x)
    with pytest.raises(UserError, match="resolution is 0 and batch is 4; both must be positive"):
        pack(open_captioned(folder), tmp_path / "packed", resolution=0)


def test_too_small_a_disk_is_refused_before_anything_is_decoded(
    tmp_path: Path, folder: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    unread = Interrupted(folder)
    with pytest.raises(UserError, match=r"the packed latents need 24.0 KiB more, .* 9.8 KiB free; fix:"):
        pack(unread, tmp_path / "packed")
    assert unread.seen == []


def test_damaged_folders(tmp_path: Path, folder: Path, pack: Pack) -> None:
    packed = pack(open_captioned(folder), tmp_path / "packed").folder

    def refused(name: str, data: bytes, message: str) -> None:
        whole = (packed / name).read_bytes()
        (packed / name).write_bytes(data)
        with pytest.raises(UserError, match=message) as caught:
            open_latents(packed).verify()
        assert "fix: rm -r" in str(caught.value)
        (packed / name).write_bytes(whole)

    latents, captions = (packed / "latents.npy").read_bytes(), (packed / "captions.jsonl").read_bytes()
    refused("latents.npy", latents[:-1], "latents.npy is missing, cut short or damaged")
    refused("latents.npy", latents[:-1] + bytes([latents[-1] ^ 1]), "latents.npy has changed: its SHA-256 is")
    refused("captions.jsonl", captions[:-3], "captions.jsonl is missing, cut short or damaged")
    refused("captions.jsonl", captions + b'"one more"\n', "has 12 captions, not 11")
    refused("manifest.json", b"{}", "manifest.json is damaged")
    with pytest.raises(UserError, match=r"holds no manifest.json, so it is not a folder of packed latents; fix:"):
        open_latents(folder)
