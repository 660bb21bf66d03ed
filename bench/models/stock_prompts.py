"""How much of a prompt the tokenizers of a diffusers pipeline read, which diffusers says of every call anew."""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any

from diffusers import DiffusionPipeline
from transformers import CLIPTokenizer, PreTrainedTokenizerBase

from bench.models.text.encoders import fit, lower_case

LIMIT, INSTRUCTION, REWRITES = "max_sequence_length", "complex_human_instruction", "clean_caption"
"""Arguments of a pipeline's call: the tokens that other tokenizers than CLIP's read, what stands before a prompt
(SANA), and the sign of pipelines that read prompts in lower case (SANA, PixArt)."""
CUT = re.compile(r"part of your input was truncated because|sequence length is longer than the specified maximum")
"""What diffusers and transformers say of prompts that are cut."""


def read_whole(pipeline: DiffusionPipeline, prompts: Sequence[str]) -> list[bool]:
    """Return of each prompt whether the tokenizer with the most tokens reads it to its end.

    A pipeline whose tokenizers are not called so, or say no number of tokens, is taken to read all.
    """
    takes = inspect.signature(type(pipeline).__call__).parameters
    before = "\n".join(takes[INSTRUCTION].default) if INSTRUCTION in takes else ""
    texts = [before + prompt for prompt in (lower_case(prompts) if REWRITES in takes else prompts)]
    parts = [part for name, part in pipeline.components.items() if name.startswith("tokenizer")]
    read = [
        fit(tokenizer, texts, _tokens(tokenizer, takes[LIMIT].default if LIMIT in takes else None, before))
        for tokenizer in parts
        if isinstance(tokenizer, PreTrainedTokenizerBase)
    ]
    return [any(whole) for whole in zip(*read, strict=True)] or [True] * len(prompts)


def _tokens(tokenizer: PreTrainedTokenizerBase, limit: Any, before: str) -> int:
    """Return the number of tokens at which a pipeline cuts a text; `before` stands before every prompt."""
    if limit is None or isinstance(tokenizer, CLIPTokenizer):
        return int(tokenizer.model_max_length)
    # Both texts together, as the published code of SANA counts them.
    return int(limit) + (len(tokenizer.encode(before)) - 2 if before else 0)


@contextlib.contextmanager
def without_cut_warnings() -> Iterator[None]:
    """Within it, diffusers and transformers do not say that they cut prompts; all else that they say is shown."""
    handlers = [one for name in ("diffusers", "transformers") for one in logging.getLogger(name).handlers]
    for handler in handlers:
        handler.addFilter(_is_other)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_other)


def _is_other(record: logging.LogRecord) -> bool:
    return CUT.search(record.getMessage()) is None
