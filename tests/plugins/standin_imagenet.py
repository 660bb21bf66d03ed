"""ImageNet-64 as a plug-in, as small as tests need: three classes, few samples, teacher samplers of two steps."""

from dataclasses import replace

from tasks.imagenet64 import TASK

SMALL = {
    name: replace(protocol, samples=6, repetitions=min(2, protocol.repetitions), metrics=("fd",), smoke=True)
    for name, protocol in TASK.protocols.items()
}

# Rows are trained and resumed with the cheapest metric; the other protocols measure distances.
SMALL["quick"] = replace(SMALL["imagenet64"], name="quick", samples=10, repetitions=1, metrics=("is",))

STANDIN = replace(
    TASK,
    name="standin64",
    summary="ImageNet-64 for tests",
    classes=3,
    protocol=SMALL["imagenet64"],
    protocols=SMALL,
    baselines={name: replace(baseline, steps=2) for name, baseline in TASK.baselines.items()},
)
