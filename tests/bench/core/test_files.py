"""Files that appear whole or not at all, work that is done once, and hashes of content."""

import hashlib
import io
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.core import made
from bench.core.errors import UserError
from bench.core.files import (
    canonical_json,
    digest,
    file_sha256,
    folder_sha256,
    folder_size,
    human_size,
    read_object,
    read_text,
    regular_file,
    regular_file_or_folder,
    whole_file,
    whole_folder,
    write_text,
)
from bench.core.made import made_once


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


# whole_file


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with whole_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent  # the rename must not cross file systems
        assert temporary.suffix == ".txt"  # some writers choose the format by it
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert names(path.parent) == ["file.txt"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as temporary:
        temporary.write_text("new")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_file_has_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    write_text(tmp_path / "ours", "text")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_text_is_read_with_and_without_the_mark_of_windows_editors(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "text").write_text("a = 1", encoding=encoding)
        assert read_text(tmp_path / "text") == "a = 1"


def test_text_is_written_as_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "σ ± ε\n")
    assert (tmp_path / "file").read_bytes() == "σ ± ε\n".encode()


# whole_folder


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder"
    with whole_folder(path) as temporary:
        (temporary / "one").touch()
        assert not path.exists()
        (temporary / "two").touch()
    assert names(path) == ["one", "two"]
    assert names(path.parent) == ["folder"]
    assert path.stat().st_mode & 0o777 == 0o755


def test_a_folder_is_replaced_not_merged(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("old", "new"):
        with whole_folder(path) as temporary:
            (temporary / name).touch()
    assert names(path) == ["new"]
    assert names(tmp_path) == ["folder"]


def test_an_exception_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with whole_folder(path) as temporary:
        (temporary / "old").touch()
    with pytest.raises(KeyboardInterrupt), whole_folder(path) as temporary:
        (temporary / "new").touch()
        raise KeyboardInterrupt
    assert names(path) == ["old"]
    assert names(tmp_path) == ["folder"]


# made_once


MAKER = """
import sys, time
from pathlib import Path
from bench.core.made import made_once
from bench.core.files import write_text

path, log, start = map(Path, sys.argv[1:])
print("ready", flush=True)
while not start.exists():
    time.sleep(0.01)
with made_once(path) as missing:
    if missing:
        with log.open("a") as file:
            file.write("made\\n")
        time.sleep(0.3)
        write_text(path, "made")
assert path.read_text() == "made"
"""


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    path, log, start = tmp_path / "asset", tmp_path / "log", tmp_path / "start"
    command = [sys.executable, "-c", MAKER, str(path), str(log), str(start)]
    makers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for maker in makers:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"
    start.touch()
    for maker in makers:
        maker.communicate(timeout=30)
    assert [maker.returncode for maker in makers] == [0, 0]
    assert log.read_text() == "made\n"


def test_who_waits_for_another_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(sys, "stderr", said := io.StringIO())
    path = tmp_path / "teacher"

    def missing() -> bool:
        with made_once(path) as found:
            return found

    with ThreadPoolExecutor(1) as others:
        with made_once(path):
            second = others.submit(missing)
            until = time.monotonic() + 30
            while not said.getvalue().endswith("\n") and time.monotonic() < until:
                time.sleep(0.01)
            assert not second.done()
            write_text(path, "made")
        assert second.result(30) is False
    assert said.getvalue() == f"waiting for another process, which makes {path}\n"


def test_what_is_there_is_not_missing(tmp_path: Path) -> None:
    path = tmp_path / "asset"
    path.touch()
    with made_once(path) as missing:
        assert not missing
    assert names(tmp_path) == ["asset"]  # no lock is taken for it


def test_a_failure_lets_the_next_one_try(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "asset"
    with pytest.raises(RuntimeError), made_once(path) as missing:
        assert missing
        raise RuntimeError
    started = time.monotonic()
    with made_once(path) as missing:
        assert missing
    assert time.monotonic() - started < 5


# Hashes


def test_canonical_json_does_not_depend_on_order_or_container() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None, "σ"]}) == canonical_json({"a": (1.5, None, "σ"), "b": 1})
    assert canonical_json({"b": 1, "a": True}) == '{"a":true,"b":1}'
    assert canonical_json("σ") == r'"\u03c3"'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_canonical_json_refuses_what_json_has_not(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": [value]})


def test_canonical_json_refuses_other_objects() -> None:
    with pytest.raises(TypeError):
        canonical_json({"path": Path("/")})


def test_digest_is_the_sha256_of_canonical_json() -> None:
    assert digest({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()
    assert digest([1, 2]) != digest([2, 1])


def test_file_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert file_sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def example_folder(path: Path) -> Path:
    (path / "inner").mkdir(parents=True)
    (path / "a").write_text("one")
    (path / "inner" / "b").write_text("two")
    return path


def test_folder_sha256_is_of_names_and_contents_not_of_place_or_time(tmp_path: Path) -> None:
    here, there = example_folder(tmp_path / "here"), example_folder(tmp_path / "there")
    os.utime(there / "a", (0, 0))
    assert folder_sha256(here) == folder_sha256(there)
    (there / "a").write_text("One")
    assert folder_sha256(here) != folder_sha256(there)


def test_folder_sha256_changes_with_a_name(tmp_path: Path) -> None:
    here, there = example_folder(tmp_path / "here"), example_folder(tmp_path / "there")
    (there / "a").rename(there / "c")
    assert folder_sha256(here) != folder_sha256(there)


def test_folder_sha256_may_be_of_some_files(tmp_path: Path) -> None:
    here, there = example_folder(tmp_path / "here"), example_folder(tmp_path / "there")
    (there / "unread").touch()
    assert folder_sha256(here) != folder_sha256(there)
    assert folder_sha256(here) == folder_sha256(there, ("a", "inner/*", "a*"))


def test_folder_size_counts_all_files(tmp_path: Path) -> None:
    folder = example_folder(tmp_path / "folder")
    assert folder_size(folder) == 6
    assert folder_size(folder / "a") == 3


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (1 << 20, "1.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (3 << 40, "3.0 TiB"),
    ],
)
def test_human_size(size: int, text: str) -> None:
    assert human_size(size) == text


def test_only_a_regular_file_is_opened_as_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    assert regular_file(tmp_path / "link") == tmp_path / "link"
    assert regular_file_or_folder(tmp_path) == tmp_path
    for name, kind in (("pipe", "a named pipe"), (".", "a folder"), ("none", "missing")):
        with pytest.raises(UserError, match=f"is {kind}, but a regular file is expected"):
            regular_file(tmp_path / name)
    with pytest.raises(UserError, match="is a character device"):
        regular_file_or_folder(Path("/dev/zero"))
    assert read_object(tmp_path / "pipe") is None
