"""The 80 kinds of objects of COCO, by the names in GenEval's prompts."""

from __future__ import annotations

from collections.abc import Mapping

from bench.core.errors import UserError, listed

NAMES: tuple[str, ...] = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "computer mouse", "tv remote"),
    *("computer keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book"),
    *("clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)

OTHER_NAMES: Mapping[str, str] = {
    "mouse": "computer mouse",
    "remote": "tv remote",
    "keyboard": "computer keyboard",
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}
"""Names of COCO and of older label files, which detectors use, for the names above."""


def detector_names(labels: Mapping[int, str], whose: str) -> dict[int, str]:
    """Return GenEval's name of each label of a detector.

    Raises UserError unless the labels are exactly the 80 kinds, each once: with others every object would be
    missed, and every score 0.
    """
    found = {number: OTHER_NAMES.get(name.strip(), name.strip()) for number, name in labels.items()}
    missing = sorted(set(NAMES) - set(found.values()))
    other = sorted(set(found.values()) - set(NAMES))
    if missing or other or len(found) != len(NAMES):
        raise UserError(
            f"{whose} does not detect COCO's {len(NAMES)} kinds of objects: it has {len(found)} labels, lacks "
            f"{listed(missing)}, and has besides {listed(other)}; fix: name a network with COCO's instance labels"
        )
    return found
