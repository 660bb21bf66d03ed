"""Images with captions in webdataset shards: uncompressed tars, as img2dataset and others write them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tarfile import TarInfo
from typing import IO

from PIL import Image

from tasks.data.imagenet.crops import decode
from tasks.data.source import files_under, is_image
from tasks.data.tar_files import opened, regular_files
from tasks.data.text.captioned import Captioned, caption_in, json_of, text_of
from tasks.errors import UserError
from tasks.files import digest


@dataclass(frozen=True, slots=True)
class Sample:
    """One image in a shard, with its caption."""

    shard: Path
    name: str
    offset: int
    """Of the image's first byte."""
    size: int
    caption: str


class WebDataset(Captioned[Image.Image]):
    """One shard or a folder of them; files whose names agree up to the first dot are one sample.

    The image is the `.jpg`, `.jpeg` or `.png`; the caption is the `.txt` or, without it, the `prompt`, `caption`
    or `text` in the `.json`. Samples keep the order of the shards' paths and their own in each shard.
    """

    format = "webdataset shards"

    def __init__(self, path: Path) -> None:
        """Read all tar headers and captions. Raises UserError if a shard is damaged or a sample incomplete."""
        self._samples = [sample for shard in shards_of(path) for sample in _samples(shard)]
        index = digest([[s.shard.name, s.name, s.size, s.caption] for s in self._samples])
        super().__init__(path, [sample.caption for sample in self._samples], index)

    def name(self, index: int) -> str:
        """Return the shard and the name in it."""
        sample = self._samples[index]
        return f"{sample.shard}: {sample.name}"

    def read(self, start: int, stop: int) -> Iterator[Image.Image]:
        """Yield images `start` ... `stop - 1`."""
        wanted = zip(range(start, stop), self._samples[start:stop], strict=True)
        for shard, samples in itertools.groupby(wanted, lambda pair: pair[1].shard):
            with shard.open("rb") as file:
                for index, sample in samples:
                    file.seek(sample.offset)
                    yield decode(file.read(sample.size), self.name(index))


def shards_of(path: Path) -> list[Path]:
    """The shards under a folder, in order of their paths, or the one that `path` is."""
    return [file for file in files_under(path) if file.suffix == ".tar"] if path.is_dir() else [path]


def _samples(shard: Path) -> list[Sample]:
    """Group the files of one shard to samples."""
    samples = []
    with shard.open("rb") as file, opened(file, str(shard)) as tar:
        groups: dict[str, dict[str, TarInfo]] = defaultdict(dict)
        for info in regular_files(tar, str(shard)):
            inside = PurePosixPath(info.name)
            stem, _, suffix = inside.name.partition(".")
            group = groups[str(inside.with_name(stem))]
            if suffix.lower() in group:
                raise UserError(f"{shard} holds {info.name} twice; fix: make the shard again")
            group[suffix.lower()] = info
        for key, group in groups.items():
            images = [info for info in group.values() if is_image(info.name)]
            if len(images) != 1:
                raise UserError(
                    f"{shard}: sample {key} has {len(images)} JPEGs or PNGs ({', '.join(group)}), not one; "
                    "fix: make the shard again"
                )
            image, caption = images[0], _caption(file, group, f"{shard}: {key}")
            samples.append(Sample(shard, image.name, image.offset_data, image.size, caption))
    return samples


def _caption(file: IO[bytes], group: Mapping[str, TarInfo], sample: str) -> str:
    """Read the caption among the files of one sample, by their suffixes, from the shard's `file`."""

    def content(suffix: str) -> bytes:
        file.seek(group[suffix].offset_data)
        return file.read(group[suffix].size)

    if "txt" in group:
        return text_of(content("txt"), f"{sample}.txt").strip()
    if "json" in group:
        return caption_in(json_of(content("json"), f"{sample}.json"), f"{sample}.json")
    raise UserError(f"{sample} has no caption: neither .txt nor .json; fix: make the shard with captions")
