"""Bundles: records with the files beside them, which people send each other as a .zip file or a folder.

Its layout is that of committed records: TASK/RUN.json, with RUN.png, RUN.jsonl and RUN.parquet beside it. Beside
the tasks lie `plugins/SHA256/FILE.py`, the plug-in files of the runs, and `tuning/TASK/METHOD-HASH.json`, the
records of their tunings; they lie beside a folder that is called `records`, as in `results`. A bundle may come
from anyone: names, sizes and counts are checked before anything is written, and no plug-in is run.
"""

from __future__ import annotations

import contextlib
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from bench.core.disk import REFUSED
from bench.core.errors import UserError
from bench.core.escape import is_file_name, is_name
from bench.core.files import MOST_BYTES, human_size, regular_file
from bench.core.temporaries import scratch_folder
from bench.runs.evidence.files import OLD_SCORES_SUFFIX, SUFFIXES
from bench.runs.records import COMMITTED, TUNING, folders_beside

ALLOWED = (".json", *SUFFIXES.values(), OLD_SCORES_SUFFIX)
"""Suffixes of the files beside a record, and of the record."""
PLUGINS = "plugins"
"""The folder of plug-in files, each in a folder that is called as the file's SHA-256."""
PLUGIN_SUFFIXES = (".py", ".toml")
"""Suffixes of plug-in files: of code, and of variants as data."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
MOST_FILES = 20_000
MOST_ZIPPED = 256 << 20
"""Largest .zip file."""
MOST_TOGETHER = 1 << 30
"""Largest size of all files of a bundle."""
MOST_RATIO = 200
"""Records and curves shrink to a twentieth; what shrinks more is made to fill a disk."""
_CHUNK = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_END = struct.Struct("<4s4H2LH")
"""The last record of an archive: the sixth number is the size of its list of files in bytes."""
_LOCATOR_SIZE = 20
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, LookupError, RuntimeError, ValueError)
"""What `zipfile` raises for damaged archives: NotImplementedError too, which is a RuntimeError."""
_MOST_ENTRY = 600
"""Bytes that one file takes in the list, with the longest name."""


def is_bundle(path: Path) -> bool:
    """Say whether a path is called as a bundle's file is."""
    return path.suffix.lower() == ".zip" and not path.is_dir()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Yield a folder of the records in a bundle, which `load_records` reads; of a .zip file, for a time only.

    A folder called `records`, which `load_records` searches at any depth, is yielded itself, and another one is
    copied into one that is called so. Raises UserError if the bundle is no bundle, or is made to do harm.
    """
    if path.is_dir() and path.resolve().name == COMMITTED:
        yield path
        return
    with scratch_folder() as scratch:
        folder = scratch / COMMITTED
        folder.mkdir()
        if path.is_dir():
            _copy(path, folder)
        else:
            _extract(path, folder)
        yield folder


def place(folder: Path, name: str) -> Path:
    """Return the path of a bundle's file in a folder; plug-ins and tunings lie beside one called `records`."""
    first, _, rest = name.partition("/")
    return folders_beside(folder, first)[-1] / rest if _is_plugin(name) or _is_tuning(name) else folder / name


def plugin_files(folder: Path) -> list[Path]:
    """Return the plug-in files that a folder of records has, sorted. They are somebody's code: data to look at."""
    found = (path for root in folders_beside(folder, PLUGINS) for path in sorted(root.glob("*/*")))
    return [path for path in found if _is_plugin("/".join(path.parts[-3:]))]


def plugin_name(sha256: str, file: str) -> str | None:
    """Return the name in a bundle of a plug-in file of this hash; None if a bundle holds no file called so."""
    name = f"{PLUGINS}/{sha256}/{file}"
    return name if _is_plugin(name) else None


def _extract(path: Path, folder: Path) -> None:
    """Write the files of a .zip into a folder. Raises UserError."""
    size = regular_file(path).stat().st_size
    if size > MOST_ZIPPED:
        raise _refused(path, f"it is larger than {human_size(MOST_ZIPPED)}", "make several smaller bundles")
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive)
            left = MOST_TOGETHER
            for name, member in members.items():
                left -= _extract_one(path, archive, member, place(folder, name), left)
    except _DAMAGED as problem:
        if isinstance(problem, OSError) and problem.errno in REFUSED:
            raise  # it is the disk's fault
        raise _refused(path, f"it is no readable .zip file ({problem})", "download it again") from None


def _check_directory(path: Path) -> None:
    """Raise UserError if an archive's list of files is long, before `zipfile` reads it all into memory.

    The list's size is in the archive's last 22 bytes. Comments behind them, and the extension for archives above
    4 GiB, which would say it elsewhere, are refused.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LOCATOR_SIZE - _END.size))
        tail = file.read()
    end, locator = tail[-_END.size :], tail[: -_END.size]
    if len(end) < _END.size or not end.startswith(b"PK\5\6"):
        raise _refused(path, "it is no .zip file, is cut off, or has a comment", "download it again")
    _, _, _, _, _, size, _, _ = _END.unpack(end)
    if locator.startswith(b"PK\6\7") or size > MOST_FILES * _MOST_ENTRY:
        raise _refused(path, f"it has more than {MOST_FILES:,} files")


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the files of an archive by their names, all of which are checked. Raises UserError."""
    every = archive.infolist()
    if len(every) > MOST_FILES:
        raise _refused(path, f"it has {len(every):,} files, and at most {MOST_FILES:,} are read")
    found: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for member in every:
        name = member.orig_filename
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(path, f"{name[:80]!r} is a link or a special file")
        if name.endswith("/") and _is_folder(name[:-1]):
            continue
        _check_name(path, name)
        if name.lower() in seen:  # on some disks capital letters are the same
            raise _refused(path, f"it has two files called {name!r}")
        seen.add(name.lower())
        if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
            raise _refused(path, f"{name!r} is encrypted, or compressed by another method than deflate")
        if member.file_size > MOST_BYTES or member.file_size > MOST_RATIO * (member.compress_size + 1024):
            raise _refused(
                path,
                f"{name!r} unpacks from {human_size(member.compress_size)} to {human_size(member.file_size)}",
            )
        found[name] = member
    if sum(member.file_size for member in found.values()) > MOST_TOGETHER:
        raise _refused(path, f"its files are larger than {human_size(MOST_TOGETHER)} together")
    return found


def _extract_one(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Write one file and return its size. Raises UserError if it is larger than it says, or than what is left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with archive.open(member) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > min(member.file_size, left):
                raise _refused(path, f"{member.filename!r} is larger than it says")
            file.write(chunk)
    return size


def _copy(path: Path, folder: Path) -> None:
    """Copy the files of a folder into another. Raises UserError under the same rules as for a .zip file."""
    left, files = MOST_TOGETHER, 0
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_symlink():
            raise _refused(path, f"{name[:80]!r} is a link or a special file")
        if file.is_dir() and _is_folder(name):
            continue
        _check_name(path, name)
        size = regular_file(file).stat().st_size
        left, files = left - size, files + 1
        if size > MOST_BYTES or left < 0 or files > MOST_FILES:
            raise _refused(path, f"with {name!r} it is larger than a bundle may be")
        target = place(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())


def _check_name(path: Path, name: str) -> None:
    """Raise UserError unless a name is TASK/RUN with an allowed suffix, or that of a plug-in file or a tuning."""
    if _is_plugin(name) or _is_tuning(name):
        return
    task, _, file = name.partition("/")
    if not (is_name(task) and is_name(file)):
        raise _refused(path, f"{name[:80]!r} is not the name TASK/RUN of a file in a bundle")
    if Path(file).suffix not in ALLOWED:
        raise _refused(path, f"{name[:80]!r} has none of the suffixes {', '.join(ALLOWED)}")


def _is_plugin(name: str) -> bool:
    """Say whether a name is plugins/SHA256/FILE.py, or FILE.toml."""
    folder, sha256, file = (*name.split("/", 2), "", "")[:3]
    is_file = is_file_name(file) and Path(file).suffix in PLUGIN_SUFFIXES
    return folder == PLUGINS and _SHA256.fullmatch(sha256) is not None and is_file


def _is_tuning(name: str) -> bool:
    """Say whether a name is tuning/TASK/FILE.json."""
    folder, task, file = (*name.split("/", 2), "", "")[:3]
    return folder == TUNING and is_name(task) and is_name(file) and Path(file).suffix == ".json"


def _is_folder(name: str) -> bool:
    """Say whether a name is that of a folder in a bundle: TASK, tuning/TASK or plugins/SHA256."""
    first, _, second = name.partition("/")
    return is_name(first) and (not second or (first in (PLUGINS, TUNING) and is_name(second)))


def _refused(path: Path, reason: str, fix: str = "") -> UserError:
    fix = fix or "give a bundle that `bench records pack` wrote"
    return UserError(f"{path} is not read: {reason}; fix: {fix}")


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    """Write a bundle's files, by name, into an archive; the same files give the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in sorted(files.items()):
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix, whatever this machine is
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            is_packed = name.endswith(".png")
            member.compress_type = zipfile.ZIP_STORED if is_packed else zipfile.ZIP_DEFLATED
            archive.writestr(member, content, compresslevel=None if is_packed else 9)
