"""Pickles of other people, read as data: what a file asks for is in the caller's list, or it is refused."""

from __future__ import annotations

import contextlib
import pickle
import pickletools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from bench.core.errors import UserError
from bench.core.files import regular_file

Allowed = Mapping[tuple[str, str], type]
"""By module and name, all that a file may ask for, and the class of ours that it gets instead."""
MAX_MEMO = 1 << 24
"""Objects that a pickle may number. The unpickler's table is as long as the largest number in the file."""
MAX_TUPLE = 1 << 16
"""Members of a tuple with all that its members hold. Hashing such a tuple visits every one of them anew."""
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
OPENS = ("TUPLE", "LIST", "DICT", "FROZENSET", "INST", "OBJ", "POP_MARK", "APPENDS", "SETITEMS", "ADDITEMS")
"""Instructions that take all that was put down since the last mark."""
MARK = -1


def refuse_opcodes(file: IO[bytes], rewind: bool = True) -> None:
    """Look through a pickle's instructions, running none, for those that `find_class` cannot judge.

    They use the registry of extensions, number an object so high that the table fills the memory, or make tuples
    of tuples that a few bytes hold and no time suffices to hash. Leaves the file at its start, or after it.
    Raises UnsafePickleError, or whatever pickletools raises for damage.
    """
    sizes = _Sizes()
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name.startswith("EXT"):
            # A registered extension that was used before comes from a cache, past find_class.
            raise UnsafePickleError("uses pickle's extension registry")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > MAX_MEMO:
            raise UnsafePickleError(f"numbers an object {argument}, to exhaust the memory")
        sizes.follow(opcode, argument)
    if rewind:
        file.seek(0)


class _Sizes:
    """The sizes of the tuples on the unpickler's stack; everything else counts as one.

    Only tuples and frozen sets are hashed by what they hold, and they are whole before anything can hold them.
    """

    def __init__(self) -> None:
        self.stack: list[int] = []
        self.memo: dict[int, int] = {}

    def follow(self, opcode: Any, argument: Any) -> None:
        """Apply an instruction to the stack. Raises UnsafePickleError if it takes more than the stack has."""
        name, stack = opcode.name, self.stack
        if name == "MARK":
            stack.append(MARK)
        elif name in OPENS:
            self._close(name)
        elif name in TUPLES:
            self._make(1 + sum(self._pop() for _ in range(TUPLES[name])))
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo.get(int(argument), 1))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else int(argument)] = self._top()
        elif name == "DUP":
            stack.append(self._top())
        elif name == "POP":
            self._pop(mark=True)
        else:
            for _ in opcode.stack_before:
                self._pop()
            stack.extend(1 for _ in opcode.stack_after)

    def _close(self, name: str) -> None:
        size = 1
        while (top := self._pop(mark=True)) != MARK:
            size += top
        if name in ("TUPLE", "FROZENSET"):
            self._make(size)
        elif name in ("LIST", "DICT", "INST", "OBJ"):
            self.stack.append(1)

    def _make(self, size: int) -> None:
        if size > MAX_TUPLE:
            raise UnsafePickleError(f"holds a tuple that expands to more than {MAX_TUPLE:,} members")
        self.stack.append(size)

    def _top(self) -> int:
        if not self.stack:
            raise UnsafePickleError("takes an object from an empty stack")
        return self.stack[-1]

    def _pop(self, mark: bool = False) -> int:
        top = self._top()
        if top == MARK and not mark:
            raise UnsafePickleError("takes an object from beyond a mark")
        return self.stack.pop()


class UnsafePickleError(UserError):
    """A pickle that is damaged, or asks for more than its readers allow. Nothing in it was run."""


class Inert:
    """Stands for a call or an object that a file names: it keeps the arguments and the state, and does nothing."""

    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> Inert:
        made = super().__new__(cls)  # not __init__: pickle makes some objects without it
        made.args = args
        made.state = None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class InertDict(dict):
    """A dictionary that takes items and no attributes."""

    def __setstate__(self, state: Any) -> NoReturn:
        raise UnsafePickleError("sets attributes on a dictionary")


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], allowed: Allowed, what: str) -> None:
        super().__init__(file)
        self.allowed, self.what = allowed, what

    def find_class(self, module: str, name: str) -> type:
        # An exact table, never an import or getattr: "os.system" as a dotted name finds nothing either.
        if stand_in := self.allowed.get((module, name)):
            return stand_in
        raise UnsafePickleError(f"asks for {shown(f'{module}.{name}')}, which {self.what} does not")

    def persistent_load(self, pid: Any) -> NoReturn:  # noqa: ARG002
        raise UnsafePickleError("asks for an object outside the file (a persistent id)")


def unpickle(file: IO[bytes], allowed: Allowed, what: str) -> Any:
    """Read a pickle as plain values, their containers and the classes in `allowed`; nothing in it is called.

    `what` names such files for people. Raises UnsafePickleError for anything else that it asks for, or whatever
    pickle raises for damage.
    """
    refuse_opcodes(file)
    return _Unpickler(file, allowed, what).load()


@contextlib.contextmanager
def reading(path: Path, what: str, fix: str = "download it again") -> Iterator[None]:
    """Within it a pickle is read and taken apart; whatever goes wrong becomes a UserError that names the file.

    `what` says in a few words what the file should be, `fix` what to do. UnsafePickleError and UserError keep
    their text. A hostile or cut-off file can make the unpickler, or what follows it, raise almost anything.
    """
    regular_file(path)
    try:
        yield
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{path} is refused, nothing in it was run: it {error}; fix: {fix}") from None
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror}") from None
    except Exception as error:
        raise UnsafePickleError(
            f"{path} is refused, nothing in it was run: it is not a whole pickle of {what} "
            f"({type(error).__name__}: {shown(str(error))}); fix: {fix}"
        ) from None


def shown(text: str) -> str:
    """Make text from a file fit to print: one line, no control characters, not too long."""
    line = text.strip().partition("\n")[0]
    printable = "".join(character if character.isprintable() else "?" for character in line)
    return printable if len(printable) <= 160 else f"{printable[:160]}..."
