"""A reader for pickles of numpy arrays; it reads them as data, and imports or calls nothing that a file names."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import UserError
from bench.core.safe_pickle import Inert, UnsafePickleError, reading, unpickle

MAX_BYTES = 2**30
MAX_ENTRIES = 1000
"""Numbers, texts, arrays and dictionaries in one file; published references hold about ten."""
NUMBERS = {"f4", "f8", "i4", "i8", "u4", "u8"}
"""The number types that an array may have."""


class _Array(Inert):
    """`_reconstruct(ndarray, (0,), b"b")`, whose state is (version, shape, dtype, column order, bytes)."""


class _Buffer(Inert):
    """`_frombuffer(bytes, dtype, shape, order)`, how protocol 5 writes an array."""


class _Scalar(Inert):
    """`scalar(dtype, bytes)`, a single number."""


class _Dtype(Inert):
    """`dtype("f8", False, True)`, whose state's second entry is the byte order."""


class _ArrayClass(Inert):
    """`numpy.ndarray` as an argument; never an object of its own."""


# numpy 2 writes numpy._core where numpy 1 wrote numpy.core.
ALLOWED: dict[tuple[str, str], type[Inert]] = {
    ("numpy", "ndarray"): _ArrayClass,
    ("numpy", "dtype"): _Dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Buffer for core in ("core", "_core")},
}


def read_array_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of numbers, texts, numpy arrays of numbers, and more such dictionaries.

    Raises UserError if the file contains anything else, with its name, is damaged, is larger than MAX_BYTES, or
    contains more than MAX_ENTRIES entries: a few hundred bytes can share a dictionary 2^40 times.
    """
    with reading(path, "numpy arrays"), path.open("rb") as file:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(
                f"{path} has {size:,} bytes, more than the {MAX_BYTES:,} that are read; fix: name another file"
            )
        found = _Plain().of(unpickle(file, ALLOWED, "a file of numpy arrays"))
        if not isinstance(found, dict):
            raise UnsafePickleError(f"holds {type(found).__name__}, not a dictionary")
        return found


class _Plain:
    """Converter of the reader's inert objects into plain data and arrays."""

    def __init__(self) -> None:
        self.entries = 0

    def of(self, value: Any) -> Any:
        """Return plain data. Raises UnsafePickleError, or another exception for records of another form."""
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise UnsafePickleError(f"holds more than {MAX_ENTRIES:,} entries")
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise UnsafePickleError("holds a dictionary with keys that are not texts")
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
        kind = type(value).__name__.removeprefix("_")
        raise UnsafePickleError(f"holds {kind}, which is neither number nor array")


def _array(data: Any, dtype: Any, shape: Any, fortran: bool) -> np.ndarray:
    """Copy bytes into an array. Raises UnsafePickleError unless their number fits its shape and type."""
    if not isinstance(dtype, _Dtype) or not dtype.args or dtype.args[0] not in NUMBERS:
        given = getattr(dtype, "args", dtype)
        raise UnsafePickleError(f"holds an array of {given!r}, not of numbers ({sorted(NUMBERS)})")
    order = dtype.state[1] if dtype.state else "="
    if order not in ("<", ">", "="):
        raise UnsafePickleError(f"holds an array with the byte order {order!r}")
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise UnsafePickleError(f"holds an array with the shape {shape!r}")
    kind = np.dtype(dtype.args[0]).newbyteorder(order)
    if not isinstance(data, (bytes, bytearray)) or len(data) != math.prod(shape) * kind.itemsize:
        size = len(data) if isinstance(data, (bytes, bytearray)) else type(data).__name__
        raise UnsafePickleError(f"holds an array {list(shape)} of {kind} in {size} bytes")
    array = np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")
    return array.astype(kind.newbyteorder("="))
