"""The teachers of ImageNet tasks: published weights, which are converted once."""

from __future__ import annotations

from pathlib import Path

from bench.core.files import folder_sha256, path_sha256
from bench.core.made import made_once
from bench.core.path_names import path_name
from bench.core.progress import Progress
from bench.models.saved import save_denoiser
from bench.models.weights.checkpoints import LoadedDenoiser
from bench.models.weights.class_transformers import LoadedTransformer
from bench.models.weights.folders import unknown_options
from tasks.imagenet.task import PinnedAsset


def pinned_teacher(
    task: str, loaded: LoadedDenoiser | LoadedTransformer, source: Path, cache: Path, progress: Progress
) -> PinnedAsset:
    """Convert the weights that were loaded from `source` to a folder that is named by the hash of their bytes."""
    for line in unknown_options(source):
        progress.note(line)
    made_of = path_sha256(loaded.source)
    folder = cache / "teachers" / f"{task}-{made_of[:12]}"
    with made_once(folder) as missing:
        if missing:
            save_denoiser(loaded.denoiser, folder)
    return PinnedAsset(str(folder), folder_sha256(folder), f"{path_name(source)} ({loaded.format})")
