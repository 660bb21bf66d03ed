"""ImageNet as EDM's data tool writes it: numbered PNGs and `dataset.json`, in a zip or unpacked."""

from __future__ import annotations

import json
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.data.imagenet.crops import decode
from tasks.data.imagenet.source import Source
from tasks.data.source import is_image, read_bytes
from tasks.errors import UserError
from tasks.files import digest

LABELS = "dataset.json"
FIX = "fix: download or make it again"


class _EDM(Source):
    """Images `00000/img00000000.png`, in order of their names, with the labels that dataset.json gives them."""

    def __init__(self, path: Path, names: Sequence[str], labels: bytes, contents: Sequence[int]) -> None:
        """`contents` tells files of the same names apart, if that is cheap."""
        self._names = names
        super().__init__(path, parse_labels(labels, names, str(path)), digest([names, contents]))

    @abstractmethod
    def _bytes(self, index: int) -> bytes:
        """Read one file."""

    def read(self, start: int, stop: int) -> Iterator[Image.Image]:
        """Yield images `start` ... `stop - 1`."""
        for index in range(start, stop):
            yield decode(self._bytes(index), self.name(index))


class EDMFolder(_EDM):
    """The unpacked folder."""

    format = "EDM folder"

    def __init__(self, path: Path) -> None:
        """List the images and read dataset.json. Raises UserError where they do not agree."""
        names = sorted(str(file.relative_to(path).as_posix()) for file in path.rglob("*") if is_image(file.name))
        super().__init__(path, names, read_bytes(path / LABELS), [])

    def name(self, index: int) -> str:
        """Return the image's path."""
        return str(self.path / self._names[index])

    def _bytes(self, index: int) -> bytes:
        return read_bytes(Path(self.name(index)))


class EDMZip(_EDM):
    """The zip; zipfile checks each file's CRC and locks it between threads."""

    format = "EDM zip"

    def __init__(self, path: Path) -> None:
        """Read the zip's directory and dataset.json. Raises UserError if damaged or not EDM's."""
        try:
            self._zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise UserError(f"{path} is no zip, or is cut short ({error}); {FIX}") from error
        members = {info.filename: info.CRC for info in self._zip.infolist()}
        if LABELS not in members:
            first = next(iter(members), "nothing")
            raise UserError(
                f"{path} holds {first} and no {LABELS}, so it is not EDM's zip; "
                "fix: if it is another form of ImageNet, unzip it and name the folder"
            )
        names = sorted(name for name in members if is_image(name))
        super().__init__(path, names, self._member(LABELS), [members[name] for name in names])

    def name(self, index: int) -> str:
        """Return the zip and the name in it."""
        return f"{self.path}: {self._names[index]}"

    def close(self) -> None:
        """Close the zip."""
        self._zip.close()

    def _bytes(self, index: int) -> bytes:
        return self._member(self._names[index])

    def _member(self, name: str) -> bytes:
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise UserError(f"{self.path}: {name} is damaged ({error}); {FIX}") from error


def parse_labels(data: bytes, names: Sequence[str], where: str) -> np.ndarray:
    """Return the label of each of `names` as [N] int64, from the bytes of dataset.json.

    Its `labels` is a list of [name, integer], one for each image. Raises UserError otherwise.
    """
    try:
        pairs = json.loads(data)["labels"]
        table = {name.replace("\\", "/"): label for name, label in pairs}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{where}: {LABELS} has no list 'labels' of [name, label] ({type(error).__name__}: {error}); "
            "fix: make the data set with labels"
        ) from error
    for name in names:
        if type(table.get(name)) is not int:
            problem = f"the label {table[name]!r}, no integer," if name in table else "no label"
            raise UserError(f"{where}: {LABELS} has {problem} for {name}; {FIX}")
    if len(pairs) != len(names):
        absent = sorted(set(table).difference(names))
        problem = f"labels {absent[0]}, which is not there" if absent else "labels an image twice"
        raise UserError(f"{where}: {LABELS} has {len(pairs)} labels for {len(names)} images: it {problem}; {FIX}")
    return np.asarray([table[name] for name in names], dtype=np.int64)
