"""A second device on a machine without one: its numbers lie on the CPU, but it refuses to mix with the CPU's.

What a GPU would refuse is refused: operations on tensors of two devices, and the CPU's generators. Autocast does
nothing here, and a backward pass cannot run a forward again: no gradient checkpointing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretended"
MOVES = {"aten::copy_", "aten::_to_copy", "aten::to"}
CONSTRUCTORS = {torch.tensor, torch.as_tensor}
READS = {"aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::masked_select"}

waits: list[str] = []
"""What made this process wait for the device: a GPU would first have finished all that it was given."""


class _Module(backend_registration._DummyBackendModule):
    """What torch.amp asks of a device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class Pretended(Tensor):
    """A tensor of the device; `held` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Pretended:
        made: Pretended = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            copied = Pretended(self.held.detach().clone())
            memo[id(self)] = nn.Parameter(copied, self.requires_grad) if isinstance(self, nn.Parameter) else copied
        found: Tensor = memo[id(self)]
        return found

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.detach().__reduce_ex__(protocol)

    def tolist(self) -> Any:
        waits.append("tolist")
        return self.held.tolist()


def _run(function: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation on what the tensors hold."""
    named = {argument.name: value for argument, value in zip(function._schema.arguments, args, strict=False)}
    named |= kwargs
    operation, tensors = function._schema.name, [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    there = {id(x.held): x for x in tensors if isinstance(x, Pretended)}
    here = [x for x in tensors if not isinstance(x, Pretended) and x.ndim]  # numbers may come from anywhere
    if operation.startswith(("aten::index", "aten::_index")) and isinstance(args[0], Pretended):
        here = [x for x in here if x.dtype not in (torch.int64, torch.bool)]  # so may indices
    if there and here and operation not in MOVES:
        raise RuntimeError(f"{function}: tensors on two devices: {[(type(x), tuple(x.shape)) for x in tensors]}")
    if operation == "aten::copy_":
        on_device = isinstance(args[0], Pretended)
    elif operation == "aten::to" and "other" in named:
        on_device = isinstance(named["other"], Pretended)
    elif named.get("device") is not None:
        on_device = torch.device(named["device"]).type == NAME
    else:
        on_device = bool(there)
    if on_device and named.get("generator") is not None:
        raise RuntimeError(f"{function}: a generator of the CPU draws for another device")
    if there and (operation in READS or (operation in MOVES and not on_device)):
        waits.append(operation)
    made = function(*tree_map(_inside, args), **tree_map(_inside, kwargs))

    def outside(x: Any) -> Any:
        if id(x) in there:  # in place
            return there[id(x)]
        return Pretended(x) if on_device and isinstance(x, Tensor) else x

    return tree_map(outside, made)


def _inside(x: Any) -> Any:
    if isinstance(x, torch.device) and x.type == NAME:
        return torch.device("cpu")
    return x.held if isinstance(x, Pretended) else x


class _Operations(TorchDispatchMode):
    """Catches what makes tensors out of none."""

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _Constructors(TorchFunctionMode):
    """Catches those that never become an operation."""

    def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if function in CONSTRUCTORS and given.get("device") is not None:
            return function(*args, **{**given, "device": None}).to(given["device"])
        return function(*args, **given)


@contextlib.contextmanager
def pretended_device() -> Iterator[torch.device]:
    """Within it this process has the device, as another has its GPU."""
    if torch._C._get_privateuse1_backend_name() != NAME:  # once in a process
        backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())
    AcceleratorState._reset_state(reset_partial_state=True)
    device = torch.device(NAME, 0)
    PartialState(cpu=True).device = device
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # `held` cannot be set in place
    try:
        with torch.autograd.set_multithreading_enabled(False), _Constructors(), _Operations():
            yield device
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
        AcceleratorState._reset_state(reset_partial_state=True)
