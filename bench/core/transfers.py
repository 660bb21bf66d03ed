"""Tensors that go to a device without making it wait for this thread, or this thread for it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_COPIES: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""The copies of each table, by device and type."""


def sent(values: Tensor, device: torch.device | str) -> Tensor:
    """Return values on a device. A GPU reads them from pinned memory, while this thread goes on."""
    if values.device.type == "cpu" and torch.device(device).type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def constant_on(table: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return a table on a device, in its own type or another one. Its copy is made once, and kept with the table.

    The table is one that never changes, such as a noise schedule's grid.
    """
    dtype = dtype or table.dtype
    if (table.device == device and table.dtype == dtype) or torch.compiler.is_compiling():
        return table.to(device, dtype)
    copies: dict[tuple[torch.device, torch.dtype], Tensor] = _COPIES.setdefault(table, {})
    if (device, dtype) in copies:
        return copies[device, dtype]
    made = table.to(device, dtype)
    if not torch._C._functorch.is_functorch_wrapped_tensor(made):  # one made within torch.func.jvp ends with it
        copies[device, dtype] = made
    return made
