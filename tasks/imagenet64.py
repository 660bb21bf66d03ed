"""Task `imagenet64`: ImageNet at 64x64 with EDM's teacher, the setting of the paper's Tables 1 and 3."""

from dataclasses import replace

from bench.task.declaration import Baseline
from bench.task.protocol import Protocol
from tasks.imagenet.task import ImageNetTask

OURS = Protocol(
    name="imagenet64",
    samples=50_000,
    repetitions=3,
    first_seed=0,
    labels="balanced",
    uint8="edm",
    reference="to be chosen",
    features="inception-2015-12-05",
    metrics=("fd", "is"),
)
"""Our protocol: balanced classes, three generation seeds, mean and interval."""

EDM = replace(OURS, name="imagenet64-edm", labels="random", metrics=("fd",), aggregate="minimum")
"""EDM's generate.py and fid.py: seeds 0 to 149,999, labels drawn after the latents, the minimum FID of three.

EDM draws on the GPU, ours on the CPU: other samples of the same distribution."""

DMD2_SCRIPT = replace(
    OURS,
    name="imagenet64-dmd2-script",
    repetitions=1,
    first_seed=10,
    uint8="truncate",
    metrics=("fd",),
    covariance_start="ones",
)
"""The official evaluation script on one GPU: sequential classes, truncation, a covariance that starts at 1.

It draws its noise from one CUDA stream seeded 10; here each sample has its own generator, from seed 10 on."""

TASK = ImageNetTask(
    name="imagenet64",
    summary="ImageNet at 64x64 with EDM's class-conditional teacher: the paper's Tables 1 and 3",
    scale="paper",
    image_shape=(3, 64, 64),
    protocol=OURS,
    protocols={protocol.name: protocol for protocol in (OURS, EDM, DMD2_SCRIPT)},
    baselines={
        "teacher-ode": Baseline("teacher-ode", "the teacher, Heun ODE sampler, 256 steps", 256),
        "teacher-sde": Baseline(
            "teacher-sde", "the teacher, Heun SDE sampler, 256 steps, churn 40", 256, churn=40
        ),
    },
    licences={
        "images": "ImageNet's terms of access: research, non-commercial",
        "teacher": "CC BY-NC-SA 4.0 (NVIDIA, edm-imagenet-64x64-cond-adm.pkl)",
        "features": "Apache-2.0 (TensorFlow's Inception of 2015-12-05)",
    },
    classes=1000,
    open_protocol="imagenet64",
    network_parameters=295_899_267,
    references={
        "imagenet-64x64": "https://nvlabs-fi-cdn.nvidia.com/edm/fid-refs/imagenet-64x64.npz",
    },
)
