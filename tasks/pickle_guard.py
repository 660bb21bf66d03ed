"""What readers of pickles as data share: the instructions that none accepts, the refusal, text fit to print."""

from __future__ import annotations

import pickletools
from typing import IO

from tasks.errors import UserError

MAX_MEMO = 1 << 24
"""Objects that a pickle may number. The unpickler's table is as long as the largest number in the file."""


class UnsafePickleError(UserError):
    """A pickle that is damaged, or asks for more than its readers allow. Nothing in it was run."""


def refuse_opcodes(file: IO[bytes]) -> None:
    """Look through a pickle's instructions, running none, for the two that `find_class` cannot judge.

    Leaves the file at its start. Raises UnsafePickleError, or whatever pickletools raises for damage.
    """
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name.startswith("EXT"):
            # A registered extension that was used before comes from a cache, past find_class.
            raise UnsafePickleError("uses pickle's extension registry")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > MAX_MEMO:
            raise UnsafePickleError(f"numbers an object {argument}, to exhaust the memory")
    file.seek(0)


def shown(text: str) -> str:
    """Make text from a file fit to print: one line, no control characters, not too long."""
    line = text.strip().partition("\n")[0]
    printable = "".join(character if character.isprintable() else "?" for character in line)
    return printable if len(printable) <= 160 else f"{printable[:160]}..."
