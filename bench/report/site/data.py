"""The records of each task as data: for the pages' scripts, and as an archive for people.

`data/TASK.js` calls `benchData(TASK, BYTES, TEXT)`, where TEXT is gzipped JSON lines as `packed` writes them. The
first line is {"csv": HEADER}. Each other line is {"name", "record", "csv", "sheet"} of one entry:

- the record as JSON text without spaces; parsing would lose the difference between 1 and 1.0, on which digests
  depend;
- its rows of the CSV table;
- its sheet as bench.report.site.pictures describes it, or null.

A script tag loads such a file even from file://, where a page may not fetch, and only when a reader wants it.
`data/TASK.tar.xz` has the same records as files.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd

from bench.core.escape import csv_text
from bench.report.site.pages import Asset, Site

XZ_PRESET: Final = 3
"""Higher presets take seconds for a thousand records and save a tenth."""
BITS, FIRST_LETTER = 15, 0x1000
"""How `packed` writes bytes, and site.js reads them."""
COLUMNS = (
    *("run_id", "created", "task", "protocol", "protocol_sha256", "networks_sha256", "smoke", "kind", "method"),
    *("passed", "recipe_sha256", "selection", "weights", "variant_sha256", "train_seed", "status", "error"),
    *("metric", "title", "direction", "value", "low", "high", "level", "standard_error"),
    *("nfe", "iterations", "generator_updates", "training_images", "train_seconds", "gpu_hours", "core_hours"),
    *("evaluate_seconds", "peak_memory_bytes"),
)
"""Columns of the CSV table: one row for each run and metric, in seconds and bytes."""


def pages(site: Site) -> Iterator[Asset]:
    """Make the data files of each task."""
    for task in site.tasks():
        yield Asset(f"data/{task}.js", _script(site, task))
        yield Asset(f"data/{task}.tar.xz", _archive(site, task))


def csv_rows(site: Site, task: str) -> dict[str, str]:
    """Return each entry's rows of the CSV table by the entry's name; text is harmless in a spreadsheet."""
    frame = site.frame(task)
    entries = site.entries_of(task)
    rows = dict.fromkeys((entry.name for entry in entries), "")
    cells = zip(*(map(_cell, frame[name].tolist()) for name in COLUMNS), strict=True)
    for place, row in zip(frame["line"], cells, strict=True):
        rows[entries[place].name] += _csv(row)
    return rows


def _csv(row: Any) -> str:
    """Return one line of CSV: floats read back as the same float64, and a missing value is an empty field."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row)
    return line.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return csv_text(value)
    return "" if value is None or value is pd.NA or value != value else value


def _script(site: Site, task: str) -> bytes:
    rows = csv_rows(site, task)
    lines = [json.dumps({"csv": _csv(COLUMNS)})]
    for entry in site.entries_of(task):
        picture = site.picture(entry)
        line = {"name": entry.name, "record": entry.record.model_dump_json(), "csv": rows[entry.name]}
        lines.append(json.dumps({**line, "sheet": picture.described() if picture else None}))
    content = gzip.compress("\n".join(lines).encode(), mtime=0)
    return f'\ufeffbenchData({json.dumps(task)}, {len(content)}, "{packed(content)}");\n'.encode("utf-16-le")


def packed(content: bytes) -> str:
    """Return bytes as letters with 15 bits each, of which none needs an escape or is half of a pair.

    In UTF-16, which the mark at the beginning of a script declares, this is a sixteenth larger than the bytes;
    base64 is a third larger.
    """
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    letters = np.pad(bits, (0, -len(bits) % BITS)).reshape(-1, BITS)
    numbers = letters @ (1 << np.arange(BITS)[::-1]) + FIRST_LETTER
    return str(numbers.astype("<u2").tobytes().decode("utf-16-le"))


def _archive(site: Site, task: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:xz", preset=XZ_PRESET) as archive:
        for entry in site.entries_of(task):
            content = f"{entry.record.model_dump_json(indent=2)}\n".encode()
            about = tarfile.TarInfo(f"{task}/{entry.name}.json")
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return made.getvalue()
