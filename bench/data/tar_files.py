"""List the members of uncompressed tars: each is a file, a link to one or counted litter, or it is refused."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

from bench.core.errors import UserError
from bench.data.kinds import litter, refuse_backslash

FIX = "fix: download or copy it again"
_CHUNK = 1 << 20


class Entry(NamedTuple):
    """A file in a tar."""

    name: str
    """The path in the tar, without `./`."""
    offset: int
    """Position of its first byte in the file that was searched."""
    size: int


@dataclass(frozen=True)
class Contents:
    """The content of one tar."""

    entries: list[Entry]
    """The files in their order; a link stands for its target, under the link's name."""
    skipped: Counter[str]
    """Number of skipped files, by kind of litter."""


def search(file: IO[bytes], name: str) -> Contents:
    """List the files of the tar in `file`, or of all its tars if several were joined end to end.

    Hard and symbolic links to files of the tar are followed. Raises UserError that gives the tar's `name` and
    the member if it is not a tar, is cut short or damaged, if a member is neither a file nor a folder nor a link
    to a file, or if two members have the same name or one has backslashes in its name.
    """
    end = file.seek(0, io.SEEK_END)
    infos: dict[str, tarfile.TarInfo] = {}
    skipped: Counter[str] = Counter()
    for info in _members(file, name, end):
        member = posixpath.normpath(info.name)
        if info.isdir() or info.type == b"V":  # a volume's label is no file
            continue
        if kind := litter(member):
            skipped[kind] += 1
            continue
        refuse_backslash(name, member)
        if member in infos:
            raise UserError(f"{name} holds {member} twice; fix: make it again with one of the two")
        infos[member] = info
    return Contents([_entry(infos, member, name) for member in infos], skipped)


class Part(io.RawIOBase):
    """A part of an open file as a file of its own, for a tar inside a tar."""

    def __init__(self, file: IO[bytes], entry: Entry) -> None:
        """Expose the bytes of `entry`; positions begin at 0."""
        self._file, self._begin, self._size, self._at = file, entry.offset, entry.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        self._file.seek(self._begin + self._at)
        data = self._file.read(left if size < 0 else min(size, left))
        self._at += len(data)
        return data


def _members(file: IO[bytes], name: str, end: int) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of all tars in `file`, which ends at `end`.

    tarfile treats a damaged or missing header as the end of a tar; the real end is a block of zeros.
    """
    begin = 0
    while True:
        file.seek(begin)
        position = begin
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for info in tar:
                    # A negative size, or one past the end, would make tarfile read the same bytes again.
                    if (
                        info.offset < position
                        or info.size < 0
                        or (info.isreg() and info.offset_data + info.size > end)
                    ):
                        raise tarfile.ReadError(f"{info.name} is longer than the tar")
                    position = info.offset_data
                    yield info
                stopped = tar.offset
        except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
            what = f"is cut short or damaged ({error})" if position else f"is not a tar or is cut short ({error})"
            raise UserError(f"{name} {what}; {FIX}") from error
        file.seek(stopped)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise UserError(f"{name} is cut short or damaged at byte {stopped:,}; {FIX}")
        following = _next_tar(file, stopped)
        if following is None:
            return
        begin = following


def _next_tar(file: IO[bytes], end_mark: int) -> int | None:
    """Find the first block after an end mark that is not all zeros; None if there is none."""
    file.seek(end_mark)
    at = end_mark
    while chunk := file.read(_CHUNK):
        filled = len(chunk) - len(chunk.lstrip(b"\0"))
        if filled < len(chunk):
            return at + filled // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
        at += len(chunk)
    return None


def _entry(infos: dict[str, tarfile.TarInfo], member: str, name: str) -> Entry:
    """Return the file that a member is or links to. Raises UserError if there is none."""
    found, followed = member, set[str]()
    while (info := infos[found]).islnk() or info.issym():
        followed.add(found)
        below = posixpath.dirname(found) if info.issym() else ""
        target = posixpath.normpath(posixpath.join(below, info.linkname))
        if target in followed or target not in infos:
            raise UserError(
                f"{name}: {member} is a link to {info.linkname}, which is not a file in it; "
                "fix: make it again with tar --dereference --hard-dereference"
            )
        found = target
    if not info.isreg() or info.issparse():
        what = "stored with holes (sparse)" if info.issparse() else f"not a file (type {info.type!r})"
        raise UserError(f"{name}: {member} is {what}; fix: make it again from ordinary files")
    return Entry(member, info.offset_data, info.size)
