"""Which files are images, which are litter, and which are refused: by the product's own lists, on any machine."""

import mimetypes
import os
from collections import Counter
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.data.kinds import ARCHIVES, IMAGE_SUFFIXES, UNREAD_IMAGES, described, litter, other_kind
from bench.data.source import images_under, read_bytes


def test_the_lists_are_apart_and_cover_what_python_knows_of() -> None:
    assert not {*IMAGE_SUFFIXES} & {*UNREAD_IMAGES, *ARCHIVES}
    known = {suffix for suffix, kind in mimetypes.types_map.items() if kind.startswith("image/")}
    assert known - {*IMAGE_SUFFIXES, *UNREAD_IMAGES} <= {".ief", ".ras", ".rgb", ".xwd", ".avci", ".heics"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a/b.jpg", None),
        ("./a/../b.jpg", None),
        ("__MACOSX/a/b.jpg", "__MACOSX"),
        ("a/._b.jpg", "._*"),
        ("a/.ipynb_checkpoints/b-checkpoint.jpg", ".ipynb_checkpoints"),
        ("a\\Thumbs.db", "Thumbs.db"),
        ("THUMBS.DB", "Thumbs.db"),
        (".secret/b.jpg", "hidden files"),
    ],
)
def test_litter_is_known_wherever_it_lies_in_a_path(path: str, kind: str | None) -> None:
    assert litter(path) == kind


def test_images_are_found_others_counted_and_unread_kinds_refused(tmp_path: Path) -> None:
    for name in ("a.PNG", "b.webp", "c.jfif", "notes.txt", "LICENSE", "._a.PNG", "sub/.cache/x.png", "sub/d.jpe"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = images_under(tmp_path)
    assert [path.name for path in found.paths] == ["a.PNG", "b.webp", "c.jfif", "d.jpe"]
    assert found.skipped == Counter({".txt files": 1, "files without a suffix": 1, "._*": 1, ".cache": 1})
    assert described(found.skipped) == "4 skipped (1 ._*, 1 .cache, 1 .txt files, 1 files without a suffix)"
    for name in ("e.tga", "e.TIF", "e.tar.gz", "e.zip"):
        (tmp_path / name).touch()
        with pytest.raises(UserError, match=rf"{name} is an (image of a kind|archive).*; fix: "):
            images_under(tmp_path)
        (tmp_path / name).unlink()
    with pytest.raises(UserError, match=r"x: y.gif is an image of a kind that is not read"):
        other_kind("y.gif", "x: y.gif")


def test_a_named_pipe_and_a_huge_file_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a.png is not a regular file; fix: "):
        read_bytes(tmp_path / "a.png")
    with pytest.raises(UserError, match="/dev/zero is not a regular file"):
        read_bytes(Path("/dev/zero"))
    with (tmp_path / "b.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"b.png has 1.0 TiB, more than the 1.0 GiB"):
        read_bytes(tmp_path / "b.png")
