"""Make foreign text harmless for where it is shown: names, prompts and error messages are anybody's."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_REORDERS = frozenset("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
"""Characters that change the order or the lines of what a terminal shows."""


def printable(text: object, *, lines: bool = False) -> str:
    """Return text in which control characters, terminal escapes and direction marks are written out, as `\\x1b`.

    Line feeds and tabs are kept where `lines` is true, for text of several lines.
    """
    return "".join(_shown(letter, lines) for letter in str(text))


def rich_text(text: object) -> Text:
    """Return `printable` text as rich prints it literally: no square bracket of it is markup."""
    from rich.text import Text

    return Text(printable(text))


def _shown(letter: str, lines: bool) -> str:
    if lines and letter in "\n\t":
        return letter
    if letter in _REORDERS or unicodedata.category(letter) in ("Cc", "Cs"):
        return letter.encode("unicode_escape", "surrogatepass").decode()
    return letter
