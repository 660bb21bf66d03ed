"""Any image pipeline of diffusers, as it is published: a folder or a hub's model, loaded by diffusers itself.

Only safetensors are read, and only classes of diffusers and transformers: no pickle, and no code of the folder.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline, SchedulerMixin
from torch import nn

from bench.core.device import this_device
from bench.core.errors import UserError, first_line, listed, unknown
from bench.core.files import folder_sha256, read_json, refuse_special_files
from bench.models.stock_schedulers import own_scheduler, replaced, scheduler_class
from bench.models.text.hub import from_hub, local_path
from bench.models.text.parts import require_vocabulary
from bench.models.text.pipelines import INDEX, beside
from bench.models.weights.folders import former_class, load_network, quiet

FILES = ("**/*.safetensors", "**/*.json", "**/*.txt", "**/*.model")
"""Weights, configurations and tokenizers: what a pipeline is loaded from, and what its hash covers."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LIBRARIES = ("diffusers", "transformers")
UNCHANGED = {"safety_checker": None, "requires_safety_checker": False, "add_watermarker": False}
"""What keeps a pipeline from changing its images, where it has it: Stable Diffusion's checker paints images black,
and SDXL's pipeline adds a watermark on machines that have the package for it."""
OPTIONS = ("num_inference_steps", "guidance_scale")
"""The arguments of a pipeline's call that the user may give."""
FIXED: Mapping[str, Any] = {"clean_caption": False, "use_resolution_binning": False}
"""Arguments of a pipeline's call that have one value here, where it has them: PixArt's rewrites prompts on
machines that have the packages for it, and makes images of the nearest size that it knows, which it resizes."""


@dataclass(frozen=True)
class StockPipeline:
    """A pipeline's folder, and the settings by which it samples."""

    source: str
    """As the user named it."""
    folder: Path
    kind: type[DiffusionPipeline]
    """The class of the pipeline."""
    options: Mapping[str, Any]
    """The arguments of its call that the user gave."""
    scheduler: type[SchedulerMixin] | None
    """None: the folder's own."""
    dtype: str

    @property
    def takes(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of the pipeline's call."""
        return inspect.signature(self.kind.__call__).parameters

    @property
    def condition(self) -> str:
        """The argument that takes the conditions: `prompt`, or `class_labels`."""
        return "prompt" if "prompt" in self.takes else "class_labels"

    def settings(self) -> dict[str, Any]:
        """Return all settings that decide the images besides the weights and the seeds, as JSON data."""
        own = read_json(self.folder / INDEX).get("scheduler", [None, None])[1]  # some have several, of other names
        given = {name: self.takes[name].default for name in OPTIONS if name in self.takes} | dict(self.options)
        fixed = {name: value for name, value in FIXED.items() if name in self.takes}
        return {
            "pipeline": self.kind.__name__,
            "source": Path(self.source).name,
            "scheduler": self.scheduler.__name__ if self.scheduler else own,
            **{name: value for name, value in given.items() if value is not inspect.Parameter.empty},
            **fixed,
            "dtype": self.dtype,
            "diffusers": diffusers.__version__,
        }

    def sha256(self) -> str:
        """Return the hash of the files that the pipeline is loaded from."""
        return folder_sha256(self.folder, FILES)

    def load(self) -> DiffusionPipeline:
        """Load the pipeline on this process's device. Raises UserError if a part cannot be read."""
        takes = inspect.signature(self.kind.__init__).parameters
        unchanged = {name: value for name, value in UNCHANGED.items() if name in takes}
        networks = self._networks(unchanged)
        try:
            with quiet():
                pipeline = self.kind.from_pretrained(
                    self.folder,
                    torch_dtype=DTYPES[self.dtype],
                    use_safetensors=True,
                    local_files_only=True,
                    **unchanged,
                    **networks,
                )
        except Exception as error:  # diffusers and transformers raise many types
            raise UserError(
                f"the pipeline {self.source} cannot be loaded: {first_line(error)}; fix: give a complete folder "
                "in diffusers' format, with safetensors"
            ) from error
        if self.scheduler is not None:
            # The check before loading had the file's options; the pipeline may have corrected those of its own.
            pipeline.scheduler = replaced(pipeline.scheduler, self.scheduler, self.source)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(this_device())

    def _networks(self, unchanged: Mapping[str, Any]) -> dict[str, nn.Module]:
        """Load the networks, and check the tokenizers: diffusers makes up missing tensors and ignores others.

        Raises UserError that names the tensors.
        """
        found: dict[str, nn.Module] = {}
        for part, value in read_json(self.folder / INDEX).items():
            folder = self.folder / part
            if part in unchanged or not isinstance(value, list) or len(value) != 2:
                continue
            if part.startswith("tokenizer") and folder.is_dir():
                require_vocabulary(folder)
            kind = _network_class(value, folder)
            if kind is not None:
                found[part] = load_network(kind, folder, dtype=DTYPES[self.dtype])
        return found


def open_pipeline(
    source: str,
    download: bool,
    scheduler: str | None,
    steps: int | None,
    guidance: float | None,
    dtype: str,
) -> StockPipeline:
    """Find a pipeline and check the options of its sampling; nothing is loaded, or downloaded without `download`.

    Raises UserError if it is no pipeline of diffusers that takes prompts or class labels, or if it has no such
    setting.
    """
    folder = local_path(Path(source)) or from_hub(source, download, [file.removeprefix("**/") for file in FILES])
    if not (folder / INDEX).is_file():
        raise UserError(f"{source} has no {INDEX}: it is no pipeline in diffusers' format; fix: {beside(folder)}")
    refuse_special_files(folder)
    kind = _kind(source, read_json(folder / INDEX))
    if dtype not in DTYPES:
        raise unknown("--dtype", dtype, DTYPES)
    given = dict(zip(OPTIONS, (steps, guidance), strict=True))
    options = {name: value for name, value in given.items() if value is not None}
    other = scheduler_class(scheduler) if scheduler is not None else None
    if other is not None:
        replaced(own_scheduler(folder), other, source)
    found = StockPipeline(source, folder, kind, options, other, dtype)
    for name in options:
        if name not in found.takes:
            option = dict(zip(OPTIONS, ("--steps", "--guidance"), strict=True))[name]
            raise UserError(f"{kind.__name__} takes no {name}; fix: leave out {option}")
    return found


def _kind(source: str, parts: Mapping[str, Any]) -> type[DiffusionPipeline]:
    """Return the class of a pipeline, of which all parts are classes of known libraries."""
    name = parts.get("_class_name")
    kind = getattr(diffusers, name, None) if isinstance(name, str) and name.isidentifier() else None
    if not (inspect.isclass(kind) and issubclass(kind, DiffusionPipeline)):
        raise UserError(f"{source} is of the class {name!r}, which is no pipeline of diffusers; fix: name another")
    if foreign := [part for part, library in _libraries(parts) if not _is_known(library)]:
        raise UserError(
            f"{source}: {listed(foreign)} would run code that is not of {' or '.join(LIBRARIES)}; "
            "fix: name a pipeline without it"
        )
    takes = inspect.signature(kind.__call__).parameters
    if "prompt" not in takes and "class_labels" not in takes:
        raise UserError(
            f"{name} takes neither prompts nor class labels ({listed(list(takes)[1:])}); fix: name a pipeline "
            "that does, or write a function: --sampler FILE.py:FUNCTION"
        )
    return kind


def _network_class(named: list[Any], folder: Path) -> type[nn.Module] | None:
    """Return the class of a pipeline's part if it is a network of a known library, else None."""
    library, name = named
    if library not in LIBRARIES or not isinstance(name, str):
        return None
    kind = getattr(importlib.import_module(library), former_class(name, folder), None)
    return kind if inspect.isclass(kind) and issubclass(kind, nn.Module) else None


def _libraries(parts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for part, value in parts.items():
        if isinstance(value, list) and len(value) == 2 and value[0] is not None:
            yield part, value[0]


def _is_known(library: object) -> bool:
    """Say whether a part's library is one of ours, or a module of diffusers' own pipelines."""
    return library in LIBRARIES or (isinstance(library, str) and hasattr(diffusers.pipelines, library))
