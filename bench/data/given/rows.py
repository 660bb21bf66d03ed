"""What a manifest, or a text beside an image, says about the image: its number, its prompt or its class."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bench.core.errors import UserError, counted, hint, listed
from bench.core.files import read_text
from bench.data.given.files import GivenFiles, Text
from bench.data.text.captioned import json_of, text_of

FILE = ("file", "file_name", "filename", "path")
NUMBER = ("index", "number")
PROMPT = ("prompt", "caption", "text")
CLASS = ("class", "label")
IMAGE = ("image",)
WANTED = "file, and index, prompt or class (with a prompt or class also image, to say which of its images it is)"


@dataclass(frozen=True)
class Row:
    """What one image is of: exactly one of number, prompt and class is given."""

    number: int | None = None
    """Its number over all repetitions: repetition * samples + index."""
    prompt: str | None = None
    label: str | None = None
    """The class, by name or number."""
    image: int | None = None
    """Which of the images of the prompt or class it is, from 0; None: they are in the order of the rows."""


def rows_of(files: GivenFiles, manifest: Path | None) -> dict[str, Row]:
    """Return what is said about images, by name, in the order in which it is said; empty if nothing is.

    Raises UserError if it is not said of every image, of something else, or not understood.
    """
    if manifest is not None:
        return _of_manifest(files, manifest)
    if files.texts and files.texts.keys() != files.images.keys():
        without = [name for name in files.images if name not in files.texts]
        raise UserError(
            f"{files.path}: {counted(len(files.texts), 'image')} of {len(files.images)} have a text beside them, "
            f"and others have none: {listed(without)}; fix: give every image one, or move the texts away"
        )
    return {name: _of_text(files.texts[name], f"{files.path}: {files.texts[name].name}") for name in files.texts}


def _of_manifest(files: GivenFiles, manifest: Path) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for line, values in _read(manifest):
        where = f"{manifest}: line {line}"
        name = next((str(values[key]) for key in FILE if values.get(key)), None)
        if name is None:
            raise UserError(f"{where} names no file; fix: give the columns {WANTED}")
        name = PurePosixPath(name).as_posix()  # ./a.png is a.png
        if name in found:
            raise UserError(f"{where} repeats {name}; fix: keep one line for each image")
        found[name] = _row(values, where)
    for what, names in (
        (f"in {manifest} but not in {files.path}", [name for name in found if name not in files.images]),
        (f"in {files.path} but not in {manifest}", [name for name in files.images if name not in found]),
    ):
        if names:
            raise UserError(f"{counted(len(names), 'image')} {what}: {listed(names)}; fix: name every image once")
    return found


def _read(manifest: Path) -> list[tuple[int, Mapping[str, Any]]]:
    """Read a CSV with a header, or JSON lines, with the numbers of the lines."""
    text = read_text(manifest)
    if manifest.suffix.lower() in (".jsonl", ".json"):
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        return [(number, _object(json_of(line.encode(), f"{manifest}: line {number}"))) for number, line in lines]
    rows = csv.DictReader(io.StringIO(text))
    header = rows.fieldnames or ()
    if not set(header) & set(FILE):
        raise UserError(f"{manifest} has the columns {listed(header)}; fix: give it {WANTED}, or name it .jsonl")
    try:
        return [(rows.line_num, {key: value for key, value in row.items() if value}) for row in rows]
    except csv.Error as error:
        raise UserError(f"{manifest}: line {rows.line_num} is not CSV: {error}") from None


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _of_text(text: Text, where: str) -> Row:
    """Read a file beside an image: a .txt is its prompt, a .cls its class, a .json an object as in a manifest."""
    suffix, content = PurePosixPath(text.name).suffix.lower(), text.read()
    if suffix == ".txt":
        return Row(prompt=text_of(content, where).strip())
    if suffix == ".cls":
        return Row(label=text_of(content, where).strip())
    return _row(_object(json_of(content, where)), where)


def _row(values: Mapping[str, Any], where: str) -> Row:
    given = {
        field: next((values[key] for key in keys if values.get(key) is not None), None)
        for field, keys in (("number", NUMBER), ("prompt", PROMPT), ("label", CLASS), ("image", IMAGE))
    }
    if given["number"] is not None:
        return Row(number=_count(given["number"], "index", where))
    image = None if given["image"] is None else _count(given["image"], "image", where)
    if given["prompt"] is not None:
        return Row(prompt=str(given["prompt"]).strip(), image=image)
    if given["label"] is not None:
        return Row(label=str(given["label"]).strip(), image=image)
    keys = (*NUMBER, *PROMPT, *CLASS)
    odd = next(iter(values), "")
    raise UserError(f"{where} has no {', '.join(keys)}; {hint(str(odd), keys)}; fix: give it {WANTED}")


def _count(value: object, what: str, where: str) -> int:
    text = str(value).strip()
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{where} has the {what} {json.dumps(value)}; fix: give a whole number from 0")
    return int(text)
