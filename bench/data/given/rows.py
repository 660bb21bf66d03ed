"""What a manifest, or a text beside an image, says about the image: its number, its prompt or its class."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bench.core.errors import UserError, counted, listed
from bench.data.given.files import GivenFiles, Text
from bench.data.plain import json_lines, json_of, kind_of, refuse_repeated, text_of
from bench.data.source import read_bytes

FILE = ("file", "file_name", "filename", "path")
NUMBER = ("index", "number")
PROMPT = ("prompt", "caption", "text")
CLASS = ("class", "label")
IMAGE = ("image",)
WANTED = "file, and index, prompt or class (with a prompt or class also image, to say which of its images it is)"


@dataclass(frozen=True)
class Row:
    """The description of one image: its number, or else its prompt or class; all of it has to agree."""

    number: int | None = None
    """Its number over all repetitions: repetition * samples + index."""
    prompt: str | None = None
    label: str | None = None
    """The class, by name or number."""
    image: int | None = None
    """Which of the images of the prompt or class it is, from 0; None: they are in the order of the rows."""


def rows_of(files: GivenFiles, manifest: Path | None) -> dict[str, Row]:
    """Return the descriptions of images by name, in their order; empty without a manifest and text files.

    Raises UserError if an image has no description, a description no image, or if one cannot be understood.
    """
    if manifest is not None:
        return _of_manifest(files, manifest)
    if files.texts and files.texts.keys() != files.images.keys():
        without = [name for name in files.images if name not in files.texts]
        raise UserError(
            f"{files.path}: {counted(len(files.texts), 'image')} of {len(files.images)} have a text beside them, "
            f"and others have none: {listed(without)}; fix: give every image one, or move the texts away"
        )
    return {name: _of_texts(texts, files.path) for name, texts in files.texts.items()}


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
        found[name] = _row(_said(values, where), where)
    for what, names in (
        (f"in {manifest} but not in {files.path}", [name for name in found if name not in files.images]),
        (f"in {files.path} but not in {manifest}", [name for name in files.images if name not in found]),
    ):
        if names:
            raise UserError(f"{counted(len(names), 'image')} {what}: {listed(names)}; fix: name every image once")
    return found


def _read(manifest: Path) -> list[tuple[int, Mapping[str, Any]]]:
    """Read a CSV with a header, or JSON lines, with the numbers of the lines."""
    content = read_bytes(manifest)
    if manifest.suffix.lower() in (".jsonl", ".json"):
        return list(json_lines(content, str(manifest)))
    text = text_of(content, str(manifest))
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    header = rows.fieldnames or ()
    if not set(header) & set(FILE):
        raise UserError(f"{manifest} has the columns {listed(header)}; fix: give it {WANTED}, or name it .jsonl")
    refuse_repeated(manifest, header)
    found: list[tuple[int, Mapping[str, Any]]] = []
    try:
        for row in rows:
            if None in row:
                raise UserError(
                    f"{manifest}: line {rows.line_num} has more fields than the header, which has {len(header)}; "
                    "fix: put texts with commas in quotes"
                )
            found.append((rows.line_num, {key: value for key, value in row.items() if value}))
    except csv.Error as error:
        raise UserError(f"{manifest}: line {rows.line_num} is not CSV: {error}; fix: close its quotes") from None
    return found


def _of_texts(texts: Sequence[Text], path: Path) -> Row:
    """Read the text files beside an image. Raises UserError if they do not describe it, or disagree."""
    said: dict[str, str | int] = {}
    where = f"{path}: {' and '.join(text.name for text in texts)}"
    for text in texts:
        values = _values(text, f"{path}: {text.name}")
        for field, value in _said(values, f"{path}: {text.name}").items():
            if said.setdefault(field, value) != value:
                raise UserError(
                    f"{where}: they say the {field} {said[field]!r} and {value!r}; fix: correct or remove one"
                )
    return _row(said, where)


def _values(text: Text, where: str) -> Mapping[str, Any]:
    """Read a file beside an image: a .txt is its prompt, a .cls its class, a .json an object as in a manifest."""
    suffix, content = PurePosixPath(text.name).suffix.lower(), text.read()
    if suffix == ".json":
        found = json_of(content, where)
        if not isinstance(found, dict):
            raise UserError(f"{where} is {kind_of(found)} and not an object; fix: give it {WANTED}")
        return found
    return {(PROMPT if suffix == ".txt" else CLASS)[0]: text_of(content, where)}


def _said(values: Mapping[str, Any], where: str) -> dict[str, str | int]:
    """Return the index, prompt, class and image that an object gives, without those that it lacks."""
    found: dict[str, str | int] = {}
    for keys in (NUMBER, PROMPT, CLASS, IMAGE):
        value = next((values[key] for key in keys if values.get(key) is not None), None)
        if value is not None:
            found[keys[0]] = _count(value, keys[0], where) if keys in (NUMBER, IMAGE) else str(value).strip()
    return found


def _row(said: Mapping[str, Any], where: str) -> Row:
    """Return the description of an image. Raises UserError if it has neither number, prompt nor class."""
    if not said.keys() - {IMAGE[0]}:
        raise UserError(f"{where} has no {', '.join((*NUMBER, *PROMPT, *CLASS))}; fix: give it {WANTED}")
    return Row(said.get(NUMBER[0]), said.get(PROMPT[0]), said.get(CLASS[0]), said.get(IMAGE[0]))


def _count(value: object, what: str, where: str) -> int:
    text = str(value).strip()
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{where} has the {what} {json.dumps(value)}; fix: give a whole number from 0")
    return int(text)
