"""Read images with captions from webdataset shards: uncompressed tars, as img2dataset and others write them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from bench.core.errors import UserError
from bench.core.files import digest, human_size
from bench.data.altered import Decoded
from bench.data.decoding import decoded_parts
from bench.data.kinds import IMAGE_KINDS, is_image, other_kind
from bench.data.plain import json_of, text_of
from bench.data.source import MAX_BYTES, Files, files_under
from bench.data.tar_files import Entry, search
from bench.data.text.captioned import Captioned, caption_in


@dataclass(frozen=True, slots=True)
class Sample:
    """One image in a shard, with its caption."""

    shard: Path
    name: str
    offset: int
    """Position of the image's first byte in the shard."""
    size: int
    caption: str


class WebDataset(Captioned[Decoded]):
    """One shard or a folder of them; files whose names agree up to the first dot are one sample.

    The image is the `.jpg`, `.png`, `.webp` or another kind that is read; the caption is the `.txt` or, without
    it, the `prompt`, `caption` or `text` in the `.json`. Samples are ordered by their shards' paths and keep
    their order within a shard.
    """

    format = "webdataset shards"

    def __init__(self, path: Path) -> None:
        """Read all tar headers and captions. Raises UserError if a shard is damaged or a sample incomplete."""
        shards, skipped = shards_of(path)
        self._samples = [sample for shard in shards for sample in _samples(shard, skipped)]
        index = digest([[s.shard.name, s.name, s.size, s.caption] for s in self._samples])
        super().__init__(path, [sample.caption for sample in self._samples], index, skipped)

    def name(self, index: int) -> str:
        """Return the shard and the name in it."""
        sample = self._samples[index]
        return f"{sample.shard}: {sample.name}"

    def read(self, start: int, stop: int) -> Iterator[Decoded]:
        """Yield images `start` ... `stop - 1`."""
        wanted = enumerate(self._samples[start:stop], start)
        yield from decoded_parts((self.name(index), one.shard, one.offset, one.size) for index, one in wanted)


def shards_of(path: Path) -> Files:
    """Return the shards under a folder in order of their paths, or `path` itself; other files are counted."""
    if not path.is_dir():
        return Files([path], Counter())
    files, skipped = files_under(path)
    shards = [file for file in files if file.suffix == ".tar"]
    if shards:
        for file in files:
            if is_image(file.name):
                raise UserError(
                    f"{path} mixes shards and images, such as {file}; fix: name a folder with only one of them"
                )
        skipped.update(other_kind(file.name, str(file)) for file in files if file.suffix != ".tar")
    return Files(shards, skipped)


def _samples(shard: Path, skipped: Counter[str]) -> list[Sample]:
    """Group the files of one shard into samples; count its other files in `skipped`."""
    samples = []
    with shard.open("rb") as file:
        contents = search(file, str(shard))
        skipped.update(contents.skipped)
        groups: dict[str, dict[str, Entry]] = defaultdict(dict)
        for entry in contents.entries:
            inside = PurePosixPath(entry.name)
            stem, _, suffix = inside.name.partition(".")
            group = groups[str(inside.with_name(stem or inside.name))]
            if suffix.lower() in group:
                raise UserError(f"{shard} holds {entry.name} twice; fix: make the shard again")
            group[suffix.lower()] = entry
        for key, group in groups.items():
            images = [entry for entry in group.values() if is_image(entry.name)]
            if len(images) != 1:
                raise UserError(
                    f"{shard}: sample {key} has {len(images)} {IMAGE_KINDS} images ({', '.join(group)}), not one; "
                    "fix: make the shard again"
                )
            image, caption = images[0], _caption(file, group, f"{shard}: {key}")
            used = {image.name, group["txt" if "txt" in group else "json"].name}
            for entry in group.values():
                if entry.name not in used:
                    skipped[other_kind(entry.name, f"{shard}: {entry.name}")] += 1
            samples.append(Sample(shard, image.name, image.offset, image.size, caption))
    return samples


def _caption(file: IO[bytes], group: Mapping[str, Entry], sample: str) -> str:
    """Read the caption among the files of one sample, by their suffixes, from the shard's `file`."""

    def content(suffix: str) -> bytes:
        entry = group[suffix]
        if entry.size > MAX_BYTES:
            raise UserError(
                f"{sample}.{suffix} has {human_size(entry.size)}, too much for a caption; "
                "fix: make the shard again"
            )
        file.seek(entry.offset)
        return file.read(entry.size)

    if "txt" in group:
        return text_of(content("txt"), f"{sample}.txt").strip()
    if "json" in group:
        return caption_in(json_of(content("json"), f"{sample}.json"), f"{sample}.json")
    raise UserError(f"{sample} has no caption: neither .txt nor .json; fix: make the shard with captions")
