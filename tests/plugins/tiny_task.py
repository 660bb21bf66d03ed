"""A task as a plug-in: `digits` with a network, a teacher and a protocol so small that tests take seconds."""

from dataclasses import replace

from tasks.digits.task import TASK as DIGITS
from tasks.micro.task import NetworkSpec

TINY = replace(
    DIGITS,
    name="tiny",
    summary="digits for tests",
    protocol=replace(DIGITS.protocol, name="tiny", samples=120, repetitions=2, smoke=True),
    baselines={name: replace(baseline, steps=3) for name, baseline in DIGITS.baselines.items()},
    network=NetworkSpec(channels=(16,), patch_size=2, sigma_data=0.75, norm_groups=4),
    teacher=replace(DIGITS.teacher, iterations=5, batch_size=16),
    classifier=replace(DIGITS.classifier, epochs=1),
)
