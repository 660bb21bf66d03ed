"""Temporary files: of killed commands they are removed, and what keeps them from being written is named."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bench.core.disk import DiskFullError
from bench.core.errors import UserError
from bench.core.files import make_folder
from bench.core.temporaries import scratch_folder

KILLED = (
    "import os, signal; from bench.core.temporaries import scratch_folder\n"
    "with scratch_folder() as folder: (folder / 'x').touch(); os.kill(os.getpid(), signal.SIGKILL)"
)


def test_what_a_killed_command_left_goes_with_the_next_and_a_living_ones_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([sys.executable, "-c", KILLED], env=os.environ | {"TMPDIR": str(tmp_path)}, check=False)
    (left,) = tmp_path.iterdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder() as first, scratch_folder() as second:
        assert {*tmp_path.iterdir()} == {first, second} and left not in (first, second)
    assert not list(tmp_path.iterdir())


def test_a_system_without_a_place_for_them_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with (
        pytest.raises(DiskFullError, match=r"No usable .* in \['/tmp'\]; fix: export TMPDIR="),
        scratch_folder(),
    ):
        raise AssertionError("there is no folder")


def test_a_place_that_is_full_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(DiskFullError, match=f"the disk is full: {tmp_path}/scratch"), scratch_folder():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_link_to_nothing_in_a_folders_place_is_named_with_its_target(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to("elsewhere")
    for folder in (tmp_path / "runs", tmp_path / "runs" / "tiny"):
        with pytest.raises(UserError, match=rf"a link to elsewhere, .*; fix: mkdir -p {tmp_path}/elsewhere$"):
            make_folder(folder)


def test_a_file_in_a_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    for folder in (tmp_path / "runs", tmp_path / "runs" / "tiny"):
        with pytest.raises(UserError, match=rf"cannot be made: {tmp_path}/runs is a file; fix: name another"):
            make_folder(folder)
