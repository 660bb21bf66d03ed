"""Write files that appear whole or not at all, and compute the hashes that identify them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import marshal
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.core.disk import named_if_full, named_if_not_writable
from bench.core.errors import UserError
from bench.core.json_objects import RepeatedKeyError, unrepeated
from bench.core.temporaries import temporary_beside


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it to `path`.

    A reader sees the old file or the new one, never a part; on an exception the temporary file is removed. Raises
    DiskFullError if the disk is full, whatever error the writer raises for that, and UserError if `path` is a
    folder or its folder may not be written to.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, but a file is to be written there; fix: name a file in it")
    make_folder(path.parent)
    with _temporary(path) as temporary:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())  # the temporary one is private
        temporary.replace(path)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success rename it to `path`, replacing what was there.

    All files in it get the permissions that an ordinary program would give: some writers of weights make private
    files, which other users of a shared cache could not read. Raises DiskFullError if the disk is full. A kill
    between the two renames leaves the old folder under a hidden name: the next writer, or `remove_temporaries`,
    puts it back. Of two writers at once, the last one's folder stays. A link to a folder stays one.
    """
    path = path.resolve() if path.is_symlink() else path
    make_folder(path.parent)
    with _temporary(path, is_folder=True) as temporary:
        yield temporary
        umask = _umask()
        for inside in (temporary, *temporary.rglob("*")):
            inside.chmod((0o777 if inside.is_dir() else 0o666) & ~umask)
        old = temporary.with_name(f"{temporary.name}.old")
        try:
            while not _takes_place(temporary, path):
                shutil.rmtree(old, ignore_errors=True)  # if it was moved aside, and another writer was faster
                with contextlib.suppress(FileNotFoundError):  # another writer has moved it aside
                    path.rename(old)
        except BaseException:
            if old.exists() and not path.exists():
                old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _takes_place(temporary: Path, path: Path) -> bool:
    """Rename a folder to `path`; return False if there is another one that is not empty."""
    try:
        temporary.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


@contextlib.contextmanager
def _temporary(path: Path, is_folder: bool = False) -> Iterator[Path]:
    """Yield a temporary file or folder beside `path`, and name what the disk refuses."""
    with named_if_full(path), contextlib.ExitStack() as stack:
        with named_if_not_writable(path.parent):
            temporary = stack.enter_context(temporary_beside(path, is_folder))
        yield temporary


def make_folder(folder: Path) -> None:
    """Make a folder and its parents. Raises UserError if that is not permitted or the disk is full."""
    with named_if_full(folder), named_if_not_writable(folder):
        folder.mkdir(parents=True, exist_ok=True)


def append_line(path: Path, line: str) -> None:
    """Append a line and hand it to the system, so that it survives if the process is killed.

    If a kill or a full disk cut the last line short, it is ended first, so that the new line stays readable.
    """
    if path.exists():
        regular_file(path)  # opening a named pipe would block this process forever
    make_folder(path.parent)
    with named_if_full(path), named_if_not_writable(path, "file"), path.open("a+b", buffering=0) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = f"\n{line}"
        rest = memoryview(f"{line}\n".encode())
        while rest:
            rest = rest[file.write(rest) :]


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` so that it appears whole."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def regular_file(path: Path) -> Path:
    """Return `path` if it names a regular file, links followed; reading anything else could hang.

    Raises UserError if it is missing, a folder, a named pipe, a device or a socket.
    """
    kind = _kind(path)
    if kind != "file":
        raise UserError(f"{path} is {kind}, but a regular file is expected; fix: name the file itself")
    return path


def regular_file_or_folder(path: Path) -> Path:
    """Return `path` if it names a regular file or a folder, links followed. Raises UserError for anything else."""
    kind = _kind(path)
    if kind not in ("file", "a folder"):
        raise UserError(f"{path} is {kind}, but a regular file or a folder is expected; fix: name one of these")
    return path


def refuse_special_files(folder: Path) -> None:
    """Raise UserError if a folder holds a named pipe, a device or a socket: reading those could hang."""
    for path in folder.rglob("*"):
        kind = _kind(path)
        if kind in _KINDS.values() and kind not in ("file", "a folder"):
            raise UserError(f"{path} is {kind}, but only regular files are read; fix: move it out of {folder}")


def _kind(path: Path) -> str:
    """Return the kind of a path: `file`, `a folder`, `a named pipe`, ..., or `missing`."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        return "missing" if isinstance(error, FileNotFoundError) else f"not readable ({error})"
    return _KINDS.get(stat.S_IFMT(mode), "of an unknown kind")


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}


MOST_BYTES = 64 << 20
"""Largest file that `read_bytes` reads by default; records take kilobytes, long logs megabytes."""


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a regular file of at most `most` bytes.

    Raises UserError that names the file if it is missing, unreadable, too large or not a regular file.
    """
    kind = _kind(path)
    if kind != "file":
        raise UserError(f"{path}: cannot be read: it is {kind}; fix: name a file that is there")
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read: {error.strerror or error}; fix: name a file that is there and readable"
        ) from error
    if len(content) > most:
        raise UserError(
            f"{path}: cannot be read: it is larger than {human_size(most)}, the limit for such files; "
            "fix: name another file"
        )
    return content


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Read a regular file of UTF-8 text, with or without the mark that Windows' editors begin it with.

    Raises UserError that names the file, as `read_bytes` does.
    """
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"it is not UTF-8 text (byte {error.start}); fix: save it as UTF-8"
        raise UserError(f"{path}: cannot be read: {problem}") from None


def read_object(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if the file is missing or holds anything else, or is nested too deeply."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError, UserError):
        return None
    return found if isinstance(found, dict) else None


def read_json(path: Path, fix: str = "download it again") -> dict[str, Any]:
    """Read a JSON object, such as one that was downloaded. Raises UserError with the fix if there is none.

    An object in it that has a key twice is refused by name: a reader would lose one of its values.
    """
    try:
        found = json.loads(read_text(path), object_pairs_hook=unrepeated)
    except RepeatedKeyError as error:
        raise UserError(f"cannot read {path}: {error}; fix: keep one of them, or {fix}") from None
    except (ValueError, RecursionError, UserError):
        found = None
    if not isinstance(found, dict):
        problem = "it contains no JSON object" if path.exists() else "there is no such file"
        raise UserError(f"cannot read {path}: {problem}; fix: {fix}")
    return found


def canonical_json(value: Any) -> str:
    """Serialise plain data in the form that is hashed: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest(value: Any) -> str:
    """Return the SHA-256 of plain data's canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def repeated_digest(value: Any) -> str:
    """Return the same as `digest`, cached for values that recur often, as in records."""
    try:
        plain = marshal.dumps(value, 2)  # the version without references: equal values give equal bytes
    except ValueError:
        return digest(value)  # a subclass of a plain type, which only JSON accepts
    return _digest_of(plain)


@lru_cache(maxsize=1024)
def _digest_of(plain: bytes) -> str:
    return digest(marshal.loads(plain))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(path: Path, patterns: Sequence[str] = ("**/*",)) -> str:
    """Return one SHA-256 of the names and hashes of a folder's files, or of those that match these patterns."""
    files = {file for pattern in patterns for file in path.glob(pattern) if file.is_file()}
    return digest({str(file.relative_to(path)): file_sha256(file) for file in sorted(files)})


def path_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder as `folder_sha256` computes it."""
    return folder_sha256(path) if path.is_dir() else file_sha256(path)


def folder_size(path: Path) -> int:
    """Return the size in bytes of all files under a folder, or of a single file."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def human_size(size: float) -> str:
    """Format a number of bytes for people: `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
