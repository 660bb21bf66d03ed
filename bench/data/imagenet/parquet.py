"""Read ImageNet from the Hugging Face hub: parquet files with the columns `image` and `label`."""

from __future__ import annotations

import bisect
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import UserError, listed
from bench.core.extras import optional_module
from bench.core.files import digest, regular_file
from bench.core.safe_pickle import shown
from bench.data.altered import Decoded
from bench.data.decoding import decode
from bench.data.imagenet.source import Source

SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d+)-of-(?P<count>\d+)(-[0-9a-f]+)?")
"""The names of shards on the hub, such as `train-00007-of-00294` or `train-00007-of-00294-8f67bd2e5b1c9a3d`."""
FIX = "fix: download it again"
MAX_ROWS = 100_000_000
"""Most images of one file; a small file with run-length codes can hold more labels than fit into memory."""
MAX_FEATURES = 1 << 24
"""Largest schema of the `datasets` library that is read, in bytes; ImageNet's has 30 KB."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """The unit that a parquet file is read in."""

    first: int
    """The number of its first image."""
    file: Path
    number: int


class Parquet(Source):
    """Rows of all files in order of their names; `image` is a struct with `bytes`, `label` an integer."""

    format = "parquet"

    def __init__(self, path: Path) -> None:
        """Read all footers and labels. Raises UserError if a file is damaged, missing or has another layout."""
        self._pq = optional_module("pyarrow.parquet", "reading parquet files", "imagenet")
        self._arrow = optional_module("pyarrow", "reading parquet files", "imagenet")
        files = training_shards(sorted(path.glob("*.parquet"))) if path.is_dir() else [path]
        self._groups: list[RowGroup] = []
        labels: list[np.ndarray] = []
        names: list[str] | None = None
        count = 0
        for file in files:
            regular_file(file)
            parquet = self._opened(file)
            names = names or _class_names(parquet.schema_arrow.metadata)
            for number in range(parquet.metadata.num_row_groups):
                self._groups.append(RowGroup(count, file, number))
                count += parquet.metadata.row_group(number).num_rows
            labels.append(self._labels(parquet, file))
        index = digest([[file.name, file.stat().st_size] for file in files])
        super().__init__(path, np.concatenate(labels), index, names)

    def name(self, index: int) -> str:
        """Return the file, the row group and the row in it."""
        group = self._groups[self._group_of(index)]
        return f"{group.file}: row {index - group.first} of row group {group.number}"

    def read(self, start: int, stop: int) -> Iterator[Decoded]:
        """Yield images `start` ... `stop - 1`."""
        while start < stop:
            group = self._groups[self._group_of(start)]
            try:
                with self._pq.ParquetFile(group.file) as parquet:
                    table = parquet.read_row_group(group.number, columns=["image.bytes"], use_threads=False)
            except (self._arrow.ArrowException, OSError) as error:
                raise UserError(f"{group.file} is damaged ({error}); {FIX}") from error
            column = table.column("image").slice(start - group.first, stop - start)
            for image in column:
                data = (image.as_py() or {}).get("bytes")
                if data is None:
                    raise UserError(f"{self.name(start)} has no image; {FIX}")
                yield decode(data, self.name(start))
                start += 1

    def _group_of(self, index: int) -> int:
        return bisect.bisect_right(self._groups, index, key=lambda group: group.first) - 1

    def _opened(self, file: Path) -> Any:
        """Open a file and check its columns."""
        try:
            parquet = self._pq.ParquetFile(file)
        except (self._arrow.ArrowException, OSError) as error:
            raise UserError(f"{file} is not a parquet file or is cut short ({error}); {FIX}") from error
        if parquet.metadata.num_rows > MAX_ROWS:
            raise UserError(f"{file} claims {parquet.metadata.num_rows:,} images, more than {MAX_ROWS:,}; {FIX}")
        schema, types = parquet.schema_arrow, self._arrow.types
        # If two columns have the same name, neither is used.
        image = schema.field("image").type if schema.names.count("image") == 1 else None
        label = schema.field("label").type if schema.names.count("label") == 1 else None
        if (
            image is None
            or not types.is_struct(image)
            or image.get_field_index("bytes") < 0
            or label is None
            or not types.is_integer(label)
        ):
            columns = listed(shown(f"{field.name} ({field.type})") for field in schema)
            raise UserError(
                f"{file} has the columns {columns}, not image (a struct with bytes) and label (an integer); "
                "fix: name the parquet files of ImageNet"
            )
        return parquet

    def _labels(self, parquet: Any, file: Path) -> np.ndarray:
        try:
            column = parquet.read(columns=["label"], use_threads=False).column("label")
        except (self._arrow.ArrowException, OSError) as error:
            raise UserError(f"{file} is damaged ({error}); {FIX}") from error
        if column.null_count:
            raise UserError(f"{file} has {column.null_count} rows without a label; {FIX}")
        labels: np.ndarray = column.to_numpy()
        return labels.astype(np.int64)


def training_shards(files: Sequence[Path]) -> list[Path]:
    """Select the shards of the split `train` by the hub's names, and check that no shard is missing.

    If any file has another name, all files are taken. Raises UserError if there are several splits without
    `train`, or if a shard is missing.
    """
    shards: dict[str, dict[int, Path]] = defaultdict(dict)
    counts: dict[str, set[int]] = defaultdict(set)
    for file in files:
        match = SHARD.fullmatch(file.stem)
        if match is None:
            return list(files)
        shards[match["split"]][int(match["number"])] = file
        counts[match["split"]].add(int(match["count"]))
    split = "train" if "train" in shards else next(iter(shards))
    folder = files[0].parent
    if split != "train" and len(shards) > 1:
        raise UserError(f"{folder} holds the splits {', '.join(sorted(shards))}; fix: keep one of them there")
    if len(counts[split]) > 1:
        raise UserError(f"{folder} holds {split} shards of {sorted(counts[split])} in all; fix: keep one set")
    count = counts[split].pop()
    missing = sorted(set(range(count)).difference(shards[split]))
    if missing:
        raise UserError(
            f"{len(missing)} of {count} shards of {split} are missing in {folder}, the first is "
            f"{split}-{missing[0]:05d}; fix: download them"
        )
    return [shards[split][number] for number in range(count)]


def _class_names(metadata: dict[bytes, bytes] | None) -> list[str] | None:
    """Return the class names that the `datasets` library stores in the schema; None if there are none."""
    try:
        written = (metadata or {})[b"huggingface"]
        if len(written) > MAX_FEATURES:
            return None
        features = json.loads(written)["info"]["features"]
        return [str(name) for name in features["label"]["names"]]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
