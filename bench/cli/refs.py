"""`bench refs`: reference statistics of real images, imported from those that published them or built here."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import CacheOption, ThreadsOption
from bench.cli.terminal import print
from bench.core.errors import UserError
from bench.task.base import default_cache

if TYPE_CHECKING:
    import numpy as np

app = typer.Typer(help="Reference statistics of real images: import, build, list.", no_args_is_help=True)

NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the reference.", show_default="that of the file")
]
CropOption = Annotated[
    str | None, typer.Option("--crop", help="How the images were cropped and resized: edm, adm, ...")
]


class Network(StrEnum):
    """The two files that the FID Inception comes in."""

    port = "port"
    torchscript = "torchscript"


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
    from bench.features.reference_sources import import_reference
    from bench.features.reference_store import reference_store, save_reference

    for statistics in import_reference(path, name or path.stem, samples, crop):
        about = statistics.description
        folder = save_reference(statistics, reference_store(cache or default_cache()))
        size = len(statistics.mean)
        print(f"{about.name}: {size} features of {about.features}, sha256 {about.sha256[:16]}  {folder}")


@app.command("build")
def build(
    images: Annotated[
        Path, typer.Argument(help="A .npy file of uint8 [N, 3, H, W], such as `bench prepare` writes.")
    ],
    name: NameOption = None,
    crop: CropOption = None,
    network: Annotated[Network, typer.Option("--network", help="Which file of the FID Inception.")] = Network.port,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Where that file is, if not in the cache.")
    ] = None,
    own_weights: Annotated[
        bool, typer.Option("--own-weights", help="Take --weights whatever its hash; not comparable with others.")
    ] = False,
    run_torchscript_code: Annotated[
        bool,
        typer.Option("--run-torchscript-code", help="Run the program in --weights, whoever wrote it."),
    ] = False,
    download: Annotated[bool, typer.Option("--download", help="Allow the weights to be downloaded.")] = False,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    spatial: Annotated[bool, typer.Option("--spatial", help="Also the spatial features, for sFID.")] = False,
    dinov2: Annotated[
        Path | None, typer.Option("--dinov2", help="Also DINOv2's features: its folder, for FD-DINOv2.")
    ] = None,
    keep: Annotated[
        int, typer.Option("--keep", min=0, help="Keep this many images' features, for KID and precision/recall.")
    ] = 10_000,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images at once.")] = 32,
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
) -> None:
    """Compute the mean and covariance of images' features in one pass, and keep them under a name."""
    stack = _images(images)

    import torch
    from rich.console import Console

    from bench.core.files import file_sha256
    from bench.core.progress_bars import StatusProgress
    from bench.features.dinov2 import load_dinov2
    from bench.features.inception import PORT, TORCHSCRIPT, load_inception
    from bench.features.reference_sources import references_from, seen_in_batches
    from bench.features.reference_store import reference_store, save_reference
    from tasks.imagenet.task import spatial_of

    if device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"--device {device}: torch sees no CUDA device here; --device cpu works everywhere")
    torch.set_num_threads(threads)
    progress = StatusProgress(Console(stderr=True))
    inception = load_inception(
        weights,
        cache or default_cache(),
        download=download,
        progress=progress,
        file=PORT if network is Network.port else TORCHSCRIPT,
        taps=("pool", "spatial") if spatial else ("pool",),
        device=device,
        batch_size=batch_size,
        own_weights=own_weights,
        run_code=run_torchscript_code,
    )
    named = {"": inception.name}
    if spatial:
        named["-spatial"] = spatial_of(inception.name)
    dino = load_dinov2(dinov2, device) if dinov2 else None
    if dino is not None:
        named["-dinov2"] = dino.name

    def see(batch: np.ndarray) -> dict[str, np.ndarray]:
        found = inception(torch.from_numpy(batch))
        seen = {"": found["pool"].numpy()}
        if spatial:
            seen["-spatial"] = found["spatial"].numpy()
        if dino is not None:
            seen["-dinov2"] = dino(torch.from_numpy(batch)).numpy()
        return seen

    made = references_from(
        seen_in_batches(stack, see, batch_size),
        len(stack),
        name or images.stem,
        named,
        source=images.name,
        source_sha256=file_sha256(images),
        crop=crop,
        progress=progress,
        keep=keep,
    )
    for statistics in made:
        about = statistics.description
        folder = save_reference(statistics, reference_store(cache or default_cache()))
        print(f"{about.name}: {about.samples} images, {about.features}, sha256 {about.sha256[:16]}  {folder}")


@app.command("list")
def list_(cache: CacheOption = None) -> None:
    """List the references that are here."""
    from bench.features.reference_store import list_references, reference_store

    found = list_references(reference_store(cache or default_cache()))
    if not found:
        print("no references; get one: bench refs import FILE, or bench refs build IMAGES.npy")
    for about in found:
        samples = f"{about.samples} images" if about.samples else "images not counted"
        crop = f", crop {about.crop}" if about.crop else ""
        print(
            f"{about.name:<32}{about.features:<32}{samples}{crop}, from {about.source} {about.source_sha256[:12]}"
        )


def _images(path: Path) -> np.ndarray:
    """Map the images of a .npy file. Raises UserError if they are no images."""
    import numpy as np

    from bench.core.files import regular_file

    try:
        stack = np.load(regular_file(path), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is no .npy file of numbers: {error}") from error
    if not isinstance(stack, np.ndarray) or stack.dtype != np.uint8 or stack.ndim != 4 or stack.shape[1] != 3:
        shape = f"{stack.dtype} {list(stack.shape)}" if isinstance(stack, np.ndarray) else "an archive"
        raise UserError(f"{path} must hold uint8 [N, 3, H, W], not {shape}")
    return stack
