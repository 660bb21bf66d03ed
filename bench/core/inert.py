"""Inert stand-ins for all that an official EDM pickle names: what its unpickling makes, and nothing else.

None of them has a method that a pickle could put to use.
"""

from __future__ import annotations

import pickle
from typing import IO, Any, NoReturn

from bench.core.pickle_guard import UnsafePickleError, refuse_opcodes, shown


class Inert:
    """Stands for a call or an object: keeps the arguments and the state, does nothing."""

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


class PersistentObject(Inert):
    """An object of a class whose source is in the file: its one argument is {class_name, state, ...}."""


class Parameter(Inert):
    """(tensor, requires_grad, hooks)."""


class TensorView(Inert):
    """(storage, offset, size, stride, requires_grad, hooks)."""


class StorageBytes(Inert):
    """(bytes of a storage): really a pickle inside the pickle, and the official reader's second door."""


class Container(Inert):
    """A ModuleDict or ModuleList of torch."""


class NumpyType(Inert):
    """A numpy dtype."""


class NumpyScalar(Inert):
    """(dtype, bytes)."""


class InertSet(Inert):
    """(list of members)."""


STAND_INS: dict[tuple[str, str], type] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): PersistentObject,
    ("collections", "OrderedDict"): InertDict,
    ("dnnlib", "EasyDict"): InertDict,
    ("dnnlib.util", "EasyDict"): InertDict,
    ("torch._utils", "_rebuild_parameter"): Parameter,
    ("torch._utils", "_rebuild_tensor_v2"): TensorView,
    ("torch.storage", "_load_from_bytes"): StorageBytes,
    ("torch.nn.modules.container", "ModuleDict"): Container,
    ("torch.nn.modules.container", "ModuleList"): Container,
    ("numpy", "dtype"): NumpyType,
    ("numpy.core.multiarray", "scalar"): NumpyScalar,
    ("numpy._core.multiarray", "scalar"): NumpyScalar,
    ("builtins", "set"): InertSet,
    ("__builtin__", "set"): InertSet,
}
"""All that an official file may ask for, and what it gets."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        # An exact table, never an import or getattr: "os.system" as a dotted name finds nothing either.
        if stand_in := STAND_INS.get((module, name)):
            return stand_in
        raise UnsafePickleError(f"asks for {shown(f'{module}.{name}')}, which no official EDM file does")

    def persistent_load(self, pid: Any) -> NoReturn:  # noqa: ARG002
        raise UnsafePickleError("asks for an object outside the file (a persistent id)")


def unpickle(file: IO[bytes]) -> Any:
    """Read a pickle as inert objects, plain values and their containers; nothing in it is imported or called.

    Raises UnsafePickleError for anything that no official file asks for, or whatever pickle raises for damage.
    """
    refuse_opcodes(file)
    return _Unpickler(file).load()
