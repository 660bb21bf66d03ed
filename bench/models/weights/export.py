"""Export students: a diffusers folder with a model card that says how to use it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import whole_folder, write_text
from bench.models.backbones.edm import EDMDenoiser
from bench.models.saved import save_denoiser
from bench.models.weights.consistency import ConsistencyDenoiser

CARD = "README.md"


def export_student(denoiser: EDMDenoiser, folder: Path, indices: Sequence[int], title: str, licence: str) -> None:
    """Write a student: `folder`/unet for diffusers, denoiser.json for bench, README.md for people.

    `indices` are the grid positions of its steps, descending; `licence` is that of the weights, one line.
    The folder appears whole; `bench.models.saved.load_denoiser` reads it back. A student with a second time input,
    which diffusers alone does not run, has no README. Raises UserError for a consistency model, whose scalings the
    saved form does not hold.
    """
    if isinstance(denoiser, ConsistencyDenoiser):
        raise UserError("a consistency model cannot be saved as a student: it would be read back as EDM's")
    with whole_folder(folder) as temporary:
        save_denoiser(denoiser, temporary, indices)
        if denoiser.interval is None:
            write_text(temporary / CARD, model_card(denoiser, indices, title, licence))


def model_card(denoiser: EDMDenoiser, indices: Sequence[int], title: str, licence: str) -> str:
    """Write the card: how to load the network with diffusers alone and sample it, in code that runs.

    The code is complete: run in the student's folder, it leaves images [B, C, H, W] in `x0`.
    """
    if not indices:
        raise UserError("a card is written for a student: its steps (grid positions) are missing")
    (channels, side, _), patch = denoiser.sample_shape, denoiser.patch_size
    sigmas = [float(f"{denoiser.schedule.grid[index].item():.7g}") for index in indices]
    fold, unfold = "", ""
    if patch > 1:
        fold = f"    x_in = torch.nn.functional.pixel_unshuffle(x_in, {patch})\n"
        unfold = f"    output = torch.nn.functional.pixel_shuffle(output, {patch})\n"
    return f"""# {title}

Generates images of {side}x{side} pixels and {channels} channel{"s" if channels > 1 else ""}, in \
{len(sigmas)} step{"s" if len(sigmas) > 1 else ""}, for {denoiser.classes} classes.

Licence of the weights: {licence}

The network is a plain diffusers model:

```python
from diffusers import UNet2DModel
unet = UNet2DModel.from_pretrained("unet")
```

It predicts images under EDM's preconditioning, from x = x0 + sigma * noise:

```python
import torch

def denoise(x, sigma, labels):
    data = {denoiser.schedule.sigma_data}  # standard deviation of the images
    total = (sigma**2 + data**2) ** 0.5
    x_in = x / total
    timestep = torch.full((len(x),), sigma).log() / 4  # a tensor: diffusers cuts a float to an integer
{fold}    output = unet(x_in, timestep, class_labels=labels).sample
{unfold}    return (data / total) ** 2 * x + sigma * data / total * output
```

Images, one for each label, in [-1, 1]:

```python
labels = torch.tensor([0, 1])
x0 = torch.zeros(len(labels), {channels}, {side}, {side})
with torch.no_grad():
    for sigma in {sigmas}:
        x0 = denoise(x0 + sigma * torch.randn_like(x0), sigma, labels)
images = (x0 * 127.5 + 128).clamp(0, 255).to(torch.uint8)
```
"""
