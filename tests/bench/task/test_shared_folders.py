"""Folders that several write to: what a kill leaves in the middle of a change, other users' locks, torn lines."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.core import files
from bench.core.disk import DiskFullError
from bench.core.errors import UserError
from bench.core.files import append_line, make_folder, whole_folder
from bench.core.made import made_once
from bench.core.temporaries import remove_temporaries
from bench.runs.states import attempts
from bench.runs.states.lock import locked


def test_a_kill_between_the_two_renames_loses_neither_folder(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "weights").write_text("the only ones")
    program = (
        "import os, sys; from pathlib import Path; from bench.core.files import whole_folder\n"
        "rename, calls = os.rename, []\n"
        "def killed(*paths):\n"
        "    calls.append(paths)\n"
        "    return rename(*paths) if len(calls) < 3 else os.kill(os.getpid(), 9)\n"
        "os.rename = killed\n"
        "with whole_folder(Path(sys.argv[1]) / 'best') as folder:\n"
        "    (folder / 'weights').write_text('new')"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert ended.returncode == -9 and not (tmp_path / "best").exists()
    assert len(remove_temporaries(tmp_path)) == 1  # the new one
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    assert (tmp_path / "best" / "weights").read_text() == "the only ones"


REPLACER = """
import sys; from pathlib import Path; from bench.core.files import whole_folder
for number in range(200):
    with whole_folder(Path(sys.argv[1]) / "site") as folder:
        (folder / "index.html").write_text(str(number))
"""


def test_two_commands_replace_one_folder_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", REPLACER, str(tmp_path)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [one.communicate()[1] for one in both] == ["", ""]
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
    assert (tmp_path / "site" / "index.html").read_text() == "199"


def test_a_folder_that_is_a_link_is_replaced_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "disk" / "site").mkdir(parents=True)
    (tmp_path / "site").symlink_to(tmp_path / "disk" / "site")
    with whole_folder(tmp_path / "site") as folder:
        (folder / "index.html").write_text("new")
    assert (tmp_path / "site").is_symlink() and (tmp_path / "disk" / "site" / "index.html").read_text() == "new"


def test_what_was_moved_aside_goes_once_the_new_one_has_its_place(tmp_path: Path) -> None:
    for name in ("best", ".best.bench-abcd_123.old"):
        (tmp_path / name).mkdir()
    assert [path.name for path in remove_temporaries(tmp_path)] == [".best.bench-abcd_123.old"]
    assert (tmp_path / "best").is_dir()


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "weights").write_text("old")
    rename, calls = os.rename, []

    def refuse_second(*paths: Any) -> None:
        calls.append(paths)
        if len(calls) == 2:
            raise OSError(errno.EIO, "the disk is broken")
        rename(*paths)

    monkeypatch.setattr(os, "rename", refuse_second)
    with pytest.raises(OSError, match="broken"), whole_folder(tmp_path / "best"):
        pass
    assert (tmp_path / "best" / "weights").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@contextlib.contextmanager
def another_users(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a file be opened to read alone, as another user's: root, as which tests may run, could write it."""
    opened = os.open

    def read_only(where: Any, flags: int, *rest: Any, **more: Any) -> int:
        if Path(where) == path and flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise PermissionError(errno.EACCES, "Permission denied", str(where))
        return opened(where, flags, *rest, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", read_only)
        yield


def test_another_users_lock_in_a_shared_cache_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / ".teacher.lock"
    lock.touch(mode=0o644)
    with another_users(lock, monkeypatch), made_once(tmp_path / "teacher") as missing:
        assert missing
    run_lock = tmp_path / ".lock"
    run_lock.touch(mode=0o644)
    busy = pytest.raises(UserError, match="another command works on")
    with another_users(run_lock, monkeypatch), locked(tmp_path), busy, locked(tmp_path):
        pass


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    for lock in (made_once(tmp_path / "teacher"), locked(tmp_path)):
        with (
            pytest.raises(UserError, match=f"{tmp_path}/.* cannot be locked: No locks available; .*; fix: "),
            lock,
        ):
            raise AssertionError("nothing is done without a lock")


def test_where_nothing_may_be_written_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = rf"the folder {tmp_path}.* cannot be written to: Permission denied; fix: .*--cache"
    refused = pytest.raises(UserError, match=said)
    with another_users(tmp_path / ".teacher.lock", monkeypatch), refused, made_once(tmp_path / "teacher"):
        pass

    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=said), locked(tmp_path / "run"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_without_room_for_a_folder_or_a_line_is_named(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", full)
        with pytest.raises(
            DiskFullError, match=r"the disk is full: .*run cannot be written; fix: free some space"
        ):
            make_folder(tmp_path / "run")
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(
        DiskFullError, match=r"the disk is full: .*metrics.jsonl cannot be written; fix: free some space"
    ):
        append_line(tmp_path / "metrics.jsonl", "{}")


def test_a_line_that_a_full_disk_cut_short_does_not_take_the_next_with_it(tmp_path: Path) -> None:
    first = attempts.begin(tmp_path, "1", 0, "here", "train")
    path = tmp_path / "attempts.jsonl"
    path.write_bytes(path.read_bytes() + b'{"job": "2", "rest')
    third = attempts.begin(tmp_path, "3", 0, "here", "train")
    found, problems = attempts.read_attempts(tmp_path)
    assert found == [first, third]
    assert len(problems) == 1 and "attempts.jsonl:2: not an attempt" in problems[0]


def test_lines_are_appended_whole_though_the_system_takes_them_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow:
        """A file that takes three bytes at a time, as some do when their disk is almost full."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Slow:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: Any) -> Any:
            return self.file.write(bytes(data[:3]))

    opened = files.Path.open
    monkeypatch.setattr(files.Path, "open", lambda *given, **named: Slow(opened(*given, **named)))
    for number in range(3):
        append_line(tmp_path / "log", json.dumps({"number": number, "name": "déjà"}, ensure_ascii=False))
    monkeypatch.undo()
    lines = (tmp_path / "log").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line)["number"] for line in lines[:-1]] == [0, 1, 2] and lines[-1] == ""
