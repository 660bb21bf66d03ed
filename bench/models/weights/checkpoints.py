"""Read denoisers from published files: EDM's pickle, DMD2's checkpoints, diffusers folders, our own students."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from accelerate import init_empty_weights
from diffusers import UNet2DModel
from torch import Tensor

from bench.core.errors import UserError, listed, unknown, with_fix
from bench.core.escape import printable
from bench.core.files import read_json
from bench.models.backbones.edm import EDMDenoiser
from bench.models.descriptions import DESCRIPTION
from bench.models.saved import load_denoiser
from bench.models.schedules import EDMSchedule
from bench.models.weights.compare import without_prefixes
from bench.models.weights.consistency import SIGMA_MIN, ConsistencyDenoiser, ConsistencySchedule, published_steps
from bench.models.weights.convert import check_attributes, infer_network, official_shapes, to_diffusers
from bench.models.weights.edm_unet import edm_unet_with
from bench.models.weights.folders import load_network
from bench.models.weights.restricted_pickle import read_official_pickle
from bench.models.weights.state_dicts import file_kind, fill, read_state_dict, require
from bench.models.weights.weight_files import WEIGHTS

Preconditioning = Literal["edm", "openai-edm", "consistency"]
"""EDM's; EDM's with OpenAI's noise scale (OpenAI's EDM teacher); that with a boundary (CD and CT)."""
Format = Literal["EDM pickle", "DMD2 checkpoint", "diffusers", "bench"]

PREFIXES: Mapping[str, tuple[str, ...]] = {
    "generator": ("", "feedforward_model."),
    "teacher": ("real_unet.", "guidance_model.real_unet."),
    "critic": ("fake_unet.", "guidance_model.fake_unet."),
}
"""Prefixes of the networks in DMD2's files: in files of one part, and in one file of the whole training."""
PUBLISHED = "name EDM's ImageNet-64 network as published, or a student of it"
"""The fix for another network."""
GENERATOR_FILES = ("pytorch_model.bin", "model.safetensors")
"""Names that accelerate gives to the generator, or to all networks together, in a training's folder."""
PICKLED = "diffusion_pytorch_model.bin"
"""An older form of the weights in a diffusers folder, of which only tensors are read."""
FIRST_LAYER = "model.map_layer0.weight"


@dataclass(frozen=True)
class LoadedDenoiser:
    """A denoiser read from published weights: frozen, in evaluation mode, on the CPU."""

    denoiser: EDMDenoiser
    format: Format
    source: Path
    """The file or folder whose bytes are the weights."""
    taken: str
    """The network that was taken from it, for messages."""
    samplers: Mapping[int, list[int]] = field(default_factory=lambda: {1: [999]})
    """Grid positions of its few-step samplers by their number of steps, if it is a student: DMD2's has one."""


def load_edm_denoiser(path: Path, preconditioning: Preconditioning | None = None) -> LoadedDenoiser:
    """Load a denoiser from a file or a folder, which is recognised by its content and not by its name.

    Of a DMD2 training it is the generator. `preconditioning` says how the network of a diffusers folder is to be
    used where nothing in the folder does: the same shapes serve three conventions, and the wrong one loads
    silently. Raises UserError for a missing, damaged, foreign or ambiguous file, and for an unknown
    preconditioning. Source: official-dmd2, sections 1.1 and 4.
    """
    if preconditioning is not None and preconditioning not in get_args(Preconditioning):
        raise unknown("preconditioning", preconditioning, get_args(Preconditioning))
    require(path)
    found, source = _recognise(path)
    if preconditioning not in (None, "edm") and found != "diffusers":
        raise UserError(
            f"{path} is used with EDM's preconditioning; {preconditioning!r} is for diffusers folders; "
            "fix: leave it out"
        )
    if found == "EDM pickle":
        return _from_pickle(source)
    if found == "DMD2 checkpoint":
        return _from_checkpoint(source)
    if found == "diffusers":
        return _from_diffusers(source, preconditioning)
    return LoadedDenoiser(load_denoiser(source, EDMDenoiser).denoiser, "bench", source, "student")


def _recognise(path: Path) -> tuple[Format, Path]:
    """Return the format of a file or folder, and the file or folder in it that has the weights."""
    if not path.is_dir():
        return ("EDM pickle" if file_kind(path) == "pickle" else "DMD2 checkpoint"), path
    if (path / DESCRIPTION).is_file():
        return "bench", path
    for folder in (path / "unet", path):
        if (folder / "config.json").is_file():
            return "diffusers", folder
    for name in GENERATOR_FILES:
        if (path / name).is_file():
            return "DMD2 checkpoint", path / name
    names_here = sorted(entry.name for entry in path.iterdir())
    raise UserError(
        f"{path} holds no weights that bench knows: none of {', '.join(GENERATOR_FILES)}, {DESCRIPTION}, "
        f"config.json, unet/config.json, only {listed(names_here)}; fix: name the file itself if it is an EDM .pkl"
    )


def _denoiser(
    unet: UNet2DModel, preconditioning: Preconditioning, schedule: EDMSchedule | None = None
) -> EDMDenoiser:
    if preconditioning == "edm":
        denoiser = EDMDenoiser(unet, EDMSchedule(), taps=("encoder",))
    else:
        boundary = SIGMA_MIN if preconditioning == "consistency" else 0.0
        denoiser = ConsistencyDenoiser(unet, schedule or EDMSchedule(), taps=("encoder",), sigma_min=boundary)
    return denoiser.eval().requires_grad_(False)


def _from_official(
    path: Path, state: Mapping[str, Tensor], attributes: Mapping[str, Mapping[str, Any]]
) -> EDMDenoiser:
    try:
        network = infer_network(state)
        check_attributes(attributes, official_shapes(network))
        converted = to_diffusers(state, network)
    except UserError as error:
        raise UserError(f"{path}: {with_fix(error, PUBLISHED)}") from None
    return _denoiser(edm_unet_with(network, converted), "edm")


def _from_pickle(path: Path) -> LoadedDenoiser:
    official = read_official_pickle(path)
    if official.class_name != "EDMPrecond":
        raise UserError(
            f"{path} holds a network of the class {official.class_name!r:.80}, not EDMPrecond; fix: {PUBLISHED}"
        )
    denoiser = _from_official(path, official.state_dict, official.attributes)
    return LoadedDenoiser(denoiser, "EDM pickle", path, "ema")


def _from_checkpoint(path: Path) -> LoadedDenoiser:
    begins = tuple(f"{prefix}model." for prefixes in PREFIXES.values() for prefix in prefixes)
    state = without_prefixes(read_state_dict(path), lambda name: name.startswith(begins))
    found = {
        name: prefix for name, prefixes in PREFIXES.items() for prefix in prefixes if prefix + FIRST_LAYER in state
    }
    if found and "generator" not in found:
        raise UserError(f"{path} holds no generator but {listed(found)}; fix: name the file that holds it")
    # Without a known prefix all tensors are taken; the error lists what is missing.
    prefix = found.get("generator", "")
    network = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    del state  # the other networks are as large
    taken = f"generator ({prefix}*)" if prefix else "generator"
    return LoadedDenoiser(_from_official(path, network, {}), "DMD2 checkpoint", path, taken)


def _from_diffusers(folder: Path, preconditioning: Preconditioning | None) -> LoadedDenoiser:
    config = read_json(folder / "config.json")
    if config.get("_class_name") != "UNet2DModel" or not config.get("num_class_embeds"):
        raise UserError(
            f"{folder} holds a {printable(config.get('_class_name'))[:80]} for "
            f"{printable(config.get('num_class_embeds') or 'no')[:80]} classes; "
            "expected a class-conditional UNet2DModel; fix: name EDM's .pkl, or the folder of such a network"
        )
    root = folder.parent if folder.name == "unet" else folder
    index = root / "model_index.json"
    if preconditioning is None and index.is_file():
        pipeline = read_json(index).get("_class_name")
        preconditioning = "consistency" if pipeline == "ConsistencyModelPipeline" else None
    if preconditioning is None:
        raise UserError(
            f"nothing beside {folder} says how its network is used, and the wrong way gives bad images without "
            f"an error; fix: name the file that its training wrote, or a folder with {DESCRIPTION}"
        )
    # Without dropout, as DMD2 trains; OpenAI's teacher has 0.1 in its config.
    pickled = folder / PICKLED
    if pickled.is_file() and not any(any(folder.glob(name)) for name in WEIGHTS):
        with init_empty_weights():
            unet = UNet2DModel.from_config(config, dropout=0.0)
        fill(unet, read_state_dict(pickled), str(pickled), "what config.json describes")
    else:
        unet = load_network(UNet2DModel, folder, dropout=0.0)
    if preconditioning != "consistency":
        return LoadedDenoiser(_denoiser(unet, preconditioning), "diffusers", folder, preconditioning)
    schedule = ConsistencySchedule(_training_levels(root))
    denoiser = _denoiser(unet, preconditioning, schedule)
    return LoadedDenoiser(denoiser, "diffusers", folder, preconditioning, published_steps(schedule))


def _training_levels(root: Path) -> int:
    """Noise levels that a consistency model was trained with: its second step depends on them."""
    path = root / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        raise UserError(
            f"{root} holds no scheduler/scheduler_config.json: a consistency model needs its levels; "
            "fix: download the whole folder"
        )
    levels = read_json(path).get("num_train_timesteps")
    if type(levels) is not int or levels < 2:
        raise UserError(f"{path}: num_train_timesteps is {levels!r}; fix: download it again")
    return levels
