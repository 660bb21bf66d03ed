"""A full disk is named whoever writes; what killed writers leave is removed; others can read the rest."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bench.core import files
from bench.core.files import DiskFullError, remove_temporaries, whole_file, whole_folder
from bench.core.made import made_once

FULL = OSError(errno.ENOSPC, "No space left on device")


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing more be written into any folder."""

    def refuse(*_: Any, **__: Any) -> None:
        raise FULL

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)


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
        subprocess.run(["umount", str(tmp_path)], check=True)


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


def test_the_next_maker_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / ".teacher.abcd_123").mkdir()
    (tmp_path / ".other.abcd_123").mkdir()  # somebody makes it at this moment
    with made_once(tmp_path / "teacher") as missing:
        assert missing
    assert not (tmp_path / ".teacher.abcd_123").exists() and (tmp_path / ".other.abcd_123").exists()


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
    (tmp_path / ".best.abcd_123.old").mkdir()
    (tmp_path / ".best.abcd_123.old" / "weights").write_text("the only ones")
    (tmp_path / ".best.abcd_123").mkdir()
    assert [path.name for path in remove_temporaries(tmp_path)] == [".best.abcd_123"]
    assert (tmp_path / "best" / "weights").read_text() == "the only ones"
    (tmp_path / ".best.efgh_456.old").mkdir()  # the new one has its place
    assert [path.name for path in remove_temporaries(tmp_path)] == [".best.efgh_456.old"]
