"""Make foreign text harmless where it is shown: names, prompts and error messages can come from anyone."""

from __future__ import annotations

import re
import shlex
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_REORDERS = frozenset("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
"""Characters that change the order or the lines of what a terminal shows."""


def printable(text: object, *, lines: bool = False) -> str:
    """Return text whose control characters, terminal escapes and direction marks are written out, such as `\\x1b`.

    With `lines`, line feeds and tabs are kept, for text of several lines.
    """
    plain = str(text)
    return plain if plain.isprintable() else "".join(_shown(letter, lines) for letter in plain)


def rich_text(text: object) -> Text:
    """Return `printable` text that rich prints literally: its square brackets are not markup."""
    from rich.text import Text

    return Text(printable(text))


def markdown(text: object) -> str:
    """Return text that Markdown shows literally, on one line and in a table's cell.

    Pipes, HTML, links, emphasis, code and mathematics become plain text. An underscore within a word is plain
    text in Markdown anyway and is not escaped, so that names stay readable in the source.
    """
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0]) or "\\" + found[0], printable(text))


_MARKUP = re.compile(r"[\\`*|$<~]|(?<!\w)_|_(?!\w)|!(?=\[)|(?<=\])\(|(?<=\])\[|&(?=#?\w+;)")
_ENTITIES = {"<": "&lt;", "&": "&amp;"}


def shell_path(path: Path | str) -> str:
    """Return a path as one word of a command for a shell, which is no option even if it begins with a hyphen."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def csv_text(text: object) -> str:
    """Return text as a field of a CSV file that no spreadsheet reads as a formula.

    Text that begins like a formula gets an apostrophe in front, which spreadsheets do not show; numbers, also
    negative ones, stay as they are. Control characters are written out, except line feeds and tabs, which CSV
    quotes.
    """
    shown = printable(text, lines=True)
    if shown[:1] not in ("\t", "\n") and shown.lstrip()[:1] not in _FORMULA:
        return shown
    return shown if _NUMBER.fullmatch(shown) else f"'{shown}"


_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


_NAME = re.compile(r"\w[\w.+-]{0,199}")


def is_name(text: object) -> bool:
    """Say whether this name can be a folder and a word of a command: letters, digits, and `_ . + -` inside.

    Names of tasks and runs become folders, so `../x` and names with control characters are refused.
    """
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


_ODD_IN_FILES = re.compile(r'[\\/:*?"<>|]|^[. -]|[. ]$')


def is_file_name(text: str) -> bool:
    """Say whether this can be a file's name on every system: with blanks, quotes and letters of all languages.

    Paths, hidden files, options and control characters are not, nor what Windows refuses.
    """
    return 0 < len(text) <= 200 and text.isprintable() and _ODD_IN_FILES.search(text) is None


def _shown(letter: str, lines: bool) -> str:
    if lines and letter in "\n\t":
        return letter
    if letter in _REORDERS or unicodedata.category(letter) in ("Cc", "Cs"):
        return letter.encode("unicode_escape", "surrogatepass").decode()
    return letter
