"""Read networks from the folders of diffusers and transformers, and account for every tensor."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import Transformer2DModel
from diffusers.utils import logging as diffusers_log
from safetensors import safe_open
from torch import Tensor, nn

from bench.core.errors import UserError, first_line, listed
from bench.core.escape import printable
from bench.core.files import read_json, refuse_special_files, regular_file
from bench.models.weights.compare import bare_name, not_weights, problems
from bench.models.weights.state_dicts import read_state_dict
from bench.models.weights.weight_files import weight_files

INDEX = ".safetensors.index.json"
"""The suffix of the file that lists the part that holds each tensor."""
UNWRAP = "save the network itself, and not the wrapper (of data parallelism, torch.compile) that adds to its names"
FLOATS = ("F64", "F32", "F16", "BF16")
"""The names in safetensors of the types that weights may have."""
POSITIONS = ("position_ids",)
"""The last parts of the names of buffers 0, 1, 2, ...: older files store them, networks make them anew."""
FORMER = {"ada_norm_single": "PixArtTransformer2DModel", "ada_norm_zero": "DiTTransformer2DModel"}
"""The classes of networks that were published as diffusers' former Transformer2DModel, by their norm_type."""
FORMER_CLASS = Transformer2DModel.__name__
COUNTERS = (*POSITIONS, "num_batches_tracked")


def load_network(
    kind: Any,
    folder: Path,
    fix: str = "download it again",
    finite: bool = True,
    tables: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
    **config: Any,
) -> Any:
    """Read a network of the class `kind` (of diffusers or transformers), frozen, in evaluation mode.

    `config` overrides values of its configuration. The libraries only warn about missing weights and continue
    with random ones, and they silently ignore or cast others; here all of these are refused by name. With
    `finite`, weights that are not finite are refused as well. `tables` are the last parts of the names of further
    buffers that older files store and the network makes anew; they must be equal. Raises UserError.
    """
    refuse_special_files(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} has no config.json; fix: {fix}")
    _check_config(kind, folder, fix)
    for index in folder.glob(f"*{INDEX}"):
        read_json(index, fix)  # of a name that is there twice, the library would take the last place
    files = weight_files(kind, folder, fix)
    if kind.__module__.startswith("transformers."):
        config["ignore_mismatched_sizes"] = True  # its own error names no tensor; they are refused below
    try:
        odd = [wrong for file in files for wrong in odd_types(file, tables)]
        with quiet():
            network, report = kind.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                torch_dtype=dtype,
                **config,
            )
    except Exception as error:  # diffusers, transformers, safetensors, torch and json each raise their own
        raise UserError(f"cannot read {folder}: {printable(first_line(error))}; fix: {fix}") from None
    made_anew = (*POSITIONS, *tables)
    unexpected = [name for name in report["unexpected_keys"] if name.rpartition(".")[2] not in made_anew]
    odd += [wrong for file in files for wrong in _other_tables(file, tables, network)] if tables else []
    other = [f"{_name_of(one)} (misshapen)" for one in report["mismatched_keys"]]
    missing = sorted(report["missing_keys"])
    if finite and not (odd or other or missing):  # incomplete networks are not fully in memory
        other = [f"{n} ({p})" for n, v in network.named_parameters() if (p := not_weights(v.detach()))]
    if wrong := problems(missing, sorted(unexpected), [*odd, *other]):
        raise UserError(
            f"{folder}: weights and config.json do not fit: {wrong}; fix: {_fix_for(missing, unexpected, fix)}"
        )
    return network.eval().requires_grad_(False)


def _fix_for(missing: Sequence[str], unexpected: Sequence[str], fix: str) -> str:
    """Return the fix for weights that do not fit: another one if only a wrapper's prefix is the matter."""
    bare = {bare_name(name, set(missing).__contains__) for name in unexpected}
    return UNWRAP if bare and bare == set(missing) else fix


def _check_config(kind: Any, folder: Path, fix: str) -> None:
    """Raise UserError if a configuration is unreadable, of another class, or for quantised weights."""
    config = read_json(folder / "config.json", fix)
    named = _today(config.get("_class_name", kind.__name__), config)
    if named != kind.__name__:
        raise UserError(
            f"{folder} holds a {printable(named)[:80]}, but a {kind.__name__} is expected; "
            "fix: name another folder"
        )
    if config.get("quantization_config"):
        raise UserError(
            f"{folder} holds quantised weights, which are not read; fix: name the full-precision weights"
        )


def _today(named: Any, config: Mapping[str, Any]) -> Any:
    """Return the class that a network of diffusers' former class has today; all others stay."""
    return FORMER.get(str(config.get("norm_type")), named) if named == FORMER_CLASS else named


def former_class(named: str, folder: Path) -> str:
    """Return the class today of the network in a folder, which a pipeline names so. Raises UserError."""
    return str(_today(named, read_json(folder / "config.json"))) if named == FORMER_CLASS else named


def unknown_options(folder: Path) -> list[str]:
    """Say which options in the configurations of networks, in a folder and its parts, diffusers does not know.

    They are in effect for whoever wrote them, and not here. One line for each configuration that has some; the
    former class's options are known, at their defaults.
    """
    lines = []
    for path in [folder / "config.json", *sorted(folder.glob("*/config.json"))]:
        config = read_json(path) if path.is_file() else {}
        named = config.get("_class_name")
        kind = getattr(diffusers, str(_today(named, config)), None)
        if not (inspect.isclass(kind) and issubclass(kind, nn.Module)):
            continue
        known = inspect.signature(kind.__init__).parameters
        former = inspect.signature(Transformer2DModel.__init__).parameters if named == FORMER_CLASS else {}
        idle = {name for name, one in former.items() if name in config and config[name] == one.default}
        if odd := [key for key in config if key not in known and key not in idle and not key.startswith("_")]:
            lines.append(not_used(path, odd))
    return lines


def not_used(path: Path, options: Sequence[str]) -> str:
    """Say that diffusers does not know these options of a configuration."""
    found = listed([printable(key)[:80] for key in options])
    return f"{path}: diffusers {diffusers.__version__} has no such options, and they are not used: {found}"


def odd_types(file: Path, tables: Sequence[str]) -> list[str]:
    """List the tensors of a safetensors file that are not weights: quantised, whole or 8-bit numbers.

    Those whose names end in one of `tables` are left out: `load_network` compares them.
    """
    with safe_open(regular_file(file), "pt") as opened:
        kinds = {name: opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118 (no dictionary)
        positions = [name for name in kinds if name.rpartition(".")[2] in POSITIONS]
        odd = [name for name in positions if not is_count(opened.get_tensor(name))]
    return [f"{name} (unexpected: other positions than 0, 1, 2, ...)" for name in odd] + [
        f"{name} ({kind}: quantised or not weights)"
        for name, kind in kinds.items()
        if kind not in FLOATS and name.rpartition(".")[2] not in (*COUNTERS, *tables)
    ]


def _other_tables(file: Path, tables: Sequence[str], network: Any) -> list[str]:
    """List the stored buffers with these last parts of names that differ from those that the network has made."""
    made = dict(network.named_buffers())
    with safe_open(regular_file(file), "pt") as opened:
        stored = [name for name in opened.keys() if name.rpartition(".")[2] in tables]  # noqa: SIM118 (as above)
        return [
            f"{name} (not as the network makes it)"
            for name in stored
            if name not in made or not torch.equal(made[name].long(), opened.get_tensor(name).long())
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
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(_is_name(part) for part in places.values()):
        raise UserError(f"{index} has no valid list of tensors and their files; fix: download it again")
    state: dict[str, Tensor] = {}
    wrong: list[str] = []
    parts = sorted(set(places.values()))
    if absent := [part for part in parts if not (index.parent / part).exists()]:
        raise UserError(f"{index} names files that are not beside it: {listed(absent)}; fix: download them again")
    for part in parts:
        for name, value in read_state_dict(index.parent / part).items():
            if places.get(name) == part:
                state[name] = value
            else:
                wrong.append(f"{name} (in {part}, which the index does not say)")
    if problem := problems([name for name in places if name not in state], (), wrong):
        raise UserError(f"{index} and the files that it names do not fit: {problem}; fix: download them again")
    return state


def _is_name(part: object) -> bool:
    return isinstance(part, str) and Path(part).name == part and part not in ("", ".", "..")


def other_options(config: Mapping[str, Any], teacher: Mapping[str, Any]) -> list[str]:
    """List the options that two configurations of a network both have and that differ.

    Options that change no number are left out. Equal shapes can hide other activations or numbers of heads.
    """
    free = ("sample_size", "upcast_attention", "dropout")
    both = [key for key in config if key in teacher and not key.startswith("_") and key not in free]
    return [
        f"{key} ({printable(config[key])[:80]} for {teacher[key]})"
        for key in both
        if _plain(config[key]) != _plain(teacher[key])
    ]


def _plain(value: Any) -> Any:
    """Normalise values that configurations write in two ways: tuples or lists, one number or one per block."""
    if isinstance(value, tuple | list):
        parts = [_plain(part) for part in value]
        return parts[0] if parts and all(part == parts[0] for part in parts) else parts
    return value


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the libraries' progress bars, reports and notices of later versions; errors are raised instead."""
    logs: list[Any] = [diffusers_log]
    if "transformers" in sys.modules:  # micro tasks do not import it
        logs.append(importlib.import_module("transformers.utils.logging"))
    shown = [library for library in logs if library.is_progress_bar_enabled()]
    levels = [library.get_verbosity() for library in logs]
    for library in logs:
        library.set_verbosity_error()
    for library in shown:
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of names of arguments that earlier versions need
            yield
    finally:
        for library, level in zip(logs, levels, strict=True):
            library.set_verbosity(level)
        for library in shown:
            library.enable_progress_bar()
