"""Writing pickles laid out as EDM's official ones, with a harmless text where theirs have their source."""

from __future__ import annotations

import contextlib
import pickle
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.models.weights.convert import entries
from bench.models.weights.edm_unet import EDMNetwork

SOURCE = "raise RuntimeError('the source text in the file was run')"


class Official(nn.Module):
    """A module that pickles as EDM's do: a call of one function with {class_name, module_src, state}."""

    def __reduce__(self) -> tuple[Any, ...]:
        function = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj  # type: ignore[attr-defined]
        meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": self.__dict__["official_class"],
            "state": {name: value for name, value in self.__dict__.items() if name != "official_class"},
        }
        return function, (meta,)


@contextlib.contextmanager
def official_modules() -> Iterator[None]:
    """Let pickle find the names that official files refer to, while such a file is written."""
    persistence, package = types.ModuleType("torch_utils.persistence"), types.ModuleType("torch_utils")

    def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:  # noqa: ARG001
        raise AssertionError("the official way of reading was taken")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    package.persistence = persistence  # type: ignore[attr-defined]
    sys.modules.update({"torch_utils": package, "torch_utils.persistence": persistence})
    try:
        yield
    finally:
        del sys.modules["torch_utils"], sys.modules["torch_utils.persistence"]


def official_module(state: dict[str, Tensor], attributes: dict[str, dict[str, Any]]) -> Official:
    """Grow the tree of modules that has these weights: enc and dec are torch's ModuleDict, as officially."""
    root = _new("EDMPrecond")
    for name, tensor in state.items():
        *path, leaf = name.split(".")
        module: nn.Module = root
        for depth, part in enumerate(path):
            if part not in module._modules:
                container = part in ("enc", "dec") and depth == 1
                module.add_module(part, nn.ModuleDict() if container else _new(f"Class{depth}"))
            module = module._modules[part]  # type: ignore[assignment]
        if leaf == "resample_filter":
            module.register_buffer(leaf, tensor.clone())
        else:
            module.register_parameter(leaf, nn.Parameter(tensor.clone(), requires_grad=False))
    root._init_args = ()
    root._init_kwargs = {
        "img_resolution": 16,
        "label_dim": 3,
        "init_scale": np.sqrt(1 / 3),
        "channel_mult": [1, 1],
    }
    for path, values in attributes.items():
        for name, value in values.items():
            setattr(root.get_submodule(path), name, value)
    return root


def _new(official_class: str) -> Official:
    module = Official()
    module.__dict__["official_class"] = official_class
    return module


def write_official(
    path: Path,
    state: dict[str, Tensor],
    attributes: dict[str, dict[str, Any]] | None = None,
    key: str = "ema",
    protocol: int = 4,
) -> Path:
    """Write a pickle of the official layout with these weights and these attributes of its modules."""
    with official_modules():
        top = {key: official_module(state, attributes or {}), "dataset_kwargs": {"resolution": 16}}
        path.write_bytes(pickle.dumps(top, protocol=protocol))
    return path


def to_official(state: Mapping[str, Tensor], network: EDMNetwork) -> dict[str, Tensor]:
    """Convert a diffusers state dict of `network` to the official one: the inverse of `to_diffusers`.

    Tensors whose layout is the same are shared, not copied.
    """
    box = torch.full((1, 1, 2, 2), 0.25)
    return {
        entry.official: entry.layout.join([state[name] for name in entry.diffusers])
        if entry.diffusers
        else box.clone()
        for entry in entries(network)
    }
