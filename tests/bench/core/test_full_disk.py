"""A full disk is named whoever writes; what killed writers leave is removed; others can read the rest."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bench.core.disk import DiskFullError
from bench.core.errors import UserError
from bench.core.files import whole_file, whole_folder
from bench.core.made import made_once
from bench.core.temporaries import remove_temporaries

FULL = OSError(errno.ENOSPC, "No space left on device")


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing more be written into any folder."""

    def refuse(*_: Any, **__: Any) -> None:
        raise FULL

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)


@pytest.mark.parametrize("said", [RuntimeError("unexpected pos 64 vs 0"), FULL, OSError(errno.EDQUOT, "quota")])
def test_a_full_disk_is_named_whatever_the_writer_says(
    said: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(monkeypatch)
    for whole in (whole_file, whole_folder):
        with (
            pytest.raises(
                DiskFullError, match=r"the disk is full: .*x.pt cannot be written; fix: free some space"
            ),
            whole(tmp_path / "x.pt"),
        ):
            raise said
    assert not list(tmp_path.iterdir())


def test_another_mistake_of_a_writer_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="unexpected pos"), whole_file(tmp_path / "x"):
        raise RuntimeError("unexpected pos 64 vs 0")


@pytest.mark.skipif(not Path("/dev/shm").is_dir() or os.getuid() != 0, reason="mounts a small disk")
def test_torchs_writer_on_a_disk_that_is_really_full(tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=False).returncode:
        pytest.skip("no right to mount")
    try:
        with (
            pytest.raises(DiskFullError, match=r"the disk is full: .*x.pt"),
            whole_file(tmp_path / "x.pt") as path,
        ):
            torch.save(torch.zeros(10**6), path)
        assert not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@pytest.mark.parametrize("written", ["torch.save(torch.zeros(10**6), path)", "path.write_bytes(bytes(10**6))"])
def test_a_limit_to_the_size_of_files_is_named(written: str, tmp_path: Path) -> None:
    program = (
        "import resource, sys, torch; from pathlib import Path; from bench.core.files import whole_file\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))\n"
        f"with whole_file(Path(sys.argv[1]) / 'x.pt') as path: {written}"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert re.search(
        r"DiskFullError: .*x.pt cannot be written: it is larger .*; fix: ulimit -f unlimited", found.stderr
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_takes_no_files_is_named_without_the_temporary_name(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / ".x.bench-abcd_123"))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    for whole in (whole_file, whole_folder):
        said = pytest.raises(UserError, match=rf"^the folder {tmp_path} cannot be written to: .*; fix: change its")
        with said, whole(tmp_path / "x"):
            pytest.fail("nothing can be written")


def test_a_file_does_not_replace_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    said = pytest.raises(UserError, match=r"x is a folder, but a file is to be .*; fix: name a file in it")
    with said, whole_file(tmp_path / "x"):
        pytest.fail("nothing can be written")


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from bench.core.files import whole_file, whole_folder\n"
        "folder = Path(sys.argv[1])\n"
        "with whole_folder(folder / 'student') as one, whole_file(folder / '0000010.pt') as two:\n"
        "    (one / 'weights').write_text('x'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 2
    for name in (".lock", ".job", ".hidden", "0000020.pt", ".data.partial", ".a.b"):
        (tmp_path / name).touch()
    assert {path.name for path in remove_temporaries(tmp_path)} == left
    assert len(list(tmp_path.iterdir())) == 6


KILLED_WHILE_WRITING = (
    "import os, sys; from pathlib import Path; from bench.core.files import whole_file, whole_folder\n"
    "folder = Path(sys.argv[1])\n"
    "with whole_folder(folder / 'site') as one, whole_file(folder / 'table.csv') as two:\n"
    "    (one / 'index.html').write_text('half'); two.write_text('half'); os.kill(os.getpid(), 9)"
)


def test_the_next_writer_of_the_same_path_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / ".site.template").write_text("a file of the user's, who knows nothing of ours")
    with whole_folder(tmp_path / "site") as folder, whole_file(tmp_path / "table.csv"):
        (folder / "index.html").write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".site.template", "site", "table.csv"]


def test_what_somebody_writes_at_this_moment_is_not_removed(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "site") as folder, whole_file(tmp_path / "table.csv") as table:
        assert remove_temporaries(tmp_path) == []
        for whole, name in ((whole_folder, "site"), (whole_file, "table.csv")):
            with whole(tmp_path / name):  # another command writes the same
                pass
        (folder / "index.html").write_text("the last one")
        table.write_text("the last one")
    assert (tmp_path / "site" / "index.html").read_text() == (tmp_path / "table.csv").read_text() == "the last one"
    assert len(list(tmp_path.iterdir())) == 2


def test_the_next_maker_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / ".teacher.bench-abcd_123").mkdir()
    (tmp_path / ".other.bench-abcd_123").mkdir()  # somebody makes it at this moment
    with made_once(tmp_path / "teacher") as missing:
        assert missing
    assert not (tmp_path / ".teacher.bench-abcd_123").exists() and (tmp_path / ".other.bench-abcd_123").exists()


def test_weights_in_a_shared_cache_can_be_read_by_others(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with whole_folder(tmp_path / "teacher") as folder:
            (folder / "unet").mkdir(mode=0o700)
            save_file({"a": torch.zeros(2)}, folder / "unet" / "model.safetensors")
            (folder / "unet" / "model.safetensors").chmod(0o600)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "teacher").rglob("*")}
    assert modes == {"unet": 0o755, "model.safetensors": 0o644}
    assert (tmp_path / "teacher").stat().st_mode & 0o777 == 0o755


def test_a_folder_that_was_moved_aside_when_its_writer_was_killed_is_put_back(tmp_path: Path) -> None:
    (tmp_path / ".best.bench-abcd_123.old").mkdir()
    (tmp_path / ".best.bench-abcd_123.old" / "weights").write_text("the only ones")
    (tmp_path / ".best.bench-abcd_123").mkdir()
    assert [path.name for path in remove_temporaries(tmp_path)] == [".best.bench-abcd_123"]
    assert (tmp_path / "best" / "weights").read_text() == "the only ones"
    (tmp_path / ".best.bench-efgh_456.old").mkdir()  # the new one has its place
    assert [path.name for path in remove_temporaries(tmp_path)] == [".best.bench-efgh_456.old"]
