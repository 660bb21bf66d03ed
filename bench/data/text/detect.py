"""Recognise the form of captioned images or latents at a path by its content."""

from __future__ import annotations

import tarfile
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import regular_file_or_folder
from bench.data.altered import Decoded
from bench.data.lmdbs import DATA_FILE, MAGIC, MAGIC_OFFSET
from bench.data.text.captioned import Captioned
from bench.data.text.folders import CaptionedFolder
from bench.data.text.latent_lmdb import LatentLMDB
from bench.data.text.webdataset import WebDataset, shards_of

FORMS = (
    "a folder of images with metadata.jsonl, captions.txt or a .txt beside each, webdataset shards (.tar), "
    "or the official latent LMDB"
)
HEAD = 512


def open_captioned(path: Path) -> Captioned[Decoded] | LatentLMDB:
    """Open captioned images or latents in any of their forms; the caller closes it.

    Raises UserError if `path` is missing, damaged or of no known form.
    """
    path = path.expanduser()
    try:
        if path.exists():
            regular_file_or_folder(path)
        if path.is_dir():
            if (path / DATA_FILE).is_file():
                return LatentLMDB(path)
            return WebDataset(path) if shards_of(path).paths else CaptionedFolder(path)
        with path.open("rb") as file:
            head = file.read(HEAD)
        if head[MAGIC_OFFSET:].startswith(MAGIC):
            return LatentLMDB(path)
        if head and not head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")) and tarfile.is_tarfile(path):
            return WebDataset(path)
    except OSError as error:
        raise UserError(f"{error.filename or path}: {error.strerror}; fix: name {FORMS}") from error
    raise UserError(f"{path} starts with {head[:8].hex(' ') or 'nothing'}; fix: name {FORMS}")
