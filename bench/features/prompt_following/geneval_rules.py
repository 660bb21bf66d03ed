"""GenEval's decision on an image: pure functions of detected objects and their colours.

Source: Ghosh et al. 2023, arXiv:2310.11513, with the constants of the published script.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.data.text.geneval import COLOURS, GenEvalPrompt, Wanted

THRESHOLD = 0.3
"""An object counts if its score is higher."""
COUNTING_THRESHOLD = 0.9
"""The same for the prompts that count objects."""
MOST_OBJECTS = 16
"""Objects of a class that are kept, those with the highest scores first. Boxes may overlap: the published
script's non-maximum suppression at 1.0 removes none."""
POSITION_THRESHOLD = 0.1
"""Part of both objects' sizes by which their centres must differ."""


@dataclass(frozen=True, eq=False)
class Detection:
    """An object that a detector found."""

    name: str
    score: float
    box: tuple[float, float, float, float]
    """Left, top, right and bottom in pixels."""
    mask: np.ndarray | None = None
    """[H, W] bool: its pixels, if the detector gives them."""


Objects = Mapping[str, Sequence[Detection]]
"""The objects of each class, those with the highest scores first."""
ColourOf = Callable[[Sequence[Detection]], Sequence[str]]
"""The colours of objects of one class; it is asked only where a prompt names a colour."""


class Judgement(NamedTuple):
    """Whether an image shows what its prompt asks for."""

    correct: bool
    reason: str
    """What is wrong, in the words of the published script; empty for a correct image."""


def kept_objects(detections: Iterable[Detection], task: str) -> Objects:
    """Return the objects that count for a prompt of this task, by class."""
    threshold = COUNTING_THRESHOLD if task == "counting" else THRESHOLD
    found: dict[str, list[Detection]] = defaultdict(list)
    for one in sorted(detections, key=lambda one: -one.score):
        if one.score > threshold and len(found[one.name]) < MOST_OBJECTS:
            found[one.name].append(one)
    return found


def judge(prompt: GenEvalPrompt, detections: Iterable[Detection], colours_of: ColourOf) -> Judgement:
    """Say whether the objects that were detected are those that a prompt asks for, and if not, why.

    Every condition is checked, also after one that failed. Colours and positions are those of the objects with the
    highest scores, as many as the prompt asks for.
    """
    objects = kept_objects(detections, prompt.task)
    reasons: list[str] = []
    matched: list[Sequence[Detection] | None] = []
    for wanted in prompt.include:
        found = objects.get(wanted.name, ())[: wanted.count]
        wrong = _included(wanted, found, matched, colours_of)
        reasons += [wrong] if wrong else []
        matched.append(None if wrong else found)
    for unwanted in prompt.exclude:
        count = len(objects.get(unwanted.name, ()))
        if count >= unwanted.count:
            reasons.append(f"expected {unwanted.name}<{unwanted.count}, found {count}")
    return Judgement(not reasons, "\n".join(reasons))


def _included(
    wanted: Wanted,
    found: Sequence[Detection],
    matched: Sequence[Sequence[Detection] | None],
    colours_of: ColourOf,
) -> str:
    """Return what is wrong with the objects of one entry; empty if nothing is."""
    if len(found) < wanted.count:
        return f"expected {wanted.name}>={wanted.count}, found {len(found)}"
    if wanted.colour is not None:
        colours = list(colours_of(found))
        if colours.count(wanted.colour) < wanted.count:
            seen = ", ".join(f"{colours.count(one)} {one}" for one in COLOURS if one in colours)
            return (
                f"expected {wanted.colour} {wanted.name}>={wanted.count}, found "
                f"{colours.count(wanted.colour)} {wanted.colour}; and {seen}"
            )
    if wanted.position is None:
        return ""
    relation, place = wanted.position
    targets = matched[place]
    if targets is None:
        return f"no target for {wanted.name} to be {relation}"
    for one in found:
        for target in targets:
            held = relations(one, target)
            if relation not in held:
                return f"expected {wanted.name} {relation} target, found {' and '.join(held)} target"
    return ""


def relations(one: Detection, other: Detection) -> tuple[str, ...]:
    """Return where an object is as seen from another: none, one or two of GenEval's relations.

    The offset of the centres is first reduced by a tenth of both objects' sizes. A direction then counts if it is
    more than half of the whole offset.
    """
    corners = np.array([one.box, other.box], dtype=np.float64).reshape(2, 2, 2)
    centres, sizes = corners.mean(axis=1), np.abs(corners[:, 1] - corners[:, 0])
    offset = centres[0] - centres[1]
    beyond = np.maximum(np.abs(offset) - POSITION_THRESHOLD * sizes.sum(axis=0), 0) * np.sign(offset)
    if (np.abs(beyond) < 1e-3).all():
        return ()
    x, y = beyond / np.linalg.norm(offset)
    held = {"left of": x < -0.5, "right of": x > 0.5, "above": y < -0.5, "below": y > 0.5}
    return tuple(name for name, is_so in held.items() if is_so)
