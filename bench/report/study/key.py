"""The key of a study: what its pairs show, and which half of each is run A. Raters never see it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from bench.core.errors import UserError
from bench.core.files import digest, file_sha256, read_bytes, write_text
from bench.metrics.result import Count, Model

Half = Literal["first", "second"]
"""A half of a pair's picture, which is stored as one image; the page may show either half on the left."""
PAGE = "study.html"
SUFFIX = ".key.json"


class Subject(Model):
    """One of the two runs."""

    run_id: str
    method: str
    train_seed: Count | None
    checkpoint_sha256: str
    record_sha256: str
    """SHA-256 of the record's file."""


class KeyPair(Model):
    """One pair of images with the same prompt and noise."""

    name: str
    """Random name, by which the page and the answers call the pair."""
    sample: Count
    """Index of the sample in the protocol, which decides noise and condition."""
    prompt: str
    a: Half
    """The half that is run A's image."""


class Key(Model):
    """Everything that a study was made of."""

    version: Literal[1] = 1
    created: str
    """UTC, ISO 8601."""
    task: str
    protocol: str
    """Name of the task's protocol that gives the noise and the prompts."""
    protocol_sha256: str
    source: Literal["students", "sheets"]
    """students: the images were generated for the study; sheets: they are from the runs' sample sheets."""
    a: Subject
    b: Subject
    noise: str
    """Digest of all that decides the noise and the conditions of the images; it is the same for both runs."""
    seed: str
    """Secret number, in hexadecimal digits, that decides the pairs' names and sides."""
    encoding: str
    """Format of the pictures."""
    questions: list[str]
    """Names of the questions, in the order in which they are asked."""
    pairs: list[KeyPair] = Field(min_length=1)

    def digest(self) -> str:
        """Return the SHA-256 that names the study. Since the seed is secret, nobody can guess a key by it."""
        return digest(self.model_dump(mode="json"))


class KeyFile(Model):
    """The content of a key's file."""

    study: str
    """Digest of the key."""
    page_sha256: str
    """SHA-256 of the page that raters get."""
    key: Key


def key_path(folder: Path) -> Path:
    """Return the file beside a study's folder that holds its key."""
    return folder.with_name(folder.name + SUFFIX)


def write_key(path: Path, key: Key, page_sha256: str) -> None:
    """Write a key's file, which appears whole."""
    content = KeyFile(study=key.digest(), page_sha256=page_sha256, key=key)
    write_text(path, content.model_dump_json(indent=2) + "\n")


def read_key(path: Path) -> Key:
    """Read a key, and check it and the page beside it. Raises UserError if it is missing, or one was changed."""
    if not path.exists():
        raise UserError(f"there is no key {path}; fix: give the file *{SUFFIX} that bench study make wrote")
    try:
        found = KeyFile.model_validate_json(read_bytes(path))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(
            f"{path} is no key of a study ({where}: {first['msg']}); "
            f"fix: give the file *{SUFFIX} that bench study make wrote"
        ) from None
    if found.key.digest() != found.study:
        raise UserError(f"{path} was changed since bench study make wrote it; fix: give the original file")
    page = path.with_name(path.name.removesuffix(SUFFIX)) / PAGE
    if path.name.endswith(SUFFIX) and page.is_file() and file_sha256(page) != found.page_sha256:
        raise UserError(f"{page} is not the page that belongs to {path}; fix: put the original page back")
    return found.key
