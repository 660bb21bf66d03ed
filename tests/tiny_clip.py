"""OpenAI's CLIP as open_clip builds it, tiny: 32 pixels, two layers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest

SIDE, LAYERS, WIDTH = 32, 2, 64
"""Of the image's transformer; it has one head, as long as in the published network."""


@contextlib.contextmanager
def tiny_openai_clip(name: str, embedding: int, folder: Path) -> Iterator[None]:
    """Let open_clip know the architecture `name`, with embeddings of this length, within a `with` block."""
    vision = {"image_size": SIDE, "layers": LAYERS, "width": WIDTH, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": embedding, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS])
        open_clip.add_model_config(path)
        yield
