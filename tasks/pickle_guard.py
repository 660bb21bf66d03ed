"""What every reader of pickles as data shares: the refusal, the opcodes that none accepts, text fit to print."""

from __future__ import annotations

import io
import pickletools

from tasks.errors import UserError

MAX_MEMO = 1 << 24
"""Objects that a pickle may number. The unpickler's table is as long as the largest number in the file."""


class UnsafePickleError(UserError):
    """A pickle that is damaged, or asks for more than files of its kind do. Nothing in it was run."""


def refuse_opcodes(file: io.BufferedReader) -> None:
    """Look through the pickle's instructions, running none, for the two that `find_class` cannot judge.

    Raises UnsafePickleError at one of them, and whatever pickletools raises at a damaged file.
    """
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name.startswith("EXT"):
            # A registered extension that was used before comes from a cache, past find_class.
            raise UnsafePickleError("uses pickle's extension registry")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > MAX_MEMO:
            raise UnsafePickleError(f"numbers an object {argument}, to exhaust the memory")


def shown(text: str) -> str:
    """Make text from a file fit to print: one line, no control characters, not too long."""
    line = text.strip().partition("\n")[0]
    printable = "".join(character if character.isprintable() else "?" for character in line)
    return printable if len(printable) <= 160 else f"{printable[:160]}..."
