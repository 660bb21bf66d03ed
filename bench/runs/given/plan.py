"""The evaluation of images that were not made by a student or a sampler of a task."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from bench.core.errors import UserError
from bench.runs.plan import Untrained, stem_of
from bench.runs.record import Record
from bench.task.base import Task
from bench.task.variations import names_sampler

Made = Literal["given", "pipeline", "function"]
"""How the images came to be: they were files, or a diffusers pipeline or a Python function made them."""

IMAGES: Final = "images"
"""The key of a record's sampler that says how the images were made; records of students have none."""
FACTS: Final = ("form", "formats", "lossy", "repeated", "repetitions")
"""Keys of a record's sampler that do not decide its numbers, besides the hash of the images."""


@dataclass(frozen=True)
class GivenRun(Untrained):
    """The evaluation, under a task's protocol, of images that come from outside of its students and samplers."""

    called: str
    """The method's name in tables, which the user chooses."""
    sha256: str
    """Hash of the images' pixels, of the pipeline's files, or of the function's file."""
    sampler: Mapping[str, Any]
    """The description for the record: how the images were made, under the key `images`, and all settings."""
    code: tuple[Path, ...] = ()
    """The user's file whose function made them, which is packed with the record as plug-in files are."""

    def begin(self, plugins: Iterable[Path] = ()) -> None:
        """Write the plan, as for all runs, with the file of the function among the plug-in files."""
        super().begin([*plugins, *self.code])

    @property
    def name(self) -> str:
        return self.called

    def content(self) -> dict[str, Any]:
        settings = {key: value for key, value in self.sampler.items() if key not in FACTS}
        return {"sha256": self.sha256, "sampler": settings}


def checked_name(name: str, task: Task, methods: Collection[str]) -> str:
    """Return the name of a row. Raises UserError if it says nothing, or belongs to a method or a sampler."""
    if not re.fullmatch(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", stem_of(name), re.ASCII):
        raise UserError(
            f"a row cannot be called {name!r}: a name begins and ends with a letter or a digit, and has ASCII "
            'letters; fix: --name "my model"'
        )
    if name in methods or names_sampler(task.baselines, name):
        raise UserError(
            f"{name!r} is the name of {'a method' if name in methods else f'a sampler of {task.name}'}, whose row "
            'other images must not join; fix: --name "my model"'
        )
    return name


def functions_of(records: Iterable[Record]) -> dict[str, str]:
    """Return the names of the functions that made the images of records, by the hashes of their files."""
    return {
        record.checkpoint.sha256: str(record.sampler.get("function"))
        for record in records
        if record.sampler.get(IMAGES) == "function" and record.checkpoint is not None
    }


def is_given(sampler: Mapping[str, Any]) -> bool:
    """Say whether a record's sampler is of images that come from outside of students and samplers."""
    return IMAGES in sampler
