"""Files of weights: what kind they are, by what they hold, and reading them without running anything."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tasks.errors import UserError, first_line, nearest
from tasks.files import human_size

FileKind = Literal["torch", "safetensors", "pickle"]

TORCH_ZIP = b"PK\x03\x04"
TORCH_OLD = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""torch.save before 1.6, a pickle too: it starts with this number alone."""
MAX_HEADER = 100_000_000
"""Bytes of a safetensors header; the format's own limit."""


def require(path: Path) -> None:
    """Raise UserError with the nearest names if `path` is not there."""
    if path.exists():
        return
    beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, beside)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise UserError(f"{path} does not exist{hint}")


def file_kind(path: Path) -> FileKind:
    """Say what a file of weights is by its first bytes, whatever its name.

    Raises UserError if it is none: empty, a web page, a Git LFS pointer, anything else.
    """
    require(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if start.startswith((TORCH_ZIP, TORCH_OLD)):
        return "torch"
    if start[:1] == b"\x80":
        return "pickle"
    if start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] <= MAX_HEADER:
        return "safetensors"
    if start.startswith(b"version https://git-lfs"):
        raise UserError(f"{path} is a Git LFS pointer, not the weights; fix: `git lfs pull` where it came from")
    looks = f"a file of {human_size(size)} that starts with {start[:16]!r}" if start else "an empty file"
    raise UserError(
        f"{path} is {looks}; expected EDM's .pkl, a torch checkpoint or safetensors; fix: download it again"
    )


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a torch checkpoint (weights only) or a safetensors file: tensors by name, on the CPU.

    A training checkpoint may keep them under `state_dict`, beside other things.
    Raises UserError if the file is damaged, holds more than tensors, or is another kind.
    """
    kind = file_kind(path)
    try:
        state = load_file(path) if kind == "safetensors" else torch.load(path, "cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"{path} is cut short or damaged ({error}); fix: download it again") from None
    except Exception as error:  # torch raises many kinds, OSError for a zip that is cut short
        raise UserError(
            f"{path} is cut short, damaged or holds more than weights ({first_line(error)}); "
            "nothing in it was run; fix: download it again"
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise UserError(f"{path} holds a {type(state).__name__} of other things than a network's weights by name")
    return dict(state)


def fill(network: nn.Module, state: Mapping[str, Tensor], source: str, name: str) -> None:
    """Give a network these weights, as float32, and no memory to those it had.

    Raises UserError that says what of `source` is not the network called `name`: a missing, further or misshapen
    tensor.
    """
    expected = {key: value.shape for key, value in network.state_dict().items()}
    wrong = sorted(expected.keys() ^ state.keys()) or [
        key for key in expected if state[key].shape != expected[key]
    ]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(f"{source} is not {name}: it differs in {wrong[0]}{more}")
    network.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
