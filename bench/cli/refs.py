"""`bench refs`: reference statistics of real images, imported from those that published them or built here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    CacheOption,
    OwnWeightsOption,
    PluginOption,
    ThreadsOption,
    WeightsOption,
)
from bench.cli.parsing import parse_names, parse_weights
from bench.cli.terminal import print
from bench.core.errors import UserError
from bench.runs.weights import refuse_unknown_weights
from bench.task.declaration import default_cache

if TYPE_CHECKING:
    import numpy as np

    from bench.core.progress import Progress
    from bench.features.references.make import RealImages

app = typer.Typer(help="Reference statistics of real images: import, build, list.", no_args_is_help=True)

NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the reference.", show_default="that of the file")
]
CropOption = Annotated[
    str | None, typer.Option("--crop", help="How the images were cropped and resized: edm, adm, ...")
]


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="EDM's or ADM's .npz, or EDM2's .pkl (read as data, never run).")],
    name: NameOption = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=2, help="Number of real images, if you know it.")
    ] = None,
    crop: CropOption = None,
    cache: CacheOption = None,
) -> None:
    """Check the statistics in a published file and keep them under a name."""
    from bench.features.references.sources import import_reference
    from bench.features.references.store import reference_store, save_reference

    for statistics in import_reference(path, name or path.stem, samples, crop):
        about = statistics.description
        folder = save_reference(statistics, reference_store(cache or default_cache()))
        size = len(statistics.mean)
        print(f"{about.name}: {size} features of {about.features}, sha256 {about.sha256[:16]}  {folder}")


@app.command("build")
def build(
    images: Annotated[
        Path,
        typer.Argument(
            help="A .npy file of uint8 [N, 3, H, W] that `bench prepare` wrote, or a folder of images."
        ),
    ],
    name: NameOption = None,
    crop: CropOption = None,
    size: Annotated[
        int | None, typer.Option("--size", min=1, help="Pixels to which a folder's centre squares are resized.")
    ] = None,
    extractor: Annotated[
        str, typer.Option("--extractor", help="Feature extractors with commas; see bench list extractors.")
    ] = "inception",
    weights: WeightsOption = [],
    own_weights: OwnWeightsOption = False,
    download: Annotated[bool, typer.Option("--download", help="Allow the weights to be downloaded.")] = False,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    keep: Annotated[
        int, typer.Option("--keep", min=0, help="Keep this many images' features, for KID and precision/recall.")
    ] = 10_000,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images at once.")] = 32,
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
    plugin: PluginOption = [],
) -> None:
    """Compute the mean and covariance of images' features in one pass, and keep them under a name."""
    from bench.runs.registry import load_catalogue

    catalogue, where = load_catalogue(plugin), cache or default_cache()
    entries = [catalogue.extractors.find(one) for one in parse_names([extractor], "--extractor")]
    named = parse_weights(weights)
    refuse_unknown_weights(named, [one.name for entry in entries for one in entry.load().weights])

    import torch

    from bench.core.cpu import compute_on_cpu
    from bench.core.progress_bars import StatusProgress
    from bench.features.pinned import find, pin
    from bench.features.references.make import FeatureSpace, make_references
    from bench.features.references.store import reference_store, save_reference

    if device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"--device {device}: torch finds no CUDA device here; fix: --device cpu")
    compute_on_cpu(threads)
    progress = StatusProgress()
    real = _real_images(images, size, batch_size, progress)
    if crop is not None:
        real = replace(real, crop=crop)
    spaces: dict[str, FeatureSpace] = {}
    for entry in entries:
        one = entry.load()
        found = {w.name: find(w, named.get(w.name), where, download, progress, own_weights) for w in one.weights}
        extract = one.load({key: value.path for key, value in found.items()}, device)
        for key, value in found.items():
            pin(key, value, where)
        suffix = f"-{one.name}" if spaces else ""
        spaces[suffix] = FeatureSpace(one.network(found, entry.plugin_sha256), extract)
    for statistics in make_references(real, spaces, name or images.stem, progress, keep).values():
        about = statistics.description
        folder = save_reference(statistics, reference_store(where))
        print(f"{about.name}: {about.samples} images, {about.features}, sha256 {about.sha256[:16]}  {folder}")


@app.command("list")
def list_(cache: CacheOption = None) -> None:
    """List the references that are here."""
    from bench.features.references.store import list_references, reference_store

    found = list_references(reference_store(cache or default_cache()))
    if not found:
        print("no references; get one: bench refs import FILE, or bench refs build IMAGES.npy")
    for about in found:
        samples = f"{about.samples} images" if about.samples else "images not counted"
        crop = f", crop {about.crop}" if about.crop else ""
        print(
            f"{about.name:<32}{about.features:<32}{samples}{crop}, from {about.source} {about.source_sha256[:12]}"
        )


def _real_images(path: Path, size: int | None, batch_size: int, progress: Progress) -> RealImages:
    """Return the images of a .npy file or a folder. Raises UserError if there are none, or an option is idle."""
    from bench.core.files import file_sha256
    from bench.data.source import images_under
    from bench.data.text.folders import ImageFiles
    from bench.features.references.make import array_images, folder_images

    if path.is_dir():
        if size is None:
            raise UserError(f"{path} is a folder, whose images may have different sizes; fix: --size PIXELS")
        found = images_under(path)
        files = ImageFiles(path, found.paths, found.skipped)
        progress.note(files.tally())
        return folder_images(files, size, batch_size=batch_size)
    if size is not None:
        raise UserError(f"--size goes with a folder, and {path} is none; fix: leave it out")
    return array_images(_images(path), path.name, file_sha256(path), batch_size)


AS_ARRAY = "fix: save uint8 images [N, 3, H, W] with numpy.save, or name a folder of images"


def _images(path: Path) -> np.ndarray:
    """Map the images of a .npy file. Raises UserError if they are no images."""
    import numpy as np

    from bench.core.files import regular_file

    try:
        stack = np.load(regular_file(path), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is no .npy file of numbers: {error}; {AS_ARRAY}") from error
    if not isinstance(stack, np.ndarray) or stack.dtype != np.uint8 or stack.ndim != 4 or stack.shape[1] != 3:
        shape = f"{stack.dtype} {list(stack.shape)}" if isinstance(stack, np.ndarray) else "an archive"
        raise UserError(f"{path} must hold uint8 [N, 3, H, W], not {shape}; {AS_ARRAY}")
    return stack
