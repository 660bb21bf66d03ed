"""Find the files of a network's weights in a folder of diffusers or transformers."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, listed
from bench.core.escape import printable
from bench.core.files import regular_file
from bench.models.weights.state_dicts import LFS, refuse_pointer

STEMS = ("diffusion_pytorch_model", "model")
"""The names of files with weights, without their ends: of diffusers, of transformers."""
WHOLE, PARTS = ("{}.safetensors", "{}-0*.safetensors")
"""The name of a file with all weights, and the pattern of files with a part of them each."""
WEIGHTS = [pattern.format(stem) for stem in STEMS for pattern in (WHOLE, PARTS)]
"""The files that a network's weights are read from, whole or in parts; no others, because hashes cover these."""
VARIANT = re.compile(r"\w+\.(?P<variant>\w+)(?:-\d+-of-\d+)?\.(?:safetensors|bin)")
"""The name of a file of weights in another precision, such as diffusion_pytorch_model.fp16.safetensors."""
PIPELINE_INDEX = "model_index.json"
"""The file that names the class of a pipeline, and the classes of its parts."""


def weight_files(kind: Any, folder: Path, fix: str) -> list[Path]:
    """Return the files that a network of the class `kind` is read from, in order.

    Raises UserError if there are none, with the command that makes them of pickles or of a variant in half
    precision; if one is a link to nothing or a pointer of Git LFS; or if the weights are there twice.
    """
    entries = sorted(folder.iterdir())
    if broken := [entry for entry in entries if entry.is_symlink() and not entry.exists()]:
        target = printable(str(broken[0].readlink()))
        raise UserError(f"{broken[0]} is a link to {target}, which does not exist; fix: {fix}")
    files = [file for pattern in WEIGHTS for file in sorted(folder.glob(pattern))]
    if not files:
        names = [entry.name for entry in entries]
        raise UserError(
            f"{folder} has neither {WEIGHTS[0]} nor {WEIGHTS[2]}, only {listed(map(printable, names))}: pickles "
            f"and variants in half precision are not read; fix: {_rewriting(kind, folder, names) or fix}"
        )
    for stem in STEMS:
        whole, parts = folder / WHOLE.format(stem), sorted(folder.glob(PARTS.format(stem)))
        if whole in files and parts:
            raise UserError(
                f"{folder} holds weights whole ({whole.name}) and in parts ({parts[0].name}, ...), and does not "
                "say which to use; fix: move one of these out of the folder"
            )
    for file in files:
        with regular_file(file).open("rb") as opened:
            refuse_pointer(file, opened.read(len(LFS)))
    return files


def _rewriting(kind: Any, folder: Path, names: list[str]) -> str:
    """Return the command that writes such weights as whole safetensors into a new folder; empty if there are none.

    Of a pipeline's part it writes the pipeline, whose other parts have the same form.
    """
    found = [name for name in names if VARIANT.fullmatch(name) or Path(name).suffix == ".bin"]
    if not found:
        return ""
    variants = sorted({matched["variant"] for name in found if (matched := VARIANT.fullmatch(name))})
    whole = (folder.parent / PIPELINE_INDEX).is_file()
    library, named = (
        ("diffusers", "DiffusionPipeline") if whole else (kind.__module__.split(".")[0], kind.__name__)
    )
    source = str(folder.parent if whole else folder)
    options = f", variant={json.dumps(variants[0])}" if variants else ""
    program = (
        f"from {library} import {named} as N; "
        f"N.from_pretrained({json.dumps(source)}{options}).save_pretrained({json.dumps(source + '-whole')})"
    )
    return f"python -c {shlex.quote(program)}, and name {source}-whole"
