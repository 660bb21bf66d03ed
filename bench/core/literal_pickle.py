"""Pickles of plain texts and numbers, such as the published lists of prompts, read as data."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

from bench.core.errors import UserError
from bench.core.pickle_guard import UnsafePickleError, refuse_opcodes, shown
from bench.data.source import read_bytes

MAX_BYTES = 1 << 30
"""Of a pickle of prompts on disk."""


class _Unpickler(pickle.Unpickler):
    """With no function or class to be had, only literals and their containers can come out."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise UnsafePickleError(f"asks for {shown(f'{module}.{name}')}, and a list of prompts needs nothing")

    def persistent_load(self, pid: Any) -> NoReturn:  # noqa: ARG002
        raise UnsafePickleError("asks for an object outside the file (a persistent id)")


def read_literal_pickle(path: Path) -> Any:
    """Read a pickle of texts, numbers, and lists, tuples and dictionaries of them.

    Raises UnsafePickleError, a UserError that names the file and what it asks for, at anything else; nothing
    in the file is imported or called. UserError if it cannot be read.
    """
    try:
        file = io.BytesIO(read_bytes(path, MAX_BYTES))
        refuse_opcodes(file)
        content = _Unpickler(file).load()
        if rest := len(file.read()):
            raise UnsafePickleError(f"has {rest:,} bytes after its end, and they would be lost")
        return content
    except UnsafePickleError as error:
        raise UnsafePickleError(
            f"{path}: refused, nothing in it was run: it {error}; fix: save the prompts as text, one a line"
        ) from None
    except UserError:  # no regular file, or too large
        raise
    except Exception as error:  # a hostile or cut-off file can make the unpickler raise almost anything
        raise UnsafePickleError(
            f"{path}: not a whole pickle of plain data ({type(error).__name__}: {shown(str(error))}); "
            "nothing in it was run; fix: download it again"
        ) from None
