"""The page that raters get: one HTML file with the pictures inside, which needs no server and asks for nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from bench.report.study.protocol import Question

SMALL_SIDE = 128
"""Images up to this side are stored without compression, so that all pictures have the same size in bytes, and are
enlarged with visible pixels, so that the browser adds no blur of its own."""
QUALITY = 95
"""Larger images lose what nobody sees: 128 pairs of 1024 x 1024 would otherwise take 400 MB."""
MEDIA_TYPES = {"PNG": "image/png", "WEBP": "image/webp"}


@dataclass(frozen=True, eq=False)
class ShownPair:
    """A pair as the page shows it."""

    name: str
    prompt: str
    picture: bytes
    """Both images side by side in one file, so that there are no two files to compare."""


def format_of(height: int, width: int) -> str:
    """Return the format of the pictures for images of this size."""
    return "PNG" if max(height, width) <= SMALL_SIDE else "WEBP"


def encoding_of(height: int, width: int) -> str:
    """Return the pictures' format and settings in words, for the key."""
    return "PNG, not compressed" if format_of(height, width) == "PNG" else f"WebP, quality {QUALITY}"


def picture(first: np.ndarray, second: np.ndarray) -> bytes:
    """Encode two images [H, W, C] uint8, C 1 or 3, as one of twice the width, without any metadata."""
    from PIL import Image

    both = np.concatenate([first, second], axis=1)
    image = Image.fromarray(both.squeeze(-1) if both.shape[-1] == 1 else both)
    encoded, kind = io.BytesIO(), format_of(*first.shape[:2])
    settings = {"compress_level": 0} if kind == "PNG" else {"quality": QUALITY, "method": 6}
    image.save(encoded, format=kind, **settings)
    return encoded.getvalue()


def page(study: str, questions: Sequence[Question], pairs: Sequence[ShownPair], height: int, width: int) -> str:
    """Return the page's HTML; `study` is the key's digest, and images are `height` x `width` pixels.

    Prompts are hostile text: they are in a JSON block whose `<` is escaped, and are shown as text.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    templates = files(__package__) / "templates"
    script, style = ((templates / f"page.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    data = {
        "study": study,
        "questions": [question.name for question in questions],
        "width": width,
        "height": height,
        "pixels": max(height, width) <= SMALL_SIDE,
        "type": MEDIA_TYPES[format_of(height, width)],
        "pairs": [
            {"name": pair.name, "prompt": pair.prompt, "picture": base64.b64encode(pair.picture).decode()}
            for pair in pairs
        ],
    }
    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html").render(
        script=Markup(script),
        script_sha256=_source_hash(script),
        style=Markup(style),
        style_sha256=_source_hash(style),
        data=Markup(json.dumps(data).replace("<", "\\u003c")),
        pairs=len(pairs),
        prompts=any(pair.prompt for pair in pairs),
        questions=questions,
    )


def _source_hash(text: str) -> str:
    """Return the hash by which the page's security policy knows its own script and style."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
