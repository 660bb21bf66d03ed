"""Reading EDM's official pickles without running anything that is in them.

The official files are pickles of live modules that carry their own source text; unpickling them as usual
compiles and runs it. Here unpickling makes inert records of an exact list of names (`STAND_INS`), and nothing
else; the tensors are then found in the records. Source: edm-diffusers, section 5.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.core.safe_pickle import Inert, InertDict, UnsafePickleError, reading, shown, unpickle

MAX_DEPTH = 32
"""Modules within modules; the official network has 5 levels."""


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


@dataclass(frozen=True)
class OfficialPickle:
    """The network that an official EDM pickle holds under one key."""

    class_name: str
    """Class of the network, EDMPrecond in the ImageNet-64 file."""
    state_dict: dict[str, Tensor]
    """The same names in the same order as the network's own state_dict()."""
    attributes: dict[str, dict[str, Any]]
    """Plain values (numbers, strings) of each module, by the module's path; the network's is ''."""


KEY = "ema"
"""The entry of an official file that holds the network with averaged weights."""


def read_official_pickle(path: Path) -> OfficialPickle:
    """Read the averaged network of an official EDM pickle; tensors on the CPU, bit for bit.

    Raises UnsafePickleError, a UserError that names the file, for anything but such a pickle.
    """
    with reading(path, "EDM's network"), path.open("rb") as file:
        return _network(unpickle(file, STAND_INS, "an official EDM file"))


def _network(top: Any) -> OfficialPickle:
    """Find the network's tensors and values in the records."""
    if not isinstance(top, dict):
        raise UnsafePickleError(f"holds a {type(top).__name__} where a dictionary with the key {KEY!r} is due")
    if KEY not in top:
        names = [shown(name) for name in top if isinstance(name, str)]
        raise UnsafePickleError(f"has no key {KEY!r}, only {', '.join(names[:8]) or 'none'}")
    network = top[KEY]
    if not isinstance(network, PersistentObject):
        raise UnsafePickleError(f"holds a {type(network).__name__} under {KEY!r}, not a network")
    found = _Walk()
    found.module(network, "", 0)
    return OfficialPickle(_class_name(network), found.tensors, found.attributes)


@dataclass
class _Walk:
    """A walk over the modules' records in the order of torch's state_dict()."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)

    def module(self, record: Any, path: str, depth: int) -> None:
        """Gather the parameters and buffers of a module, then those of its children."""
        if not isinstance(record, PersistentObject | Container):
            raise UnsafePickleError(f"holds a {type(record).__name__} as the module {shown(path)}")
        if depth > MAX_DEPTH:
            raise UnsafePickleError(f"nests modules deeper than {MAX_DEPTH}")
        if id(record) in self.seen:  # else a few modules that hold each other twice would make 2^32 paths
            raise UnsafePickleError(f"holds one module twice or within itself, at {shown(path)}")
        self.seen.add(id(record))
        state = _attributes_of(record)
        plain = {name: _plain(value) for name, value in state.items() if not name.startswith("_")}
        self.attributes[path] = {name: value for name, value in plain.items() if value is not None}
        prefix = f"{path}." if path else ""
        skipped = _members(state.get("_non_persistent_buffers_set", set()))
        for kind in ("_parameters", "_buffers"):
            for name, value in _dictionary(state.get(kind, {}), kind).items():
                if value is not None and not (kind == "_buffers" and name in skipped):
                    self.tensors[prefix + name] = _tensor(value, prefix + name)
        for name, child in _dictionary(state.get("_modules", {}), "_modules").items():
            if child is not None:
                self.module(child, prefix + name, depth + 1)


def _attributes_of(record: Inert) -> dict[str, Any]:
    """Return a module's attributes: torch's containers have them as state, EDM's classes in their argument."""
    if isinstance(record, PersistentObject):
        return _dictionary(_meta(record).get("state"), "state")
    return _dictionary(record.state, "state")


def _meta(record: PersistentObject) -> dict[str, Any]:
    if len(record.args) != 1 or record.state is not None:
        raise UnsafePickleError("holds an object that was not saved as EDM saves them")
    return _dictionary(record.args[0], "argument")


def _class_name(record: PersistentObject) -> str:
    name = _meta(record).get("class_name")
    if not isinstance(name, str):
        raise UnsafePickleError("does not name its network's class")
    return name


def _dictionary(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise UnsafePickleError(f"holds a {type(value).__name__} as {what} where a dictionary of names is due")
    return value


def _members(value: Any) -> set[str]:
    members = value.args[0] if isinstance(value, InertSet) and len(value.args) == 1 else value
    if not isinstance(members, set | list | tuple) or not all(isinstance(name, str) for name in members):
        raise UnsafePickleError("holds no set of names where one is due")
    return set(members)


def _tensor(record: Any, name: str) -> Tensor:
    """Build the tensor that a record describes, if it lies within its storage."""
    if isinstance(record, Parameter) and record.args:
        record = record.args[0]
    if not isinstance(record, TensorView) or not 6 <= len(record.args) <= 7:
        raise UnsafePickleError(f"holds a {type(record).__name__} as the tensor {shown(name)}")
    storage_record, offset, size, stride = record.args[:4]
    sizes_are_tuples = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= 8
    # bool is an int to Python; sizes of torch are not.
    if not sizes_are_tuples or any(type(n) is not int or n < 0 for n in (offset, *size, *stride)):
        raise UnsafePickleError(f"describes the tensor {shown(name)} by something else than whole numbers")
    storage = _storage(storage_record)
    count, last = 1, offset
    for n, step in zip(size, stride, strict=True):
        count, last = count * n, last + (n - 1) * step
        if n > 1 and step == 0:
            raise UnsafePickleError(f"repeats one number along the tensor {shown(name)} (stride 0)")
    # `count` too: strides that overlap would make a small storage into a large tensor.
    if offset > len(storage) or (count > 0 and (last >= len(storage) or count > len(storage))):
        raise UnsafePickleError(f"describes the tensor {shown(name)} beyond its storage of {len(storage)} numbers")
    tensor = storage.as_strided(size, stride, offset)
    return tensor if count == len(storage) else tensor.clone()


def _storage(record: Any) -> Tensor:
    """Return a storage as a flat tensor, read once; its bytes are given up, so memory holds it once."""
    if not isinstance(record, StorageBytes) or len(record.args) != 1:
        raise UnsafePickleError("holds a tensor without a storage")
    if isinstance(record.args[0], bytes):
        data, record.args = record.args[0], ()
        try:
            # Never weights_only=False: these bytes are a pickle of their own.
            storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except Exception as error:
            raise UnsafePickleError(f"holds a storage that torch refuses: {shown(str(error))}") from None
        if not isinstance(storage, torch.storage.TypedStorage):
            raise UnsafePickleError(f"holds a {type(storage).__name__} as a storage")
        record.args = (torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage),)
    flat = record.args[0]
    if not isinstance(flat, Tensor):
        raise UnsafePickleError(f"holds a {type(flat).__name__} as a storage")
    return flat


NUMPY_CODES: Mapping[str, str] = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "u1": "B", "b1": "?"}
"""numpy's names of the types that scalars have, and struct's."""


def _plain(value: Any) -> Any:
    """Return a number, a string, a tuple or list of them; None for None and for anything else."""
    if isinstance(value, list | tuple):
        flat = all(isinstance(item, bool | int | float | str) for item in value)
        return value if flat else None
    if isinstance(value, NumpyScalar):
        return _number(value)
    return value if isinstance(value, bool | int | float | str) else None


def _number(scalar: NumpyScalar) -> float | int | bool | None:
    """Decode a numpy scalar from its type's name, byte order and bytes; None for a type that is no number."""
    dtype, data = scalar.args
    if not isinstance(dtype, NumpyType) or not isinstance(dtype.state, tuple) or not isinstance(data, bytes):
        raise UnsafePickleError("holds a numpy scalar that numpy would not write")
    if dtype.args[0] not in NUMPY_CODES:
        return None
    order = ">" if dtype.state[1] == ">" else "<"
    (number,) = struct.unpack(f"{order}{NUMPY_CODES[dtype.args[0]]}", data)
    return number
