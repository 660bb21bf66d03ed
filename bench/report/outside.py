"""The note on rows whose images come from outside: files, a diffusers pipeline, or a function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.runs.given.plan import IMAGES, is_given
from bench.runs.record import Record


def outside_notes(records: Sequence[Record]) -> list[str]:
    """Return a note that says how the images of such rows were made; none if there are none."""
    found = [
        f"{record.method.name}: {', '.join(_facts(record))}" for record in records if is_given(record.sampler)
    ]
    if not found:
        return []
    return [
        f"Rows whose images come from outside, so that nothing here vouches for their seeds. {'. '.join(found)}."
    ]


def _facts(record: Record) -> Iterator[str]:
    """Yield the facts of one record: how its images were made, and their hash."""
    sampler, how = record.sampler, record.sampler.get(IMAGES)
    sha256 = record.checkpoint.sha256[:12] if record.checkpoint else "not known"
    if how == "given":
        yield f"images given as a {sampler.get('form')}, sha256 {sha256}"
        done, repetitions = sampler.get("repetitions"), record.protocol.get("repetitions")
        if done != repetitions:
            yield f"{done} of {repetitions} generation seeds and so no interval"
        if sampler.get("lossy"):
            formats = sampler.get("formats")
            yield f"lossy ({' and '.join(formats) if isinstance(formats, Mapping) else formats})"
        if sampler.get("repeated"):
            yield f"{sampler.get('repeated')} with the pixels of an earlier one"
    elif how == "function":
        yield f"the function {sampler.get('function')} of {sampler.get('file')}, sha256 {sha256}"
    else:
        yield from _of_pipeline(sampler, sha256)


def _of_pipeline(sampler: Mapping[str, Any], sha256: str) -> Iterator[str]:
    yield f"the pipeline {sampler.get('source')} ({sampler.get('pipeline')}), sha256 {sha256}"
    yield f"{sampler.get('scheduler')} with {sampler.get('num_inference_steps')} steps"
    if "guidance_scale" in sampler:
        yield f"guidance {sampler.get('guidance_scale')}"
    yield str(sampler.get("dtype"))
