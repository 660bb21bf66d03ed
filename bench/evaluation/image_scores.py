"""The scores of single images: `scores.parquet` in a run's folder, with each image's prompt, seed and reason."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from bench.core.errors import UserError, first_line
from bench.core.escape import is_name
from bench.core.files import read_bytes, whole_file
from bench.evaluation.image_labels import ImageLabels
from bench.metrics.base import Measured

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = {
    "metric": "string",
    "repetition": "int64",
    "index": "int64",
    "prompt": "string",
    "category": "string",
    "seed": "int64",
    "value": "double",
    "reason": "string",
}
"""The columns of the file, with their Arrow types. Texts that recur are stored once (as a dictionary)."""
REQUIRED = ("metric", "repetition", "index", "value")
"""Columns that have a value in every row; they are those of `scores.csv`, which earlier versions wrote."""
OPTIONAL = tuple(name for name in COLUMNS if name not in REQUIRED)
MOST_BYTES = 2**28
"""Three repetitions of 50,000 images under ten metrics have about 20 MB, and as CSV about 40 MB."""
MOST_ROWS = 2**25
MOST_STORED = 2**31
"""Bytes of all columns after decompression: a small file can say that it has terabytes."""


@dataclass(frozen=True, eq=False)
class SingleScores:
    """The scores of one metric: a row for each image, or for each group of images of one prompt."""

    repetition: np.ndarray
    """[n] int64."""
    index: np.ndarray
    """[n] int64: the index of the image in its repetition, or of the first image of its group."""
    value: np.ndarray
    """[n] float64."""
    prompt: np.ndarray
    """[n] str or None: the condition in words, a prompt or the name of a class."""
    category: np.ndarray
    """[n] str or None: the category of the prompt, where its benchmark gives one."""
    seed: np.ndarray
    """[n] int or None: the seed of the image's noise; images that were given have none."""
    reason: np.ndarray
    """[n] str or None: why the score is what it is."""

    @classmethod
    def of(cls, repetition: Iterable[int], index: Iterable[int], value: Iterable[float], **words: Any) -> Self:
        """Return scores; columns of `OPTIONAL` that are not in `words` have no values."""
        values = np.fromiter(value, dtype=np.float64)
        repetitions, indices = (np.fromiter(one, dtype=np.int64, count=len(values)) for one in (repetition, index))
        optional = {name: words.get(name, np.full(len(values), None)) for name in OPTIONAL}
        return cls(repetition=repetitions, index=indices, value=values, **optional)

    def __len__(self) -> int:
        return len(self.value)


ImageScores = Mapping[str, SingleScores]
"""The scores of each metric, by the metric's name."""


def scores_of(repetitions: Sequence[Mapping[str, Measured]], labels: Sequence[ImageLabels]) -> ImageScores:
    """Return the scores that metrics gave in every repetition; a metric without them is left out.

    `labels` say what the images of each repetition are of.
    """
    names = [name for name in (repetitions[0] if repetitions else ()) if all(r[name].scores for r in repetitions)]
    return {name: _joined([r[name] for r in repetitions], labels) for name in names}


def _joined(repetitions: Sequence[Measured], labels: Sequence[ImageLabels]) -> SingleScores:
    """Return one metric's scores in all repetitions."""
    rows: dict[str, list[Any]] = {name: [] for name in COLUMNS if name != "metric"}
    for number, (measured, label) in enumerate(zip(repetitions, labels, strict=True)):
        count = len(measured.scores)
        index = np.arange(count) * (measured.samples // count)
        rows["repetition"].append(np.full(count, number))
        rows["index"].append(index)
        rows["value"].append(np.asarray(measured.scores, dtype=np.float64))
        rows["prompt"].append(_at(label.prompts, index))
        rows["category"].append(_at(label.categories, index))
        first = label.first_seed
        rows["seed"].append(np.full(count, None) if first is None else (first + index).astype(object))
        rows["reason"].append(_texts(measured.reasons or [None] * count))
    return SingleScores(**{name: np.concatenate(parts) for name, parts in rows.items()})


def _at(texts: Sequence[str], index: np.ndarray) -> np.ndarray:
    """Return the texts of images; an empty text, and any of an empty list, is None."""
    return _texts([text or None for text in texts])[index] if texts else np.full(len(index), None)


def _texts(texts: Iterable[str | None]) -> np.ndarray:
    return np.array([*texts, None], dtype=object)[:-1]  # with None, NumPy keeps the texts as they are


def write_scores(path: Path, scores: ImageScores) -> None:
    """Write a file that appears whole, with floats that read back exactly; nothing if there are no scores."""
    if not scores:
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    every = [name for name in COLUMNS if name != "metric"]
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in scores.values()]) for name in every
    }
    columns["metric"] = np.repeat(np.array([*scores], dtype=object), [len(one) for one in scores.values()])
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    table = pa.table({name: pa.array(columns[name], schema.field(name).type) for name in COLUMNS}, schema)
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_scores(path: Path) -> ImageScores:
    """Read a file of scores: a `.parquet`, or a `.csv` that an earlier version wrote.

    Raises UserError that says where the file differs from the form that `write_scores` writes.
    """
    read = _read_csv if path.suffix == ".csv" else _read_parquet
    try:
        return read(read_bytes(path, MOST_BYTES))
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: the scores cannot be read: {error}; fix: evaluate the run again") from None


def _read_parquet(content: bytes) -> ImageScores:
    """Read the file's content. Raises ValueError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [name for name, kind in COLUMNS.items() if kind == "string"]
    try:
        _refuse_others(pq.ParquetFile(pa.BufferReader(content)))
        table = pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"it is no parquet file, or cut short ({first_line(error)})") from None
    for name in REQUIRED:
        if table.column(name).null_count:
            raise ValueError(f"{table.column(name).null_count} rows have no {name}")
    metrics = _coded(table.column("metric"))
    columns = {name: table.column(name).to_numpy() for name in ("repetition", "index", "value")}
    columns |= {name: _decoded(*_coded(table.column(name))) for name in ("prompt", "category", "reason")}
    columns["seed"] = _integers(table.column("seed"))
    rows = {name: np.flatnonzero(metrics[0] == code) for code, name in enumerate(metrics[1])}
    found = {
        str(name): SingleScores(**{column: values[chosen] for column, values in columns.items()})
        for name, chosen in rows.items()
        if len(chosen)
    }
    _refuse_bad(found)
    return found


def _refuse_others(file: Any) -> None:
    """Raise ValueError unless a parquet file has the columns of a file of scores, and is not too large."""
    schema, about = file.schema_arrow, file.metadata
    found = {field.name: str(getattr(field.type, "value_type", field.type)) for field in schema}
    if list(found.items()) != list(COLUMNS.items()) or len(schema) != len(COLUMNS):
        wanted = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        raise ValueError(f"its columns are {', '.join(f'{n} {k}'[:40] for n, k in found.items())}, not {wanted}")
    stored = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
    if about.num_rows > MOST_ROWS or stored > MOST_STORED:
        raise ValueError(f"it has {about.num_rows:,} rows of {stored:,} bytes, more than any evaluation gives")


def _coded(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """Return a column of texts as codes [n], -1 for none, and the texts that they stand for."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):  # a column of nulls alone
        column = column.dictionary_encode()
    array = column.unify_dictionaries().combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.array([], column.type) if not array.num_chunks else array.chunk(0)
    return pc.fill_null(array.indices, -1).to_numpy(zero_copy_only=False), array.dictionary.to_pylist()


def _decoded(codes: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    return np.array([*texts, None], dtype=object)[codes]  # code -1 is the last


def _integers(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of integers [n] as objects, with None for a null."""
    import pyarrow.compute as pc

    values = pc.fill_null(column, 0).to_numpy().astype(object)
    values[~column.is_valid().to_numpy()] = None
    return values


def _read_csv(content: bytes) -> ImageScores:
    """Read a file of metric, repetition, index and value. Raises ValueError, or csv.Error."""
    rows = csv.reader(io.StringIO(content.decode(), newline=""))
    if tuple(next(rows, ())) != REQUIRED:
        raise ValueError(f"the first line is not {','.join(REQUIRED)}")
    found: dict[str, list[tuple[int, int, float]]] = {}
    for line, row in enumerate(rows, start=2):
        if len(row) != len(REQUIRED):
            raise ValueError(f"line {line} is no metric with repetition, index and value")
        name, *numbers = row
        found.setdefault(name, []).append((_count(numbers[0]), _count(numbers[1]), float(numbers[2])))
    scores = {name: SingleScores.of(*zip(*ones, strict=True)) for name, ones in found.items()}
    _refuse_bad(scores)
    return scores


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValueError(f"{text[:20]!r} is no count")
    return int(text)


def _refuse_bad(scores: ImageScores) -> None:
    """Raise ValueError for a wrong name, a value that is not finite, and a place that is doubled or negative."""
    for name, one in scores.items():
        if not is_name(name):
            raise ValueError(f"{name[:40]!r} is no metric's name")
        if (bad := np.flatnonzero(~np.isfinite(one.value))).size:
            raise ValueError(f"{name} of image {one.index[bad[0]]} has the value {one.value[bad[0]]}")
        if len(one) and min(one.repetition.min(), one.index.min()) < 0:
            raise ValueError(f"{name} has a negative repetition or index")
        order = np.lexsort((one.index, one.repetition))
        again = (np.diff(one.repetition[order]) == 0) & (np.diff(one.index[order]) == 0)
        if again.any():
            raise ValueError(f"image {one.index[order][np.argmax(again)]} of the metric {name} is there twice")


def mean_in(scores: SingleScores, repetition: int) -> float:
    """Return the mean of one repetition's scores."""
    values = scores.value[scores.repetition == repetition]
    return math.fsum(values.tolist()) / len(values)


def same_images(first: SingleScores, second: SingleScores) -> bool:
    """Return whether two results have scores of the same images, so that they can be paired."""

    def places(scores: SingleScores) -> np.ndarray:
        order = np.lexsort((scores.index, scores.repetition))
        return np.stack([scores.repetition[order], scores.index[order]])

    return np.array_equal(places(first), places(second))


def by_prompt(scores: SingleScores, images_per_prompt: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the prompts' numbers [p], ascending, and the mean score of each [p], over all its images.

    Images of a prompt are not independent, in one repetition or in several; the means of prompts are. Where a
    condition is a class, each image stands for a prompt. Raises ValueError unless the number of images of a prompt
    is positive.
    """
    if images_per_prompt < 1:
        raise ValueError(f"{images_per_prompt} images per prompt")
    numbers, positions = np.unique(scores.index // images_per_prompt, return_inverse=True)
    return numbers, np.bincount(positions, scores.value) / np.bincount(positions)
