"""Pickles of numpy arrays, read as data: nothing that a file names is imported or called."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import UserError
from bench.core.files import regular_file
from bench.core.pickle_guard import UnsafePickleError, refuse_opcodes

MAX_BYTES = 2**30
MAX_ENTRIES = 1000
"""Numbers, texts, arrays and dictionaries in one file; published references hold about ten."""
NUMBERS = {"f4", "f8", "i4", "i8", "u4", "u8"}
"""Types of numbers that an array may have."""


class _Inert:
    """Stands where the file names a function or class: keeps what it is given, and does nothing."""

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Inert):
    """`_reconstruct(ndarray, (0,), b"b")`, whose state is (version, shape, dtype, column order, bytes)."""


class _Buffer(_Inert):
    """`_frombuffer(bytes, dtype, shape, order)`, how protocol 5 writes an array."""


class _Scalar(_Inert):
    """`scalar(dtype, bytes)`, a single number."""


class _Dtype(_Inert):
    """`dtype("f8", False, True)`, whose state's second entry is the byte order."""


class _ArrayClass(_Inert):
    """`numpy.ndarray` as an argument; never an object of its own."""


# numpy 2 writes numpy._core where numpy 1 wrote numpy.core.
ALLOWED: dict[tuple[str, str], type[_Inert]] = {
    ("numpy", "ndarray"): _ArrayClass,
    ("numpy", "dtype"): _Dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Buffer for core in ("core", "_core")},
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Inert]:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, and only numpy arrays are read; nothing was run"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"it refers to something outside of it ({pid!r})")


def read_array_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of numbers, texts, numpy arrays of numbers, and more such dictionaries.

    Raises UserError, with the name of what the file asks for, if it holds anything else, is damaged, larger than
    MAX_BYTES, or holds more than MAX_ENTRIES entries: a few hundred bytes can share a dictionary 2^40 times.
    """
    try:
        size = regular_file(path).stat().st_size
        if size > MAX_BYTES:
            raise UserError(f"{path} has {size:,} bytes, more than the {MAX_BYTES:,} that are read")
        with path.open("rb") as file:
            refuse_opcodes(file)
            found = _Plain().of(_Reader(file).load())
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror}") from error
    except UserError as error:
        if not isinstance(error, UnsafePickleError):
            raise
        raise UnsafePickleError(f"{path} is refused, nothing in it was run: it {error}") from None
    except RecursionError:
        raise UserError(f"{path} is refused: it holds itself, or is nested without end") from None
    except Exception as error:  # whatever a damaged or hostile pickle makes its reader raise
        raise UserError(f"{path} is refused: {error or type(error).__name__}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is refused: it holds {type(found).__name__}, not a dictionary")
    return found


class _Plain:
    """Turns what the reader left into plain data and arrays."""

    def __init__(self) -> None:
        self.entries = 0

    def of(self, value: Any) -> Any:
        """Return plain data; raises ValueError."""
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise ValueError(f"it holds more than {MAX_ENTRIES:,} entries")
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise ValueError("a dictionary has keys that are not texts")
            return {key: self.of(item) for key, item in value.items()}
        if isinstance(value, _Scalar):
            dtype, data = value.args
            return _array(data, dtype, (), fortran=False).item()
        if isinstance(value, _Buffer):
            data, dtype, shape, order = value.args
            return _array(data, dtype, shape, fortran=order == "F")
        if isinstance(value, _Array):
            _version, shape, dtype, fortran, data = value.state
            return _array(data, dtype, shape, fortran)
        raise ValueError(f"it holds {type(value).__name__.removeprefix('_')}, which is neither number nor array")


def _array(data: Any, dtype: Any, shape: Any, fortran: bool) -> np.ndarray:
    """Copy bytes into an array, if they are as many as its shape and type say."""
    if not isinstance(dtype, _Dtype) or not dtype.args or dtype.args[0] not in NUMBERS:
        raise ValueError(f"an array is of {getattr(dtype, 'args', dtype)!r}, not of numbers ({sorted(NUMBERS)})")
    order = dtype.state[1] if dtype.state else "="
    if order not in ("<", ">", "="):
        raise ValueError(f"an array has the byte order {order!r}")
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"an array has the shape {shape!r}")
    kind = np.dtype(dtype.args[0]).newbyteorder(order)
    if not isinstance(data, (bytes, bytearray)) or len(data) != math.prod(shape) * kind.itemsize:
        size = len(data) if isinstance(data, (bytes, bytearray)) else type(data).__name__
        raise ValueError(f"an array {list(shape)} of {kind} has {size} bytes")
    array = np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")
    return array.astype(kind.newbyteorder("="))
