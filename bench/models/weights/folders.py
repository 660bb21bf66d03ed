"""Networks in folders, as diffusers and transformers save them: every tensor accounted for."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_log
from safetensors import safe_open
from torch import Tensor

from bench.core.errors import UserError, first_line, listed
from bench.core.escape import printable
from bench.core.files import read_object, refuse_special_files, regular_file
from bench.models.weights.compare import not_weights, problems
from bench.models.weights.state_dicts import read_state_dict

WEIGHTS = [f"{stem}{part}.safetensors" for stem in ("diffusion_pytorch_model", "model") for part in ("", "-0*")]
"""The files that a network's weights are read from, whole or in parts; no other is, for hashes name these."""
INDEX = ".safetensors.index.json"
"""The end of the name of the file that says which part holds which tensor."""
FLOATS = ("F64", "F32", "F16", "BF16")
"""What safetensors calls the types that weights may have."""
POSITIONS = ("position_ids",)
"""The last part of names of buffers that count 0, 1, 2, ...: older files keep them, networks make them."""
COUNTERS = (*POSITIONS, "num_batches_tracked")


def load_network(
    kind: Any, folder: Path, fix: str = "download it again", finite: bool = True, **config: Any
) -> Any:
    """Read a network of the class `kind` (of diffusers or transformers), float32, frozen, in evaluation mode.

    `config` overrides values of its configuration. Libraries only warn of missing weights and go on with random
    ones, and say nothing of weights that they ignore or cast: here both are refused, with their names. `finite`
    asks that all weights are. Raises UserError.
    """
    refuse_special_files(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} has no config.json; fix: {fix}")
    _check_config(kind, folder, fix)
    files = [file for pattern in WEIGHTS for file in sorted(folder.glob(pattern))]
    if not files:
        held = sorted(file.name for file in folder.iterdir())
        raise UserError(
            f"{folder} has neither {WEIGHTS[0]} nor {WEIGHTS[2]}, only {listed(map(printable, held))}: pickles "
            f"and variants in half precision are not read; fix: {fix}"
        )
    try:
        odd = [wrong for file in files for wrong in odd_types(file)]
        with quiet():
            network, report = kind.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                torch_dtype=torch.float32,
                **config,
            )
    except Exception as error:  # diffusers, transformers, safetensors, torch and json each have their own
        raise UserError(f"cannot read {folder}: {printable(first_line(error))}; fix: {fix}") from None
    unexpected = [name for name in report["unexpected_keys"] if name.rpartition(".")[2] not in POSITIONS]
    other = [f"{_name_of(one)} (misshapen)" for one in report["mismatched_keys"]]
    missing = sorted(report["missing_keys"])
    if finite and not (odd or other or missing):  # networks that lack something are not all in memory
        other = [f"{n} ({p})" for n, v in network.named_parameters() if (p := not_weights(v.detach()))]
    if wrong := problems(missing, sorted(unexpected), [*odd, *other]):
        raise UserError(f"{folder}: weights and config.json do not fit: {wrong}; fix: {fix}")
    return network.eval().requires_grad_(False)


def _check_config(kind: Any, folder: Path, fix: str) -> None:
    """Raise UserError for a configuration that is unreadable, of another class, or of quantised weights."""
    config = read_object(folder / "config.json")
    if config is None:
        raise UserError(f"cannot read {folder / 'config.json'}: it is no JSON object; fix: {fix}")
    named = config.get("_class_name", kind.__name__)
    if named != kind.__name__:
        raise UserError(
            f"{folder} holds a {printable(named)[:80]}, and a {kind.__name__} is wanted; fix: name another folder"
        )
    if config.get("quantization_config"):
        raise UserError(f"{folder} holds quantised weights, and these are not read; fix: name the whole weights")


def odd_types(file: Path) -> list[str]:
    """List the tensors of a safetensors file that are no weights: quantised, whole numbers, of 8 bits."""
    with safe_open(regular_file(file), "pt") as opened:
        kinds = {name: opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118 (no dictionary)
        positions = [name for name in kinds if name.rpartition(".")[2] in POSITIONS]
        odd = [name for name in positions if not is_count(opened.get_tensor(name))]
    return [f"{name} (unexpected: other positions than 0, 1, 2, ...)" for name in odd] + [
        f"{name} ({kind}: quantised or no weights)"
        for name, kind in kinds.items()
        if kind not in FLOATS and name.rpartition(".")[2] not in COUNTERS
    ]


def is_count(value: Tensor) -> bool:
    """Say whether a tensor holds 0, 1, 2, ..."""
    return bool(torch.equal(value.flatten().long(), torch.arange(value.numel())))


def _name_of(mismatched: Any) -> str:
    return str(mismatched[0] if isinstance(mismatched, tuple | list) else mismatched)


def read_parts(index: Path) -> dict[str, Tensor]:
    """Read a network's tensors from the parts that an index (`....safetensors.index.json`) names.

    Raises UserError if a part is missing, or the parts do not hold what the index says.
    """
    found = read_object(index)
    places = found.get("weight_map") if found is not None else None
    if not isinstance(places, dict) or not all(_is_name(part) for part in places.values()):
        raise UserError(f"{index} does not say which file holds which tensor; fix: download it again")
    state: dict[str, Tensor] = {}
    wrong: list[str] = []
    for part in sorted(set(places.values())):
        for name, value in read_state_dict(index.parent / part).items():
            if places.get(name) == part:
                state[name] = value
            else:
                wrong.append(f"{name} (in {part} and not so in the index)")
    if problem := problems([name for name in places if name not in state], (), wrong):
        raise UserError(f"{index} and the files that it names do not fit: {problem}; fix: download them again")
    return state


def _is_name(part: object) -> bool:
    return isinstance(part, str) and Path(part).name == part and part not in ("", ".", "..")


def other_options(config: Mapping[str, Any], teacher: Mapping[str, Any]) -> list[str]:
    """Name the options in which a network's configuration differs from another's, where both have them.

    Those that change no number are left out. The same shapes can hide other activations or numbers of heads.
    """
    free = ("sample_size", "upcast_attention", "dropout")
    both = [key for key in config if key in teacher and not key.startswith("_") and key not in free]
    return [
        f"{key} ({printable(config[key])[:80]} for {teacher[key]})"
        for key in both
        if _plain(config[key]) != _plain(teacher[key])
    ]


def _plain(value: Any) -> Any:
    """Make equal what configurations write in two ways: tuples and lists, and one number for every block."""
    if isinstance(value, tuple | list):
        parts = [_plain(part) for part in value]
        return parts[0] if parts and all(part == parts[0] for part in parts) else parts
    return value


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' progress bars and reports off the user's terminal: what is wrong is raised instead."""
    logs: list[Any] = [diffusers_log]
    if "transformers" in sys.modules:  # which micro tasks do without
        logs.append(importlib.import_module("transformers.utils.logging"))
    shown = [library for library in logs if library.is_progress_bar_enabled()]
    levels = [library.get_verbosity() for library in logs]
    for library in logs:
        library.set_verbosity_error()
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, level in zip(logs, levels, strict=True):
            library.set_verbosity(level)
        for library in shown:
            library.enable_progress_bar()
