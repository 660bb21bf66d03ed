"""The real images of a text-to-image protocol: the folder that the user named, as statistics are made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.core.errors import UserError
from bench.data.source import Files
from bench.data.text.coco import locate_images, real_images
from bench.data.text.folders import ImageFiles
from bench.features.references.make import RealImages, folder_images
from bench.task.pinned import PinnedAsset


def open_reals(folder: Path, names: Sequence[str]) -> ImageFiles:
    """Return the images of these names anywhere under a folder, or without names all of them.

    Raises UserError if the folder has none, or lacks one.
    """
    found = Files(locate_images(folder, names), Counter()) if names else real_images(folder)
    return ImageFiles(folder, found.paths, found.skipped)


def pinned_reals(asset: PinnedAsset, names: Sequence[str], side: int, called: str) -> RealImages:
    """Return the images of a pinned folder, cropped to squares of `side` pixels, with their originals.

    `called` are the options that name the task in a command (`Task.called`).
    Raises UserError if the folder is missing or has changed.
    """
    files = open_reals(Path(asset.path), names)
    if files.index_sha256 != asset.sha256:
        raise UserError(
            f"the real images in {asset.path} have changed since bench prepare pinned them; "
            f"fix: bench prepare {called} --reals FOLDER"
        )
    return folder_images(files, side)
