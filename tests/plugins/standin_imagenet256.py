"""The tasks of ImageNet-256 as a plug-in, as small as tests need: three classes, 32 pixels, few steps."""

from dataclasses import replace

from tasks.imagenet.task import LatentImageNetTask
from tasks.imagenet256 import TASK, TASK_DIT

PROTOCOLS = {
    name: replace(protocol, samples=12, repetitions=1, smoke=True) for name, protocol in TASK.protocols.items()
}


def small(task: LatentImageNetTask, name: str) -> LatentImageNetTask:
    return replace(
        task,
        name=name,
        image_shape=(3, 32, 32),
        classes=3,
        protocol=PROTOCOLS["imagenet256"],
        protocols=PROTOCOLS,
        baselines={key: replace(baseline, steps=2) for key, baseline in task.baselines.items()},
        recipes="imagenet256",
    )


SIT = small(TASK, "standin-sit")
DIT = small(TASK_DIT, "standin-dit")
