"""Tasks `imagenet256` and `imagenet256-dit`: ImageNet at 256x256 in SD's latents, with SiT or DiT as teacher."""

from dataclasses import replace

from bench.task.declaration import SolverBaseline
from bench.task.protocol import Protocol
from tasks.imagenet.task import LatentImageNetTask

PROTOCOL = Protocol(
    name="imagenet256",
    samples=50_000,
    repetitions=3,
    first_seed=0,
    labels="balanced",
    uint8="round",
    reference="to be chosen",
    features="inception-2015-12-05",
    metrics=("fd", "is"),
)
"""Our protocol: balanced classes, three generation seeds, mean and interval."""

ADM = replace(PROTOCOL, name="imagenet256-adm", labels="random", repetitions=1)
"""The protocol of DiT's and SiT's tables: 50,000 samples of classes drawn at random, ADM's reference."""

SIT_ODE = SolverBaseline(
    "teacher-ode",
    "SiT's ODE, Heun, 249 evaluations, guidance 1.5 on three channels (published: FID 2.15)",
    125,
    solver="flow-heun",
    guidance_scale=1.5,
    guided_channels=3,
)
"""The official script guides three of the four channels: `forward_with_cfg` in models.py of willisma/SiT."""
PLAIN = replace(
    SIT_ODE,
    name="teacher-unguided",
    summary="SiT's ODE, Heun, 249 evaluations, no guidance",
    guidance_scale=1.0,
    guided_channels=None,
)
INTERVAL = replace(
    SIT_ODE,
    name="teacher-interval",
    summary="SiT's ODE, Heun, guidance 1.8 on all channels at times below 0.7 (REPA's settings, on plain SiT)",
    guidance_scale=1.8,
    guidance_levels=(0.0, 0.7),
    guided_channels=None,
)

TASK = LatentImageNetTask(
    name="imagenet256",
    summary="ImageNet at 256x256 in the latents of SD's VAE, with SiT-XL/2, a rectified flow, as teacher",
    scale="paper",
    image_shape=(3, 256, 256),
    protocol=PROTOCOL,
    protocols={protocol.name: protocol for protocol in (PROTOCOL, ADM)},
    baselines={one.name: one for one in (SIT_ODE, PLAIN, INTERVAL)},
    licences={
        "images": "ImageNet's terms of access: research, non-commercial",
        "teacher": "MIT (SiT, willisma/SiT)",
        "vae": "MIT (stabilityai/sd-vae-ft-ema)",
        "features": "Apache-2.0 (TensorFlow's Inception of 2015-12-05)",
    },
    classes=1000,
    open_protocol="imagenet256",
    references={
        "imagenet-256x256": "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/imagenet/256/VIRTUAL_imagenet256_labeled.npz",
    },
    teacher_family="sit",
)

DDIM = SolverBaseline("teacher-ddim", "DiT, DDIM, 250 steps, guidance 1.5", 250, solver="ddim", guidance_scale=1.5)
DDIM_PLAIN = replace(
    DDIM, name="teacher-unguided", summary="DiT, DDIM, 250 steps, no guidance", guidance_scale=1.0
)

TASK_DIT = replace(
    TASK,
    name="imagenet256-dit",
    summary="ImageNet at 256x256 in the latents of SD's VAE, with DiT-XL/2, variance preserving, as teacher",
    baselines={one.name: one for one in (DDIM, DDIM_PLAIN)},
    licences={**TASK.licences, "teacher": "CC BY-NC 4.0 (Meta, DiT)"},
    recipes="imagenet256",
    teacher_family="dit",
)
