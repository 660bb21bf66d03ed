"""Fashion-MNIST: where it is found, what is refused and why, pooling, a download from a local server."""

import contextlib
import gzip
import hashlib
import http.server
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from tasks.fashion import data as fashion
from tasks.fashion.data import IdxFile
from tasks.fashion.task import TASK

SHAPES = {
    "train-images-idx3-ubyte": (20, 28, 28),
    "train-labels-idx1-ubyte": (20,),
    "t10k-images-idx3-ubyte": (10, 28, 28),
    "t10k-labels-idx1-ubyte": (10,),
}
IMAGES = "train-images-idx3-ubyte.gz"
LABELS = "train-labels-idx1-ubyte.gz"


def idx(array: np.ndarray) -> bytes:
    """Write the IDX file of a uint8 array."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """Make four small files the official ones, by name; no environment, no Debian package."""
    rng = np.random.default_rng(0)
    made = {
        name: idx(
            rng.integers(0, 256, shape).astype(np.uint8)
            if len(shape) == 3
            else np.arange(shape[0], dtype=np.uint8) % 10
        )
        for name, shape in SHAPES.items()
    }
    files = tuple(IdxFile(n, SHAPES[n], hashlib.sha256(data).hexdigest()) for n, data in made.items())
    monkeypatch.setattr(fashion, "FILES", files)
    monkeypatch.setattr(fashion, "DEBIAN_FOLDER", tmp_path / "no-debian")
    monkeypatch.delenv(fashion.ENVIRONMENT, raising=False)
    return made


def write(folder: Path, contents: dict[str, bytes], compress: bool = True) -> Path:
    folder.mkdir(parents=True)
    for name, data in contents.items():
        (folder / (f"{name}.gz" if compress else name)).write_bytes(gzip.compress(data) if compress else data)
    return folder


@pytest.fixture
def folder(tmp_path: Path, contents: dict[str, bytes]) -> Path:
    return write(tmp_path / "given", contents)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


# The real files


def test_the_real_files(tmp_path: Path) -> None:
    if fashion.locate(None, tmp_path) is None:
        pytest.skip("Fashion-MNIST is not on this machine; " + fashion.FIX)
    splits = fashion.load(None, tmp_path)
    assert splits.train.images.shape == (60000, 1, 14, 14)
    assert splits.held_out.images.shape == (10000, 1, 14, 14)
    assert np.array_equal(np.bincount(splits.train.labels), [6000] * 10)
    assert np.array_equal(np.bincount(splits.held_out.labels), [1000] * 10)
    assert TASK.class_names[splits.train.labels[0]] == "Ankle boot"
    assert splits.train.sha256 == "a1c6a4de6869a1915f6c4f1e4f5171d0b39a3fbb38e55c2e4200d5dfdd023dfd"
    assert splits.held_out.sha256 == "b5f93f421d6ecc6e2047479bf1f0db9fba7eea0809c6c8874f6a92015c4b9bd7"


def test_importing_and_locating_need_no_numpy() -> None:
    code = (
        "import sys; from pathlib import Path; from tasks.digits import data as digits\n"
        "from tasks.fashion import data as fashion\n"
        "nowhere = Path('/nowhere'); fashion.locate(None, nowhere); digits.locate(None, nowhere)\n"
        "sys.exit('numpy' in sys.modules or 'sklearn' in sys.modules)"
    )
    root = Path(fashion.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


# Pooling


def test_pool_is_the_mean_with_halves_to_even() -> None:
    # The means are 0, 0.25, 0.5, 0.75, 1.25, 1.5, 1.75, 2.5, 3.5 and 255.
    sums = [0, 1, 2, 3, 5, 6, 7, 10, 14, 1020]
    blocks = np.array([[[[s - 3 * (s // 4), s // 4], [s // 4, s // 4]]] for s in sums], dtype=np.uint8)
    pooled = fashion.pool(blocks[:, 0])
    assert pooled.dtype == np.uint8
    assert pooled[:, 0, 0].tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 4, 255]


def test_pool_averages_each_block_on_its_own() -> None:
    small = np.random.default_rng(0).integers(0, 256, (2, 3, 5)).astype(np.uint8)
    assert np.array_equal(fashion.pool(small.repeat(2, axis=1).repeat(2, axis=2)), small)


# Where it is found


@pytest.mark.parametrize("compress", [True, False])
def test_load_from_a_folder_plain_or_compressed(
    tmp_path: Path, contents: dict[str, bytes], cache: Path, compress: bool
) -> None:
    where = write(tmp_path / "data", contents, compress)
    splits = fashion.load(where, cache)
    assert splits.source == str(where)
    assert splits.train.images.shape == (20, 1, 14, 14)
    assert splits.held_out.labels.tolist() == list(range(10))
    pixels = np.frombuffer(contents["train-images-idx3-ubyte"], np.uint8, offset=16).reshape(20, 28, 28)
    assert splits.train.images[7, 0, 3, 5] == np.rint(pixels[7, 6:8, 10:12].mean())


def test_a_decompressed_file_that_kept_its_gz_name_is_read(
    folder: Path, contents: dict[str, bytes], cache: Path
) -> None:
    (folder / IMAGES).write_bytes(contents["train-images-idx3-ubyte"])
    assert len(fashion.load(folder, cache).train) == 20


def test_order_of_the_places(
    tmp_path: Path, contents: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fashion.locate(None, cache) is None
    debian = write(tmp_path / "debian", contents)
    monkeypatch.setattr(fashion, "DEBIAN_FOLDER", debian)
    assert fashion.locate(None, cache) == debian
    cached = write(cache / fashion.CACHE_NAME, contents)
    assert fashion.locate(None, cache) == cached
    named = write(tmp_path / "named", contents)
    monkeypatch.setenv(fashion.ENVIRONMENT, str(named))
    assert fashion.locate(None, cache) == named
    given = write(tmp_path / "given", contents)
    assert fashion.locate(given, cache) == given
    monkeypatch.setenv(fashion.ENVIRONMENT, "")
    assert fashion.locate(None, cache) == cached


def test_an_incomplete_cache_is_passed_over(
    tmp_path: Path, contents: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (write(cache / fashion.CACHE_NAME, contents) / IMAGES).unlink()
    monkeypatch.setattr(fashion, "DEBIAN_FOLDER", write(tmp_path / "debian", contents))
    assert fashion.locate(None, cache) == tmp_path / "debian"


# What is refused


@pytest.mark.usefixtures("contents")
def test_found_nowhere(cache: Path) -> None:
    with pytest.raises(UserError, match=r"is neither in .*apt-get install dataset-fashion-mnist"):
        fashion.load(None, cache)


@pytest.mark.parametrize("by_environment", [False, True])
def test_a_named_folder_is_never_replaced_by_another(
    folder: Path,
    tmp_path: Path,
    contents: dict[str, bytes],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_environment: bool,
) -> None:
    write(cache / fashion.CACHE_NAME, contents)
    (folder / IMAGES).unlink()
    (folder / LABELS).unlink()
    if by_environment:
        monkeypatch.setenv(fashion.ENVIRONMENT, str(folder))
    with pytest.raises(UserError) as caught:
        fashion.locate(None if by_environment else folder, cache)
    assert str(caught.value).startswith(
        f"Fashion-MNIST folder {folder} does not contain "
        "train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz]; fix: "
    )
    with pytest.raises(UserError, match="No such file or directory"):
        fashion.locate(tmp_path / "absent", cache)
    with pytest.raises(UserError, match="Not a directory"):
        fashion.locate(folder / "t10k-labels-idx1-ubyte.gz", cache)


def test_an_unreadable_folder_says_so(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> list[str]:  # not chmod: the tests may run as root, who may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(fashion.os, "listdir", refuse)
    with pytest.raises(UserError, match=f"{folder}: Permission denied; fix: .*bench prepare"):
        fashion.load(folder, cache)


def test_an_unreadable_file_says_so(folder: Path, cache: Path) -> None:
    (folder / IMAGES).unlink()
    (folder / IMAGES).mkdir()
    with pytest.raises(UserError, match=f"{IMAGES}: Is a directory; fix:"):
        fashion.load(folder, cache)


def other_images(images: bytes) -> bytes:
    return images[:-1] + bytes([images[-1] ^ 1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda images: gzip.compress(images)[:-20], "is incomplete"),
        (lambda images: gzip.compress(images)[:-6] + b"abcdef", "is a damaged gzip file"),
        (lambda images: gzip.compress(images)[:12] + bytes(50), "is (a damaged gzip file|incomplete)"),
        (lambda _images: b"", "starts with nothing, not 00 00 08 03"),
        (lambda _images: b"<html>", "starts with 3c 68 74 6d, not 00 00 08 03"),
        (lambda images: b"\0\0\x0d\3" + images[4:], "starts with 00 00 0d 03"),
        (lambda images: images[:9], "ends within its header, after 9 bytes"),
        (lambda _images: idx(np.zeros((20, 14, 56), np.uint8)), "20 x 14 x 56, not 20 x 28 x 28"),
        (lambda images: images[:-1], "has 15695 bytes where its header says 15696"),
        (lambda images: images + b"\0", "has 15697 bytes where its header says 15696"),
        (other_images, "official train-images-idx3-ubyte: the SHA-256"),
    ],
)
def test_damaged_files_are_named_and_explained(
    folder: Path, contents: dict[str, bytes], cache: Path, damage, message: str
) -> None:
    (folder / IMAGES).write_bytes(damage(contents["train-images-idx3-ubyte"]))
    with pytest.raises(UserError, match=message) as caught:
        fashion.load(folder, cache)
    assert str(caught.value).startswith(str(folder / IMAGES))
    assert "; fix: move that file elsewhere or replace it, then `apt-get install" in str(caught.value)


def test_a_wrong_checksum_shows_both(folder: Path, contents: dict[str, bytes], cache: Path) -> None:
    images = contents["train-images-idx3-ubyte"]
    other = other_images(images)
    (folder / IMAGES).write_bytes(gzip.compress(other))
    expected, actual = (hashlib.sha256(data).hexdigest() for data in (images, other))
    with pytest.raises(UserError, match=f"{actual}, not {expected}"):
        fashion.load(folder, cache)


# Download


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Bars(SilentProgress):
    """Progress that remembers each bar's steps, in all and done."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.done: Counter[str] = Counter()

    @contextlib.contextmanager
    def bar(self, title: str, total: int, completed: int = 0) -> Iterator[SilentProgress]:  # noqa: ARG002
        self.title, self.totals[title] = title, total
        yield self

    def advance(self, steps: int = 1, **_figures: float) -> None:
        self.done[self.title] += steps


@pytest.fixture
def site(tmp_path: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a folder of the four files on this machine, as the official site."""
    served = write(tmp_path / "site", contents)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(fashion, "BASE_URL", f"http://127.0.0.1:{server.server_port}/")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def test_download_into_the_cache_once(site: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = Bars()
    splits = fashion.load(None, cache, download=True, progress=bars)
    cached = cache / fashion.CACHE_NAME
    assert splits.source == str(cached)
    assert len(splits.train) == 20
    sizes = {path.name: path.stat().st_size for path in site.iterdir()}
    assert bars.totals == bars.done == {f"{name} (KiB)": -(-size // 1024) for name, size in sizes.items()}
    assert sorted(path.name for path in cached.iterdir()) == sorted(sizes)
    monkeypatch.setattr(fashion, "BASE_URL", "http://127.0.0.1:1/")
    assert fashion.load(None, cache, download=True).train.sha256 == splits.train.sha256


def test_an_interrupted_download_goes_on(site: Path, cache: Path) -> None:
    data = (site / LABELS).read_bytes()
    (site / LABELS).unlink()
    with pytest.raises(UserError, match=f"{LABELS} could not be downloaded: HTTP Error 404.*; fix:"):
        fashion.load(None, cache, download=True)
    (site / LABELS).write_bytes(data)
    bars = Bars()
    fashion.load(None, cache, download=True, progress=bars)
    assert f"{LABELS} (KiB)" in bars.totals
    assert f"{IMAGES} (KiB)" not in bars.totals


def test_a_download_of_something_else_stays_out_of_the_cache(site: Path, cache: Path) -> None:
    for other, problem in (
        (b"<html>Log in to the hotel's network</html>", "could not be downloaded: the answer is a web page"),
        (b"not found", "starts with 6e 6f 74 20"),
        (bytes(10**5), "could not be downloaded: the answer is longer than"),
        (gzip.compress(bytes(3 * 10**7)), "starts with 00 00 00 00"),
    ):
        (site / LABELS).write_bytes(other)
        with pytest.raises(UserError, match=f"{LABELS} ({problem})"):
            fashion.load(None, cache, download=True)
    assert [path.name for path in (cache / fashion.CACHE_NAME).iterdir()] == [IMAGES]


@pytest.mark.usefixtures("site")
def test_a_download_that_breaks_off_is_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quiet, "copyfile", lambda _self, source, out: out.write(source.read()[:-100]))
    with pytest.raises(UserError, match=r"could not be downloaded: the answer ended after \d+ of \d+ bytes"):
        fashion.load(None, cache, download=True)


@pytest.mark.usefixtures("site")
def test_no_network_and_an_unwritable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(UserError, match=r"the folder .* cannot be made: .*file is a file; fix: "):
        fashion.load(None, blocked, download=True)
    monkeypatch.setattr(fashion, "BASE_URL", "http://127.0.0.1:1/")
    with pytest.raises(UserError, match="Connection refused"):
        fashion.load(None, tmp_path / "cache", download=True)
