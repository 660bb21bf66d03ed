"""Read text-to-image pipelines from the hub's cache, a folder or one file: each family reads its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from diffusers import AutoencoderTiny
from torch import Tensor

from bench.core.errors import UserError, listed
from bench.core.escape import printable, shell_path
from bench.core.files import read_json
from bench.models.backbones.base import every_family
from bench.models.backbones.text import PipelineFile, TextFamily, TextPipeline
from bench.models.text.hub import from_hub, local_path
from bench.models.text.latents import LatentSpace
from bench.models.weights.folders import load_network
from bench.models.weights.state_dicts import file_kind, read_state_dict, require
from bench.models.weights.weight_files import PIPELINE_INDEX as INDEX
from bench.models.weights.weight_files import WEIGHTS

Check = Callable[[Path], None]
"""A check of a pipeline's folder or file, which raises UserError."""
TINY_VAE_FILES = ["config.json", *WEIGHTS]


def load_pipeline(
    source: str | Path,
    download: bool = False,
    architecture: str | Path | None = None,
) -> TextPipeline:
    """Read a pipeline: a folder in diffusers' format, one .safetensors file, or a model on the hub ("owner/name").

    Nothing is downloaded without `download`: a hub's model must then be in its cache. A single file holds no
    configuration; that of `architecture` (a folder, or a hub's model without its weights) is used, by default
    that of the published model. Raises UserError that names the broken part.
    """
    path = Path(source)
    if path.is_file():
        return _from_file(path, architecture, download)
    if not path.is_dir() and (path.exists() or str(source).count("/") != 1):
        require(path)
    folder = path if path.is_dir() else pipeline_from_hub(str(source), download)
    return pipeline_family(folder).read_pipeline(folder)


def load_tiny_vae(source: str | Path) -> LatentSpace:
    """Read a tiny VAE, a folder or a hub's model ("madebyollin/taesdxl"), as another latent space of a model."""
    path = Path(source)
    folder = path if path.is_dir() else from_hub(str(source), False, TINY_VAE_FILES)
    return LatentSpace(load_network(AutoencoderTiny, folder))


def pipeline_family(folder: Path) -> type[TextFamily]:
    """Return the family that reads a pipeline's folder, by its model_index.json. Raises UserError."""
    if not (folder / INDEX).is_file():
        raise UserError(
            f"{folder} has no {INDEX}: not a pipeline in diffusers' folder format; fix: {beside(folder)}"
        )
    named = _class_named(folder)
    known: list[str] = []
    for family in _families():
        if named in family.pipelines:
            return family
        known += family.pipelines
    raise UserError(
        f"{folder} holds a {printable(named)[:80]}, which no backbone family reads; known: {', '.join(known)}; "
        "fix: name another pipeline, or --plugin FILE with a family that reads it"
    )


def pipeline_class(path: Path) -> str:
    """Return the class of diffusers' pipelines of which a folder or a file is one, without its networks.

    Raises UserError if no family reads it.
    """
    if path.is_dir():
        pipeline_family(path)
        return str(_class_named(path))
    state = _tensors(path)
    return _file_family(path, state).one_file_class(state)


def _class_named(folder: Path) -> Any:
    return read_json(folder / INDEX).get("_class_name")


def beside(folder: Path) -> str:
    """Return the fix for a folder that is no pipeline: to name the pipeline that holds it, or that it holds.

    A folder of the hub's cache holds a model's versions, each in `snapshots/HASH`.
    """
    near = [folder.parent, *sorted(folder.glob("*")), *sorted(folder.glob("snapshots/*"))]
    found = [shell_path(one) for one in near if (one / INDEX).is_file()]
    return f"name {' or '.join(found)}" if found else f"name the folder that holds {INDEX}"


def pipeline_from_hub(name: str, download: bool, check: Check | None = None) -> Path:
    """Return a hub's pipeline in the cache; with `download`, download first what its family reads.

    `check` gets its folder before its networks are there.
    """
    folder = from_hub(name, download, [INDEX])
    if check is not None:
        check(folder)
    return from_hub(name, download, pipeline_family(folder).pipeline_files())


def named_pipeline(named: Path, download: bool, check: Check | None = None) -> Path:
    """Return the path of a pipeline that a user named: a local folder or file, or a hub's model.

    `check` gets that path before anything large is downloaded. Raises UserError if it is neither, with the nearest
    names.
    """
    path = local_path(named)
    if path is None:
        return pipeline_from_hub(str(named), download, check)
    if check is not None:
        check(path)
    return path


def _from_file(path: Path, architecture: str | Path | None, download: bool) -> TextPipeline:
    state = _tensors(path)
    return _file_family(path, state).read_one_file(PipelineFile(path, state, architecture, download))


def _tensors(path: Path) -> Mapping[str, Tensor]:
    if file_kind(path) != "safetensors":
        raise UserError(f"{path} is not a .safetensors file; fix: name a .safetensors file or a diffusers folder")
    return read_state_dict(path)


def _file_family(path: Path, names: Collection[str]) -> type[TextFamily]:
    """Return the family that reads a file with tensors of these names. Raises UserError."""
    for family in _families():
        if any(name.startswith(family.one_file_marks) for name in names):
            return family
    raise UserError(
        f"{path} is not a pipeline in one file: it holds {listed(map(printable, names))}; "
        "fix: name the whole file, or a diffusers folder"
    )


def _families() -> Iterator[type[TextFamily]]:
    return (family for family in every_family() if issubclass(family, TextFamily))
