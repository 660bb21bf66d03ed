"""Read ImageNet as EDM's data tool writes it: numbered PNGs and `dataset.json`, in a zip or unpacked."""

from __future__ import annotations

import zipfile
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.core.errors import UserError, first_line
from bench.core.escape import printable
from bench.core.files import digest, human_size
from bench.data.altered import Decoded
from bench.data.decoding import decode
from bench.data.imagenet.source import Source
from bench.data.kinds import is_image, litter, other_kind, refuse_backslash
from bench.data.plain import json_of
from bench.data.source import MAX_BYTES, images_under, read_bytes

LABELS = "dataset.json"
FIX = "fix: download or make it again"
ENCRYPTED = 0x1
"""The flag of a zip's member that is encrypted with a password."""


class _EDM(Source):
    """Images `00000/img00000000.png`, in order of their names, with the labels of dataset.json."""

    def __init__(
        self, path: Path, names: Sequence[str], labels: bytes, contents: Sequence[int], skipped: Mapping[str, int]
    ) -> None:
        """`contents` distinguishes files of the same names, where that is cheap (the zip's checksums)."""
        self._names = names
        index = digest([names, contents])
        super().__init__(path, parse_labels(labels, names, str(path)), index, skipped=skipped)

    @abstractmethod
    def _bytes(self, index: int) -> bytes:
        """Read one file."""

    def read(self, start: int, stop: int) -> Iterator[Decoded]:
        """Yield images `start` ... `stop - 1`."""
        for index in range(start, stop):
            yield decode(self._bytes(index), self.name(index))


class EDMFolder(_EDM):
    """EDM's data set as an unpacked folder."""

    format = "EDM folder"

    def __init__(self, path: Path) -> None:
        """List the images and read dataset.json. Raises UserError if they do not agree."""
        files, skipped = images_under(path)
        skipped[".json files"] -= 1  # dataset.json is read
        names = sorted(file.relative_to(path).as_posix() for file in files)
        super().__init__(path, names, read_bytes(path / LABELS), [], +skipped)

    def name(self, index: int) -> str:
        """Return the image's path."""
        return str(self.path / self._names[index])

    def _bytes(self, index: int) -> bytes:
        return read_bytes(Path(self.name(index)))


class EDMZip(_EDM):
    """EDM's data set as a zip; zipfile checks each file's CRC and locks it between threads."""

    format = "EDM zip"

    def __init__(self, path: Path) -> None:
        """Read the zip's directory and dataset.json. Raises UserError if it is damaged or not EDM's."""
        try:
            self._zip = zipfile.ZipFile(path)
        except Exception as error:  # zipfile raises many types on damaged bytes, and on a version it does not know
            raise UserError(f"{path} is not a zip or is cut short ({first_line(error)}); {FIX}") from error
        members, skipped = _members(self._zip, path)
        if LABELS not in members:
            first = printable(next(iter(self._zip.namelist()), "nothing"))
            raise UserError(
                f"{path} holds {first} but no {LABELS}, so it is not EDM's zip; "
                "fix: if it is another form of ImageNet, unzip it and name the folder"
            )
        labels = _member(self._zip, LABELS, path)
        names = sorted(name for name in members if name != LABELS)
        super().__init__(path, names, labels, [members[name] for name in names], skipped)

    def name(self, index: int) -> str:
        """Return the zip and the name in it."""
        return f"{self.path}: {self._names[index]}"

    def close(self) -> None:
        """Close the zip."""
        self._zip.close()

    def _bytes(self, index: int) -> bytes:
        return _member(self._zip, self._names[index], self.path)


def _members(archive: zipfile.ZipFile, path: Path) -> tuple[dict[str, int], Counter[str]]:
    """Return the CRC of dataset.json and of each image by name, and the number of skipped files by kind.

    Raises UserError for a file that cannot be read, is there twice, or has backslashes in its name.
    """
    members: dict[str, int] = {}
    skipped: Counter[str] = Counter()
    for info in archive.infolist():
        name = info.filename
        where = f"{path}: {name}"
        if info.is_dir():
            continue
        if kind := litter(name):
            skipped[kind] += 1
            continue
        refuse_backslash(str(path), name)
        if name != LABELS and not is_image(name):
            skipped[other_kind(name, where)] += 1
        elif name in members:
            raise UserError(f"{path} holds {name} twice; fix: make it again with one of the two")
        elif info.flag_bits & ENCRYPTED:
            raise UserError(f"{where} is encrypted; fix: unzip it with its password and name the folder")
        elif info.file_size > MAX_BYTES:
            raise UserError(
                f"{where} unpacks to {human_size(info.file_size)}, more than the {human_size(MAX_BYTES)} that are "
                f"read at once; {FIX}"
            )
        else:
            members[name] = info.CRC
    return members, skipped


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        return archive.read(name)
    except NotImplementedError as error:  # a compression that Python cannot undo
        raise UserError(
            f"{path}: {name} cannot be unpacked ({error}); fix: unzip it and name the folder"
        ) from error
    except Exception as error:  # zipfile and the compressions raise many types on damaged bytes
        raise UserError(f"{path}: {name} is damaged ({first_line(error)}); {FIX}") from error


def parse_labels(data: bytes, names: Sequence[str], where: str) -> np.ndarray:
    """Return the label of each of `names` as [N] int64, from the bytes of dataset.json.

    Its `labels` is a list of [name, integer], one for each image. Raises UserError otherwise.
    """
    try:
        pairs = cast(Any, json_of(data, f"{where}: {LABELS}", "make it again"))["labels"]
        table = {name.replace("\\", "/"): label for name, label in pairs}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{where}: {LABELS} has no list 'labels' of [name, label] ({type(error).__name__}: {error}); "
            "fix: make the data set with labels"
        ) from error
    for name in names:
        label = table.get(name)
        if type(label) is not int or not -(2**63) <= label < 2**63:
            shown = printable(repr(label)[:80])
            problem = f"the label {shown}, which is not a 64-bit integer," if name in table else "no label"
            raise UserError(f"{where}: {LABELS} has {problem} for {name}; {FIX}")
    if len(pairs) != len(names):
        absent = sorted(set(table).difference(names))
        problem = f"labels {absent[0]}, which is not there" if absent else "labels an image twice"
        raise UserError(f"{where}: {LABELS} has {len(pairs)} labels for {len(names)} images: it {problem}; {FIX}")
    return np.asarray([table[name] for name in names], dtype=np.int64)
