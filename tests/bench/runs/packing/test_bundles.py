"""Bundles of strangers: what is read, and every hostile archive that is refused before it is written."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from example_records import COMMITTED, EXAMPLE

from bench.core.disk import DiskFullError
from bench.core.errors import UserError
from bench.runs.packing import bundles
from bench.runs.packing.bundles import opened, plugin_files, write_zip
from bench.runs.records import load_records

NAME = f"digits/{EXAMPLE['run_id']}.json"
GOOD = {NAME: (COMMITTED / NAME).read_bytes()}
Zipped = Callable[..., Path]


@pytest.fixture
def zipped(tmp_path: Path) -> Zipped:
    """Return a function that writes an archive of (name or ZipInfo, content) and returns its path."""

    def write(*members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
        path = tmp_path / "bundle.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return path

    return write


def refused(path: Path, reason: str) -> None:
    """Assert that a bundle is refused with a reason and a fix, and that nothing is left of it."""
    before = set(path.parent.iterdir())
    with pytest.raises(UserError) as caught, opened(path):
        pass
    message = str(caught.value)
    assert reason in message and "; fix: " in message and "\n" not in message, message
    assert set(path.parent.iterdir()) == before


def test_a_bundle_is_read_as_records_are(tmp_path: Path) -> None:
    write_zip(tmp_path / "bundle.zip", GOOD)
    with opened(tmp_path / "bundle.zip") as folder:
        loaded = load_records([folder])
        assert [record.run_id for record in loaded.records] == [EXAMPLE["run_id"]] and not loaded.problems
        assert [path.relative_to(folder).as_posix() for path in loaded.paths] == [NAME]
    assert not folder.exists()


def test_a_folder_is_read_by_the_same_rules(tmp_path: Path) -> None:
    (tmp_path / "theirs" / "digits").mkdir(parents=True)
    (tmp_path / "theirs" / NAME).write_bytes(GOOD[NAME])
    with opened(tmp_path / "theirs") as folder:
        assert len(load_records([folder]).records) == 1
    (tmp_path / "theirs" / "digits" / "x.html").touch()
    refused(tmp_path / "theirs", "'digits/x.html' has none of the suffixes .json, .png, .jsonl, .parquet")


SHA256 = "ab" * 32


def test_plug_ins_and_tunings_lie_beside_the_records(zipped: Zipped, tmp_path: Path) -> None:
    names = (f"plugins/{SHA256}/mine.py", f"plugins/{SHA256}/mine.toml", "tuning/digits/dmd2-0123456789.json")
    folders = ("plugins/", f"plugins/{SHA256}/", "tuning/", "tuning/digits/", "digits/")
    path = zipped(*((name, b"") for name in folders), (NAME, GOOD[NAME]), *((name, b"{}") for name in names))
    with opened(path) as folder:
        assert [file.relative_to(folder).as_posix() for file in folder.rglob("*.*")] == [NAME]
        assert all((folder.parent / name).read_bytes() == b"{}" for name in names)
        assert plugin_files(folder) == [folder.parent / name for name in names[:2]]
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "theirs")
    with opened(tmp_path / "theirs") as folder:
        assert plugin_files(folder) == [folder.parent / name for name in names[:2]]


@pytest.mark.parametrize(
    "name",
    [
        *("plugins/mine.py", f"plugins/{SHA256[:-1]}/mine.py", f"plugins/{SHA256.upper()}/mine.py"),
        *(f"plugins/{SHA256}/mine.so", f"plugins/{SHA256}/a/mine.py", f"plugins/{SHA256}/../mine.py"),
        *(f"plugins/{SHA256}/.py", f"plugins/{SHA256}", f"other/{SHA256}/mine.py", f"digits/{SHA256}.py"),
        *("tuning/digits/x.py", "tuning/digits/a/x.json", "tuning/../x.json", "tuning/.x/x.json"),
        *("tuning/digits/x.begun", "tuning//x.json", "tuning/a b/x.json", "digits/tuning/x.json"),
    ],
)
def test_what_only_looks_like_a_plug_in_or_a_tuning_is_refused(zipped: Zipped, name: str) -> None:
    refused(zipped((name, b"")), "is not read: ")


def test_a_folder_of_records_is_itself() -> None:
    with opened(COMMITTED) as folder:
        assert folder == COMMITTED


def test_an_archive_of_another_tool_is_read(zipped: Zipped) -> None:
    with opened(zipped(("digits/", b""), (NAME, GOOD[NAME]))) as folder:
        assert (folder / NAME).read_bytes() == GOOD[NAME]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "/etc/x.json",
            "../x.json",
            "digits/../../x.json",
            "digits/../x.json",
            "x.json",
            "a/b/c.json",
            "~/x.json",
        ),
        *(
            "digits/.x.json",
            ".hidden/x.json",
            "C:/x.json",
            "digits\\x.json",
            "digits/x\ny.json",
            "./digits/x.json",
        ),
        *("digits/\u202ex.json", "digits//x.json", "digits/" + "x" * 300 + ".json", "\x1b[31m/x.json", ".."),
    ],
)
def test_names_that_lead_elsewhere_are_refused(zipped: Zipped, name: str) -> None:
    refused(zipped((name, b"{}")), "is not the name TASK/RUN of a file in a bundle")


@pytest.mark.parametrize(
    "name", ["digits/x.html", "digits/x.svg", "digits/x", "digits/x.json.exe", "digits/x.PNG"]
)
def test_other_suffixes_are_refused(zipped: Zipped, name: str) -> None:
    refused(zipped((name, b"")), "has none of the suffixes")


def test_a_name_that_is_cut_at_a_null_byte_is_refused(zipped: Zipped) -> None:
    path = zipped(("digits/x.jsonZ.exe", b"{}"))
    path.write_bytes(path.read_bytes().replace(b".jsonZ.exe", b".json\0.exe"))
    refused(path, "is not")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_special_files_are_refused(zipped: Zipped, kind: int) -> None:
    member = zipfile.ZipInfo(NAME)
    member.create_system, member.external_attr = 3, (kind | 0o777) << 16
    refused(zipped((member, b"/etc/passwd")), "is a link or a special file")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(zipped: Zipped) -> None:
    refused(zipped(("digits/x.json", b"1"), ("digits/x.json", b"2")), "it has two files called 'digits/x.json'")
    refused(zipped(("digits/x.json", b"1"), ("digits/X.json", b"2")), "it has two files called 'digits/X.json'")


def test_a_bomb_is_refused_by_what_it_says(zipped: Zipped, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(zipped((NAME, bytes(8 << 20))), "unpacks from")
    monkeypatch.setattr(bundles, "MOST_BYTES", 1000)
    refused(zipped((NAME, os.urandom(1001))), "unpacks from")


def test_a_bomb_that_lies_about_its_size_is_refused(zipped: Zipped) -> None:
    path = zipped((NAME, bytes(10 << 20)))
    content = path.read_bytes().replace(struct.pack("<L", 10 << 20), struct.pack("<L", 1000))
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"is no readable \.zip|is larger than it says"), opened(path):
        pass


def test_many_files_are_refused_before_they_are_listed(zipped: Zipped, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(*((f"digits/{number}.json", b"") for number in range(50)))
    monkeypatch.setattr(bundles, "MOST_FILES", 49)
    refused(path, "it has 50 files, and at most 49 are read")
    monkeypatch.setattr(bundles, "MOST_FILES", 4)
    monkeypatch.setattr(zipfile, "ZipFile", None)  # it would read the whole list
    refused(path, "it has more than 4 files")


def test_files_that_are_large_together_are_refused(zipped: Zipped, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(*((f"digits/{number}.json", os.urandom(1000)) for number in range(5)))
    monkeypatch.setattr(bundles, "MOST_TOGETHER", 4999)
    refused(path, "its files are larger than 4.9 KiB together")
    monkeypatch.setattr(bundles, "MOST_ZIPPED", 100)
    refused(path, "it is larger than 100 B")


def test_what_is_no_archive_or_is_damaged_is_refused(zipped: Zipped, tmp_path: Path) -> None:
    good = zipped((NAME, os.urandom(5000))).read_bytes()
    path = tmp_path / "bundle.zip"
    flipped = bytearray(good)
    flipped[200] ^= 0xFF
    for content in (b"", b"PK", b"hello" * 100, good[:-1], good[50:], good + b"tail", bytes(flipped), good[:3000]):
        path.write_bytes(content)
        refused(path, "it is no")


def test_a_file_without_a_name_is_refused(zipped: Zipped) -> None:
    path = zipped(("x", b"{}"))
    content = path.read_bytes().replace(struct.pack("<HH", 1, 0) + b"x", struct.pack("<HH", 0, 1) + b"x")
    path.write_bytes(content.replace(struct.pack("<HHH", 1, 0, 0), struct.pack("<HHH", 0, 1, 0)))
    refused(path, "'' is not the name TASK/RUN")


def test_no_flipped_byte_does_anything_but_be_read_or_refused(zipped: Zipped) -> None:
    good = zipped((NAME, GOOD[NAME]), ("digits/x.csv", b"a,b\n")).read_bytes()
    random, path = np.random.default_rng(0), zipped((NAME, b""))
    for position in [*range(30), *range(len(good) - 60, len(good)), *random.integers(0, len(good), 30)]:
        flipped = bytearray(good)
        flipped[position] ^= int(random.integers(1, 256))
        path.write_bytes(flipped)
        with contextlib.suppress(UserError), opened(path) as folder:
            assert all(file.resolve().is_relative_to(folder.resolve()) for file in folder.rglob("*"))


def test_an_archive_behind_a_comment_is_refused(zipped: Zipped) -> None:
    path = zipped((NAME, b"{}"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"a comment"
    refused(path, "has a comment")


def test_encrypted_files_and_rare_compressions_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(NAME, b"{}")
    path = tmp_path / "bundle.zip"
    path.write_bytes(buffer.getvalue())
    refused(path, "is encrypted, or compressed by another method than deflate")


def test_links_in_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs" / "digits").mkdir(parents=True)
    (tmp_path / "theirs" / "digits" / "x.json").symlink_to("/etc/passwd")
    refused(tmp_path / "theirs", "'digits/x.json' is a link or a special file")


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "bundle.zip")
    with pytest.raises(UserError, match="a named pipe"), opened(tmp_path / "bundle.zip"):
        pass


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    files = {**GOOD, "digits/b.png": b"\x89PNG", "digits/a.csv": b"x" * 1000}
    write_zip(tmp_path / "a.zip", files)
    write_zip(tmp_path / "b.zip", dict(reversed(files.items())))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_disk_that_takes_no_more_is_no_damage(
    zipped: Zipped, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(bundles, "_extract_one", refuse)
    path = zipped((NAME, GOOD[NAME]))
    with pytest.raises(DiskFullError, match="cannot be written"), opened(path):
        raise AssertionError("it cannot be opened")
