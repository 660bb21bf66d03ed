"""Kinds of file, by their names: what is read as an image, what is refused, and what is litter.

The lists are the product's own: the system's table of kinds differs between machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from bench.core.errors import UserError

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".webp")
IMAGE_KINDS = "JPEG, PNG or WebP"
"""What these suffixes stand for, in messages."""

UNREAD_IMAGES = (
    *(".apng", ".avif", ".bmp", ".cr2", ".dds", ".dib", ".dng", ".emf", ".eps", ".exr", ".gif", ".hdr", ".heic"),
    *(".heif", ".icns", ".ico", ".j2c", ".j2k", ".jp2", ".jpf", ".jpm", ".jpx", ".jxl", ".mpo", ".nef", ".orf"),
    *(".arw", ".pbm", ".pcx", ".pfm", ".pgm", ".pnm", ".ppm", ".psd", ".qoi", ".raw", ".rw2", ".sgi", ".svg"),
    *(".svgz", ".tga", ".tif", ".tiff", ".wmf", ".xbm", ".xcf", ".xpm"),
)
"""Images that nothing here reads: refused by name, since nobody would miss what is left out."""

ARCHIVES = (
    *(".7z", ".bz2", ".gz", ".lz4", ".lzma", ".rar", ".tbz", ".tbz2", ".tgz", ".txz", ".xz", ".zip", ".zst"),
)
"""Archives, in which images may be that nobody would miss either."""

LITTER = frozenset(
    {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db", "desktop.ini", "lost+found"}
)
"""What file managers and file systems leave behind under names that are not hidden."""
_LITTER = {name.lower(): name for name in LITTER}
_HIDDEN = frozenset({".DS_Store", ".ipynb_checkpoints", ".git", ".cache", ".AppleDouble", ".thumbnails"})


def is_image(name: str) -> bool:
    """Say whether a file's name is that of an image that is read."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def litter(path: str) -> str | None:
    """Name the litter that a path (with `/`, as in an archive) is or lies in; None if it is neither.

    All hidden files and folders count as litter: `._*` of macOS, `.ipynb_checkpoints`, and any other.
    """
    for part in PurePosixPath(path.replace("\\", "/")).parts:
        if part.startswith("._"):
            return "._*"
        if part.lower() in _LITTER:
            return _LITTER[part.lower()]
        if part.startswith(".") and part not in (".", ".."):
            return part if part in _HIDDEN else "hidden files"
    return None


def other_kind(name: str, where: str) -> str:
    """Say as what a file that is no readable image is counted: `.txt files`.

    Raises UserError, with `where` the file is, for an image of a kind that is not read, and for an archive.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in UNREAD_IMAGES:
        raise UserError(
            f"{where} is an image of a kind that is not read ({suffix}; {', '.join(IMAGE_SUFFIXES)} are); "
            "fix: convert or remove it"
        )
    if suffix in ARCHIVES:
        raise UserError(f"{where} is an archive ({suffix}), which is not looked into; fix: unpack or remove it")
    return f"{suffix} files" if suffix else "files without a suffix"


def described(skipped: Mapping[str, int]) -> str:
    """Say what was skipped, for people: `5 skipped (3 .DS_Store, 2 .txt files)`, or `nothing skipped`."""
    if not skipped:
        return "nothing skipped"
    parts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(skipped.items()))
    return f"{sum(skipped.values()):,} skipped ({parts})"
