"""Recognise files of weights by their content, and read them without running anything in them."""

from __future__ import annotations

import argparse
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.core.errors import UserError, first_line, listed, nearest
from bench.core.escape import printable
from bench.core.files import human_size, regular_file, regular_file_or_folder
from bench.models.weights.archives import check_torch_file
from bench.models.weights.compare import differences, without_prefixes

FileKind = Literal["torch", "safetensors", "pickle"]

TORCH_ZIP = b"PK\x03\x04"
TORCH_OLD = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""The first bytes of files by torch.save before 1.6: a pickle that holds only this number."""
LFS = b"version https://git-lfs"
NESTED = ("ema", "state_dict")
"""Where checkpoints of trainings keep a network's weights, by preference."""
MAX_HEADER = 100_000_000
"""Largest safetensors header in bytes, the format's own limit."""


def require(path: Path) -> None:
    """Raise UserError, with the nearest names, if `path` is missing or neither a regular file nor a folder."""
    if path.exists():
        regular_file_or_folder(path)
        return
    beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, beside)
    hint = f"did you mean {' or '.join(close)}?" if close else "fix: name a file or folder that is there"
    raise UserError(f"{path} does not exist; {hint}")


def file_kind(path: Path) -> FileKind:
    """Return the kind of a file of weights by its first bytes, whatever its name.

    Raises UserError for anything else, such as an empty file, a web page or a Git LFS pointer.
    """
    require(path)
    regular_file(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; fix: make it readable") from None
    # Checked first, because the length of the header may begin with any byte, also with that of a pickle.
    if start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] <= MAX_HEADER:
        return "safetensors"
    if start.startswith((TORCH_ZIP, TORCH_OLD)):
        return "torch"
    if start[:1] == b"\x80":
        return "pickle"
    refuse_pointer(path, start)
    if start.startswith(b"GGUF"):
        raise UserError(
            f"{path} is a GGUF file: quantised weights are not read; fix: name the full-precision file"
        )
    looks = f"a file of {human_size(size)} that starts with {start[:16]!r}" if start else "an empty file"
    raise UserError(
        f"{path} is {looks}; expected EDM's .pkl, a torch checkpoint or safetensors; fix: download it again"
    )


def refuse_pointer(path: Path, start: bytes) -> None:
    """Raise UserError if a file that begins with `start` is a pointer of Git LFS in the weights' place."""
    if start.startswith(LFS):
        raise UserError(f"{path} is a Git LFS pointer, not the weights; fix: `git lfs pull` where it came from")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a torch checkpoint (weights only) or a safetensors file: tensors by name, on the CPU.

    A training checkpoint may keep them under `state_dict`, and their average under `ema`, beside other things: the
    average is read where there is one. Raises UserError if the file is damaged, holds more than tensors, or is
    another kind.
    """
    kind = file_kind(path)
    try:
        if kind == "torch":
            check_torch_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # the options of many trainings: plain data
            state = load_file(path) if kind == "safetensors" else torch.load(path, "cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"{path} is cut short or damaged ({_short(error)}); fix: download it again") from None
    except Exception as error:  # torch raises many kinds, OSError for a zip that is cut short
        asked = re.search(r"GLOBAL (\S{1,80})", str(error))
        what = f"it asks for {printable(asked[1])}" if asked else _short(error)
        raise UserError(
            f"{path} is cut short, damaged or holds more than weights ({what}); "
            "nothing in it was run; fix: download it again"
        ) from None
    for _ in NESTED:  # one may lie in the other
        inner = next((n for n in NESTED if isinstance(state, dict) and isinstance(state.get(n), dict)), None)
        state = state if inner is None else state[inner]
    if not isinstance(state, dict):
        raise UserError(
            f"{path} holds a {type(state).__name__}, not a network's weights by name; fix: name another file"
        )
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            found = f"{printable(name)[:80]!r} (a {type(value).__name__})"
            raise UserError(
                f"{path} holds more than a network's weights by name, such as {found}; "
                "fix: save only the network's state_dict"
            )
    if odd := [f"{printable(name)} ({problem})" for name, value in state.items() if (problem := not_plain(value))]:
        raise UserError(
            f"{path} holds tensors that are not plain weights: {listed(odd)}; fix: save it dequantised"
        )
    return dict(state)


def not_plain(value: Tensor) -> str:
    """Say why a tensor is not a plain sequence of numbers in memory of its own; empty if it is.

    A few bytes can describe a view of any size, which would fill the memory when it is copied.
    """
    if value.is_quantized:
        return "quantised"
    if value.layout != torch.strided or value.is_meta or type(value) not in (Tensor, nn.Parameter, nn.Buffer):
        return f"a {type(value).__name__} laid out as {value.layout}"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"{list(value.shape)} from {value.untyped_storage().nbytes()} bytes"
    return ""


def fill(network: nn.Module, state: Mapping[str, Tensor], source: str, name: str) -> None:
    """Assign weights to a network in its own types, without a copy of the weights that it had.

    Prefixes that tools add to all names are stripped. Raises UserError that lists how `source` differs from the
    network called `name`: missing, unexpected or misshapen tensors, and tensors that are not weights.
    """
    expected = network.state_dict()
    state = without_prefixes(state, expected.__contains__)
    if wrong := differences(expected, state):
        raise UserError(
            f"{source} is not {name}: {wrong}; fix: name a file of such a network, or download it again"
        )
    given = {key: state[key].detach().to(value.dtype) for key, value in expected.items()}
    network.load_state_dict(given, assign=True)


def _short(error: BaseException) -> str:
    return printable(first_line(error))[:200]
