"""Read published students of a pipeline's network: its weights, a LoRA, or the checkpoint folder of a training."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import init_empty_weights
from torch import Tensor

from bench.core.errors import UserError, listed
from bench.core.escape import printable, shell_path
from bench.core.files import read_json, refuse_special_files
from bench.models.backbones.text import TextFamily
from bench.models.text.lora import LoRASpec, Note, low_rank, merge_lora
from bench.models.text.lora_files import PEFT_FILE, is_lora, read_settings
from bench.models.weights.checkpoints import GENERATOR_FILES, PREFIXES
from bench.models.weights.compare import differences, without_prefixes
from bench.models.weights.folders import INDEX, not_used, other_options, read_parts
from bench.models.weights.state_dicts import read_state_dict, require
from bench.models.weights.weight_files import STEMS

NETWORK_STEM = STEMS[0]
NETWORK_FILE, NETWORK_INDEX = f"{NETWORK_STEM}.safetensors", f"{NETWORK_STEM}{INDEX}"
FILES = (*GENERATOR_FILES, NETWORK_FILE, NETWORK_INDEX, "pytorch_lora_weights.safetensors", PEFT_FILE)
"""Files of a student's folder: a training's checkpoint, diffusers' network, whole or in parts, or a LoRA."""
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""Ends of the names of files of weights, such as variants in half precision, of which a user names one."""
AGAIN = "fix: download it again, or ask who published it"
BASE, DOWN, UP = ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"
"""Parts of peft's names of a layer with an adapter, in a checkpoint of a LoRA's training."""


def load_published(
    path: Path,
    family: type[TextFamily],
    teacher: Any,
    note: Note | None = None,
    scheduler: Mapping[str, Any] | None = None,
) -> Any:
    """Read a published student's weights into a network like the teacher's, of `family`, float32, frozen.

    `path` is a file of a network's weights (`dmd2_sdxl_4step_unet_fp16.bin`, a safetensors file), a LoRA in any
    form of `bench.models.text.lora_files`, a folder of either as diffusers writes it, whole or in parts, a
    pipeline's folder with `unet/` or `transformer/`, or that of a checkpoint (its generator; of a LoRA's training
    too, with DMD2's alpha). `note` receives assumptions about what the file does not say; `scheduler` is the
    configuration of the teacher's, with whose noise schedule a pipeline's must agree. Nothing in the file is run.
    Raises UserError that lists all tensors that are missing, unexpected or misshapen.
    """
    require(path)
    folders = _Folders(family, teacher, note)
    file = folders.weights_in(path) if path.is_dir() else path
    folders.refuse_another(file, scheduler)
    state: Mapping[str, Tensor] = read_parts(file) if file.name.endswith(INDEX) else read_state_dict(file)
    state = family.renamed(teacher, state)
    if is_lora(state) and not any(BASE in name for name in state):
        network = copy.deepcopy(teacher)
        settings = read_settings(file, family.folder)
        merge_lora(network, family.lora_names(network), state, str(file), settings, note)
        return network.eval().requires_grad_(False)
    for prefix in PREFIXES["generator"]:
        if prefix and any(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    merged = merged_adapters(state, LoRASpec().alpha, str(file), note)
    return network_with(teacher, merged, str(file), family.one_file_marks)


class _Folders:
    """A search for the one student that a folder holds."""

    def __init__(self, family: type[TextFamily], teacher: Any, note: Note | None) -> None:
        self.family = family
        self.teacher = teacher
        self.note = note

    def weights_in(self, folder: Path) -> Path:
        """Find the one file of a folder that holds a student, or the index of its parts. Raises UserError."""
        refuse_special_files(folder)
        found = [folder / name for name in FILES if (folder / name).is_file()]
        inner = folder / self.family.folder
        if inner.is_dir():
            if found:
                raise _ambiguous(folder, [*found, inner])
            if (folder / "model_index.json").is_file() and self.note:
                self.note(
                    f"only {inner.name}/ of the pipeline {folder} is used as the student; everything else is the "
                    "teacher's"
                )
            return self.weights_in(inner)
        if not found:
            names = sorted(entry.name for entry in folder.iterdir())
            raise UserError(
                f"{folder} holds none of {', '.join(FILES)}, {inner.name}/; it holds "
                f"{listed(map(printable, names))}; fix: name {_inside(folder)}"
            )
        if len(found) > 1:
            raise _ambiguous(folder, found)
        return found[0]

    def refuse_another(self, file: Path, scheduler: Mapping[str, Any] | None) -> None:
        """Raise UserError if the folder or the pipeline around a file is of no student of the teacher.

        It does not matter how the user named the file: by itself, its folder or the whole pipeline.
        """
        folder = file.absolute().parent
        if file.name.startswith(NETWORK_STEM) and (folder / "config.json").is_file():
            self._refuse_another_network(folder / "config.json")
        if scheduler is not None and folder.name == self.family.folder:
            self._refuse_another_schedule(folder.parent / "scheduler" / "scheduler_config.json", scheduler)

    def _refuse_another_network(self, path: Path) -> None:
        """Raise UserError if a network's configuration differs from the teacher's beyond the tensors' shapes."""
        config = read_json(path)
        wanted = type(self.teacher).__name__
        named = config.get("_class_name", wanted)
        if named != wanted:
            raise UserError(
                f"{path.parent} holds a {printable(named)[:80]}, and a {wanted} is wanted; "
                "fix: name another folder"
            )
        if other := other_options(config, self.teacher.config):
            raise UserError(
                f"{path.parent} is not a {wanted} like the teacher's: {listed(other)}; "
                "fix: name a student of this teacher"
            )
        unknown = [key for key in config if key not in self.teacher.config and not key.startswith("_")]
        if unknown and self.note:
            self.note(not_used(path, unknown))

    def _refuse_another_schedule(self, path: Path, teacher: Mapping[str, Any]) -> None:
        """Raise UserError if a pipeline's network has another prediction or noise schedule than the teacher's."""
        if not path.is_file():
            return
        config = read_json(path)
        found, wanted = self.family.schedule_options(config), self.family.schedule_options(teacher)
        if other := [key for key in found | wanted if found.get(key) != wanted.get(key)]:
            what = ", ".join(f"{key} {found.get(key)} for {wanted.get(key)}" for key in other)
            raise UserError(
                f"{path}: the student has another schedule than the teacher: {what}; "
                "fix: name a student of this teacher"
            )


def _inside(folder: Path) -> str:
    """Return what to name in a folder without a student: its weights, or the versions of the hub's cache."""
    versions = sorted(one for one in folder.glob("snapshots/*") if one.is_dir())
    parts = sorted(folder.glob(f"*{INDEX}"))
    files = [one for one in sorted(folder.iterdir()) if one.suffix in SUFFIXES]
    found = versions or parts or files
    return " or ".join(map(shell_path, found)) or "the file itself"


def _ambiguous(folder: Path, found: list[Path]) -> UserError:
    return UserError(
        f"{folder} holds {listed([one.name for one in found])}, and any of these could be the student; "
        f"fix: name one, such as --checkpoint {shell_path(found[0])}"
    )


def network_with(like: Any, state: Mapping[str, Tensor], source: str, one_file: tuple[str, ...]) -> Any:
    """Build a network of diffusers with the configuration of `like` and these weights, float32, frozen.

    Prefixes that tools add to all names are stripped. Raises UserError that names `source` if a name or a shape
    differs from the network's, or if a tensor does not hold weights. `one_file` are prefixes of names in
    checkpoints of a whole pipeline in one file.
    """
    with init_empty_weights():
        network = type(like).from_config(like.config)
    expected = network.state_dict()
    state = without_prefixes(state, expected.__contains__)
    if wrong := differences(expected, state):
        hint = "; fix: name a student of this teacher"
        if any(name.startswith(one_file) for name in state):
            hint = (
                f"; its names ({one_file[0]}*) are those of a pipeline in one file; fix: read it with diffusers' "
                "from_single_file, and save its network with save_pretrained"
            )
        raise UserError(f"{source} is not a {type(like).__name__} like the teacher's: {wrong}{hint}")
    network.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
    return network.eval().requires_grad_(False)


def merged_adapters(
    state: Mapping[str, Tensor], alpha: float, source: str, note: Note | None
) -> dict[str, Tensor]:
    """Return the weights of a network whose layers have peft's adapters, with the adapters added to the layers.

    The file does not hold `alpha`; `note` receives a line with the value that is used.
    """
    merged, adapted = dict[str, Tensor](), set[str]()
    for name, down in state.items():
        layer = name.removesuffix(DOWN)
        weight, up = state.get(f"{layer}{BASE}weight"), state.get(layer + UP)
        if not name.endswith(DOWN) or weight is None or up is None:
            continue
        parts = {f"{layer}{BASE}weight": weight, layer + UP: up, name: down}
        if any(problem := differences({key: value.float()}, {key: value}) for key, value in parts.items()):
            raise UserError(f"{source}: an adapter does not hold weights: {problem}; {AGAIN}")
        rows = (len(weight), len(down))
        if not down.numel() or up.flatten(1).shape != rows or down.shape[1:] != weight.shape[1:]:
            shapes = f"{list(up.shape)} by {list(down.shape)} for {list(weight.shape)}"
            raise UserError(f"{source}: an adapter does not fit its layer: {printable(layer)} ({shapes}); {AGAIN}")
        merged[f"{layer}.weight"] = weight.float() + low_rank(up, down, alpha)
        adapted |= parts.keys()
    if adapted and note:
        note(f"{source} is a LoRA's training, which keeps no alpha: DMD2's {alpha:g} is taken")
    # A tensor without its other half keeps its name, so that it is reported as unexpected.
    return merged | {name.replace(BASE, "."): value for name, value in state.items() if name not in adapted}
