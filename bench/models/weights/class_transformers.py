"""Read teachers of the class-conditional families: official `.pt` files, diffusers' folders, our own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffusers import DiTTransformer2DModel

from bench.core.errors import UserError
from bench.core.escape import printable
from bench.core.files import read_json
from bench.models.backbones.dit import ClassTransformer, DiTDenoiser, SiTDenoiser, linear_schedule
from bench.models.descriptions import DESCRIPTION
from bench.models.saved import load_denoiser
from bench.models.schedules import FlowSchedule, VPSchedule
from bench.models.text.flow_scheduler import STATIC, schedule_options
from bench.models.text.vp_scheduler import schedule_of
from bench.models.weights.dit import read_official
from bench.models.weights.folders import load_network
from bench.models.weights.state_dicts import require

Kind = Literal["dit", "sit"]
PIPELINE = "DiTPipeline"


@dataclass(frozen=True)
class LoadedTransformer:
    """A denoiser read from published weights: frozen, in evaluation mode, on the CPU."""

    denoiser: ClassTransformer
    format: str
    source: Path
    """The file or folder whose bytes are the weights."""


def load_class_transformer(path: Path, kind: Kind) -> LoadedTransformer:
    """Load a denoiser of the family `kind` from a file or a folder.

    The networks of DiT and SiT have the same names and shapes, so an official file and a network's own folder are
    what the caller says. A pipeline's folder says what it is by its scheduler. Raises UserError for a damaged or
    foreign file, and for a pipeline of the other family.
    """
    require(path)
    if not path.is_dir():
        return LoadedTransformer(_denoiser(read_official(path), kind, "official"), "official file", path)
    if (path / DESCRIPTION).is_file():
        family = DiTDenoiser if kind == "dit" else SiTDenoiser
        return LoadedTransformer(load_denoiser(path, family).denoiser, "bench", path)
    folder = path / "transformer" if (path / "transformer").is_dir() else path
    schedule = None
    if (path / "model_index.json").is_file():
        schedule = _schedule(path, kind)
    network = load_network(DiTTransformer2DModel, folder)
    return LoadedTransformer(_denoiser(network, kind, "diffusers", schedule), "diffusers", folder)


def _denoiser(network: Any, kind: Kind, frequencies: str, schedule: VPSchedule | None = None) -> ClassTransformer:
    denoiser: ClassTransformer
    if kind == "dit":
        denoiser = DiTDenoiser(network, schedule or linear_schedule(), frequencies)
    else:
        denoiser = SiTDenoiser(network, FlowSchedule(), frequencies)
    return denoiser.eval().requires_grad_(False)


def _schedule(pipeline: Path, kind: Kind) -> VPSchedule | None:
    """Return DiT's schedule by a pipeline's scheduler; none for SiT. Raises UserError if it is of another kind."""
    file = pipeline / "model_index.json"
    index = read_json(file) if file.is_file() else {}
    if index.get("_class_name") != PIPELINE:
        raise UserError(
            f"{pipeline} is a {printable(index.get('_class_name'))[:80]}, but a pipeline of DiT or SiT is a "
            f"{PIPELINE}; fix: name the folder of one, or an official .pt"
        )
    path = pipeline / "scheduler" / "scheduler_config.json"
    about = read_json(path, "download the pipeline again")
    is_flow = str(about.get("_class_name")).startswith("FlowMatch")
    if is_flow != (kind == "sit"):
        other = "SiT, a rectified flow" if is_flow else "DiT, variance preserving"
        raise UserError(
            f"{pipeline} is a pipeline of {other}, by its scheduler {printable(about.get('_class_name'))[:80]}; "
            "fix: name it to the task of that family"
        )
    try:
        if is_flow:
            if schedule_options(about) != STATIC:
                raise UserError("it has a shift, and SiT has none; fix: name another folder")
            return None
        found = schedule_of(about, "linear")
        if found.prediction != "epsilon":
            raise UserError(f"it is for a network that predicts {found.prediction}; fix: name another folder")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return found
