"""Read ImageNet from its downloads: a tar of class tars, a folder of class tars, or one tar of class folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from bench.core.errors import UserError
from bench.core.files import digest
from bench.data.altered import Decoded
from bench.data.decoding import decoded_parts
from bench.data.imagenet.source import Source, numbered
from bench.data.kinds import IMAGE_KINDS, is_image, other_kind
from bench.data.source import files_under
from bench.data.tar_files import FIX, Part, search


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One image inside a tar."""

    class_name: str
    name: str
    archive: Path
    """The outermost tar."""
    offset: int
    """Position of the image's first byte in `archive`, however deeply it is nested."""
    size: int


class ClassTars(Source):
    """Images that are read from tars by offset; classes are the sorted names of class tars or folders."""

    format = "class tars"

    def __init__(self, path: Path) -> None:
        """Read all tar headers. Raises UserError if a tar is damaged or has none of the three layouts."""
        skipped: Counter[str] = Counter()
        if path.is_dir():
            files, skipped = files_under(path)
            members = []
            for file in files:
                if file.suffix == ".tar":
                    members += _class_tar(file, skipped)
                else:
                    skipped[other_kind(file.name, str(file))] += 1
        else:
            members = _whole_tar(path, skipped)
        self._members = sorted(members)
        labels, class_names = numbered([member.class_name for member in self._members])
        index = digest([[member.class_name, member.name, member.size] for member in self._members])
        super().__init__(path, labels, index, class_names, skipped)

    def name(self, index: int) -> str:
        """Return the archive, and the class and name in it."""
        member = self._members[index]
        return f"{member.archive}: {member.class_name}/{member.name}"

    def read(self, start: int, stop: int) -> Iterator[Decoded]:
        """Yield images `start` ... `stop - 1`."""
        wanted = enumerate(self._members[start:stop], start)
        yield from decoded_parts((self.name(index), one.archive, one.offset, one.size) for index, one in wanted)


def _class_tar(path: Path, skipped: Counter[str]) -> list[Member]:
    """List the images of a tar that holds one class and has its name; count litter in `skipped`."""
    with path.open("rb") as file:
        return _class_members(file, path.stem, str(path), path, 0, skipped)


def _whole_tar(path: Path, skipped: Counter[str]) -> list[Member]:
    """List the images of a tar that holds all classes, as tars or as folders; count other files in `skipped`."""
    nested: list[Member] = []
    flat: list[Member] = []
    places: set[str] = set()
    with path.open("rb") as file:
        contents = search(file, str(path))
        skipped.update(contents.skipped)
        for entry in contents.entries:
            inside, where = PurePosixPath(entry.name), f"{path}: {entry.name}"
            if inside.suffix == ".tar":
                inner = cast(IO[bytes], Part(file, entry))
                nested += _class_members(inner, inside.stem, where, path, entry.offset, skipped)
            elif is_image(entry.name):
                flat.append(Member(inside.parent.name, inside.name, path, entry.offset, entry.size))
                places.add(str(inside.parent.parent))
            else:
                skipped[other_kind(entry.name, where)] += 1
    if nested and flat:
        raise UserError(f"{path} mixes class tars and images; fix: keep one of the two")
    if not nested and not flat:
        raise UserError(f"{path} holds neither class tars nor images; {FIX}")
    if any(not member.class_name for member in flat):
        raise UserError(f"{path} holds a single class; fix: name the folder that holds the tars of all classes")
    if len(places) > 1:
        raise UserError(
            f"{path} has class folders in several places: {', '.join(sorted(places))}; "
            "fix: unpack it and name one of them"
        )
    return nested or flat


def _class_members(
    file: IO[bytes], class_name: str, name: str, archive: Path, begin: int, skipped: Counter[str]
) -> list[Member]:
    """List the images of the class tar in `file`, which lies at `begin` in `archive`."""
    contents = search(file, name)
    skipped.update(contents.skipped)
    for entry in contents.entries:
        if not is_image(entry.name):
            raise UserError(f"{name}: {entry.name} is not a {IMAGE_KINDS} image of a class; fix: remove it")
    if not contents.entries:
        raise UserError(f"class tar {name} holds no images; {FIX}")
    return [
        Member(class_name, PurePosixPath(entry.name).name, archive, begin + entry.offset, entry.size)
        for entry in contents.entries
    ]
