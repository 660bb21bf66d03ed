"""Kinds of files by their names: images that are read, files that are refused, and litter that is skipped.

The lists are our own because the system's table of file types differs between machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from bench.core.errors import UserError

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".webp")
IMAGE_KINDS = "JPEG, PNG or WebP"
"""The name of these kinds in messages."""

UNREAD_IMAGES = (
    *(".apng", ".avif", ".bmp", ".cr2", ".dds", ".dib", ".dng", ".emf", ".eps", ".exr", ".gif", ".hdr", ".heic"),
    *(".heif", ".icns", ".ico", ".j2c", ".j2k", ".jp2", ".jpf", ".jpm", ".jpx", ".jxl", ".mpo", ".nef", ".orf"),
    *(".arw", ".pbm", ".pcx", ".pfm", ".pgm", ".pnm", ".ppm", ".psd", ".qoi", ".raw", ".rw2", ".sgi", ".svg"),
    *(".svgz", ".tga", ".tif", ".tiff", ".wmf", ".xbm", ".xcf", ".xpm"),
)
"""Images of kinds that are not read: they are refused by name, so that none is left out silently."""

ARCHIVES = (
    *(".7z", ".bz2", ".gz", ".lz4", ".lzma", ".rar", ".tbz", ".tbz2", ".tgz", ".txz", ".xz", ".zip", ".zst"),
)
"""Archives may hold images, so they are refused as well."""

LITTER = frozenset(
    {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db", "desktop.ini", "lost+found"}
)
"""Files and folders that file managers and file systems leave behind under names that are not hidden."""
_LITTER = {name.lower(): name for name in LITTER}
_HIDDEN = frozenset({".DS_Store", ".ipynb_checkpoints", ".git", ".cache", ".AppleDouble", ".thumbnails"})


def is_image(name: str) -> bool:
    """Say whether a file's name is that of an image of a kind that is read."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def litter(path: str) -> str | None:
    """Return the kind of litter that a path (with `/`, as in an archive) is or lies in; None if it is no litter.

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


def refuse_backslash(archive: str, member: str) -> None:
    """Raise UserError if the name of an archive's member has backslashes for its folders, as only Windows has."""
    if "\\" in member:
        raise UserError(
            f"{archive} holds {member}, with a backslash in its name where folders end with /; fix: unpack it, "
            "and make it again with a program that writes /"
        )


def other_kind(name: str, where: str) -> str:
    """Return the kind under which a skipped file is counted, such as `.txt files`.

    Raises UserError that names `where` the file is for an archive and for an image of a kind that is not read.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in UNREAD_IMAGES:
        raise UserError(
            f"{where} is an image of a kind that is not read ({suffix}; {', '.join(IMAGE_SUFFIXES)} are); "
            "fix: convert it, or move it elsewhere"
        )
    if suffix in ARCHIVES:
        raise UserError(
            f"{where} is an archive ({suffix}), and archives are not read; fix: unpack it, or move it elsewhere"
        )
    return f"{suffix} files" if suffix else "files without a suffix"


def described(skipped: Mapping[str, int]) -> str:
    """Describe the skipped files: `5 skipped (3 .DS_Store, 2 .txt files)`, or `nothing skipped`."""
    if not skipped:
        return "nothing skipped"
    parts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(skipped.items()))
    return f"{sum(skipped.values()):,} skipped ({parts})"
