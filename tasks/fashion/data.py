"""Fashion-MNIST at 14x14: ten classes of clothes, 60,000 training and 10,000 held-out images.

Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST", arXiv:1708.07747 (MIT licence). Importing this module
is cheap: numpy is imported only by the functions that use it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.download import DownloadError, download
from bench.core.errors import UserError
from bench.core.files import whole_file
from bench.core.progress import Progress, SilentProgress
from bench.data.base import PublishedDataset

if TYPE_CHECKING:
    import numpy as np

    from bench.data.images import Splits

ENVIRONMENT = "BENCH_FASHION_MNIST"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CACHE_NAME = "fashion-mnist"
BASE_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
"""The official site; it has no https, so that only the hash makes a download trustworthy."""
GZIP_MAGIC = b"\x1f\x8b"
GZIP_MORE = 1 << 16
"""Bytes by which a compressed file may be larger than the plain one, with its name and comments."""
SOURCES = (
    "`apt-get install dataset-fashion-mnist`, or `bench prepare --task fashion --data FOLDER` "
    f"(or {ENVIRONMENT}=FOLDER) with the four official files in FOLDER"
)
FIX = f"fix: {SOURCES}"
FIX_FILE = f"fix: move that file elsewhere or replace it, then {SOURCES}"


@dataclass(frozen=True)
class IdxFile:
    """One of the four official files, with its expected content."""

    name: str
    """Name of the plain file; the compressed file has the suffix .gz."""
    shape: tuple[int, ...]
    sha256: str
    """SHA-256 of the decompressed bytes, which are the same in the site's and in Debian's .gz files."""

    @property
    def bytes(self) -> int:
        """Size of the plain file."""
        return _header_bytes(self.shape) + math.prod(self.shape)


TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"

FILES = (
    IdxFile(TRAIN_IMAGES, (60000, 28, 28), "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    IdxFile(TRAIN_LABELS, (60000,), "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    IdxFile(TEST_IMAGES, (10000, 28, 28), "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    IdxFile(TEST_LABELS, (10000,), "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
)


def locate(folder: Path | None, cache: Path) -> Path | None:
    """Return the folder with the four files, or None: the one given, else BENCH_FASHION_MNIST, cache, Debian.

    Raises UserError if a folder that the user names does not have the files; no other folder takes its place.
    The files are not opened.
    """
    named = folder or os.environ.get(ENVIRONMENT)
    if named:
        path = Path(named).expanduser()
        _paths(path)
        return path
    for path in (cache / CACHE_NAME, DEBIAN_FOLDER):
        with suppress(UserError):
            _paths(path)
            return path
    return None


@dataclass(frozen=True, eq=False)
class Originals:
    """The official images at full size: [N, 28, 28] uint8 and their classes [N] int64, training and test."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    source: str
    """The folder they were found in."""


def originals(folder: Path | None, cache: Path, download: bool, progress: Progress | None) -> Originals:
    """Return the 60,000 training and 10,000 test images as they were published.

    The folder is that of `locate`; if it finds none, `download` fetches the files to `cache` from the official
    site. Raises UserError if there is no folder, or a file is not the official one.
    """
    found = locate(folder, cache)
    if found is None and download:
        found = _download(cache / CACHE_NAME, progress)
    if found is None:
        raise UserError(f"Fashion-MNIST is neither in {cache / CACHE_NAME} nor in {DEBIAN_FOLDER}; {FIX}")
    arrays = {name: _read(path, file) for file, (name, path) in zip(FILES, _paths(found).items(), strict=True)}
    return Originals(
        train=(arrays[TRAIN_IMAGES], arrays[TRAIN_LABELS].astype("int64")),
        test=(arrays[TEST_IMAGES], arrays[TEST_LABELS].astype("int64")),
        source=str(found),
    )


def load(folder: Path | None, cache: Path, download: bool = False, progress: Progress | None = None) -> Splits:
    """Return the 60,000 training and 10,000 held-out (the official test) images [N, 1, 14, 14].

    Raises UserError as `originals` does.
    """
    from bench.data.images import LabelledImages, Splits

    found = originals(folder, cache, download, progress)

    def labelled(images: np.ndarray, labels: np.ndarray) -> LabelledImages:
        return LabelledImages.of(pool(images)[:, None], labels)

    return Splits(train=labelled(*found.train), held_out=labelled(*found.test), source=found.source)


def pool(images: np.ndarray) -> np.ndarray:
    """Average 2x2 pixels of `images` [N, H, W] uint8, H and W even: [N, H/2, W/2] uint8, rounding half to even."""
    import numpy as np

    wide = images.astype(np.uint16)
    total = wide[:, ::2, ::2] + wide[:, ::2, 1::2] + wide[:, 1::2, ::2] + wide[:, 1::2, 1::2]
    return np.rint(total / 4).astype(np.uint8)


def parse_idx(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array of an IDX file of bytes, which must have `shape`. Raises ValueError with the reason.

    The format: two zero bytes, the type (8 is uint8), the number of dimensions; each dimension as a
    big-endian 32-bit integer; the values, the last dimension fastest.
    """
    import numpy as np

    magic = bytes((0, 0, 8, len(shape)))
    header = _header_bytes(shape)
    if data[:4] != magic:
        raise ValueError(f"starts with {data[:4].hex(' ') or 'nothing'}, not {magic.hex(' ')}")
    if len(data) < header:
        raise ValueError(f"ends within its header, after {len(data)} bytes")
    found = struct.unpack(f">{len(shape)}I", data[4:header])
    if found != shape:
        raise ValueError(f"has the dimensions {_times(found)}, not {_times(shape)}")
    if len(data) != header + math.prod(shape):
        raise ValueError(f"has {len(data)} bytes where its header says {header + math.prod(shape)}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _header_bytes(shape: tuple[int, ...]) -> int:
    """Return the size of an IDX file's header."""
    return 4 + 4 * len(shape)


def _paths(folder: Path) -> dict[str, Path]:
    """Return the four files in `folder` by name, plain before .gz. Raises UserError if one is missing."""
    try:
        present = set(os.listdir(folder))  # noqa: PTH208 (names, and an error that says why)
    except OSError as error:
        raise UserError(f"Fashion-MNIST folder {folder}: {error.strerror}; {FIX}") from error
    names = {file.name: {file.name, f"{file.name}.gz"} & present for file in FILES}
    missing = [f"{name}[.gz]" for name, found in names.items() if not found]
    if missing:
        raise UserError(f"Fashion-MNIST folder {folder} does not contain {', '.join(missing)}; {FIX}")
    return {name: folder / min(found) for name, found in names.items()}


def _read(path: Path, file: IdxFile) -> np.ndarray:
    """Read and verify one file. Raises UserError if it cannot be read or is not the official one."""
    try:
        return _verified(path.read_bytes(), file)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {FIX}") from error
    except ValueError as error:
        raise UserError(f"{path} {error}; {FIX_FILE}") from error


def _verified(data: bytes, file: IdxFile) -> np.ndarray:
    """Return the array in an IDX file's `data`, compressed or not. Raises ValueError if it is not official."""
    if data[:2] == GZIP_MAGIC:
        try:
            # One byte more than the file has, so that a stream of terabytes is no matter.
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(file.bytes + 1)
        except EOFError as error:
            raise ValueError("is incomplete: its gzip stream has no end") from error
        except (OSError, zlib.error) as error:
            raise ValueError(f"is a damaged gzip file ({error})") from error
    array = parse_idx(data, file.shape)
    actual = hashlib.sha256(data).hexdigest()
    if actual != file.sha256:
        raise ValueError(
            f"is not Fashion-MNIST's official {file.name}: the SHA-256 of its decompressed bytes is "
            f"{actual}, not {file.sha256}"
        )
    return array


def _download(folder: Path, progress: Progress | None) -> Path:
    """Download the four files into `folder`, and return it; each is verified before it appears there."""
    for file in FILES:
        target = folder / f"{file.name}.gz"
        if target.exists():
            continue
        url, received = BASE_URL + target.name, io.BytesIO()
        try:
            download(url, received, target.name, file.bytes + GZIP_MORE, progress or SilentProgress())
            _verified(received.getvalue(), file)
        except DownloadError as error:
            raise UserError(f"{url} could not be downloaded: {error}; {FIX}") from error
        except ValueError as error:
            raise UserError(f"the download from {url} {error}; {FIX}") from error
        try:
            with whole_file(target) as temporary:
                temporary.write_bytes(received.getvalue())
        except OSError as error:
            raise UserError(f"{target} could not be written: {error.strerror}; {FIX}") from error
    return folder


def _times(shape: tuple[int, ...]) -> str:
    """Return dimensions as text, such as `60000 x 28 x 28`."""
    return " x ".join(map(str, shape))


FASHION = PublishedDataset(
    "fashion",
    "Fashion-MNIST at 14x14 (2x2 means): 60,000 for training, 10,000 held out",
    "MIT (Zalando Research, Fashion-MNIST)",
    "apt-get install dataset-fashion-mnist, or bench prepare --task fashion --data FOLDER or --download",
    locate,
    load,
)
