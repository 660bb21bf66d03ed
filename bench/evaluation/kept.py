"""What an evaluation keeps of a repetition: its images, and the features of each extractor, with what made them.

Metrics that are added later read these files and generate nothing. A file is used only if all that made it is the
same, and its content is what was written; otherwise the reason is said, and the evaluation makes it again.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.core.errors import UserError
from bench.core.files import digest, file_sha256, read_object, whole_file, write_text
from bench.evaluation.image_source import Generated, ImageSource, classes_of
from bench.evaluation.kept_features import read_features, write_features
from bench.evaluation.png import batch_of, from_png
from bench.evaluation.teacher_images import NOT_OF_IMAGES, NOT_OF_TEXT_IMAGES
from bench.features.views import Features
from bench.task.base import PreparedTask
from bench.task.protocol import Protocol


@dataclass(frozen=True)
class Keeping:
    """Where an evaluation keeps files, and which it writes; it reads those that are there in any case."""

    folder: Path | None = None
    """RUN/kept; None: nothing is read or written."""
    kinds: Collection[str] = ()
    """`images`, `features`, both or nothing."""
    sampler: Mapping[str, Any] = field(default_factory=dict)
    """The settings of the sampler, which decide the images together with the weights."""
    note: Callable[[str], None] = print
    """Says why a file that is there is not used."""


def made_of_images(
    prepared: PreparedTask, protocol: Protocol, subject: str, sampler: Mapping[str, Any], repetition: int
) -> dict[str, Any]:
    """Return all that decides the images of a repetition: no metric and no feature network does."""
    return {
        "version": 1,
        "task": prepared.task.name,
        "subject": subject,
        "sampler": digest(dict(sampler)),
        "protocol": _digest_of_images(protocol.as_dict()),
        "prompts": digest(list(prepared.prompts_of(torch.arange(protocol.samples)))),
        "batch": prepared.evaluation_batch,
        "repetition": repetition,
    }


def _digest_of_images(protocol: Mapping[str, Any]) -> str:
    """Return the digest of all of a protocol's values, as JSON data, that decide its images."""
    own = {key: value for key, value in protocol.items() if key not in NOT_OF_IMAGES}
    unused = NOT_OF_TEXT_IMAGES - {"first_alpha_bar", "prompts"}
    text: Mapping[str, Any] = protocol.get("text") or {}
    own["text"] = {key: value for key, value in text.items() if key not in unused}
    return digest(own)


WORDS = {
    "task": "another task",
    "subject": "another student, sampler or set of images",
    "sampler": "another sampler",
    "protocol": "a protocol with other seeds, samples or conditions",
    "prompts": "other prompts",
    "batch": "batches of another size",
    "network": "another feature network",
    "assets": "another feature network",
}
"""What a kept file is of if its description differs here in this key."""


class KeptRepetition:
    """The kept files of one repetition."""

    def __init__(self, keeping: Keeping, made_of: Mapping[str, Any], prepared: PreparedTask) -> None:
        """Take where files are kept, and what made this repetition's images (`made_of_images`)."""
        self.keeping = keeping
        self.prepared = prepared
        self.made_of = dict(made_of)
        self.repetition = int(made_of["repetition"])

    def features(self, extractor: str) -> list[Features] | None:
        """Return an extractor's kept output by batches; None if there is none, or it is of other images."""
        path = self._features_path(extractor)
        if path is None or not _is_of(path, self._made_of_features(extractor), self.keeping.note):
            return None
        try:
            found = read_features(path)
        except UserError as error:
            self.keeping.note(f"{error}; it is made again")
            return None
        return found if sum(map(len, found)) == self._samples else None

    def all_features(self, extractors: Iterable[str]) -> dict[str, list[Features]]:
        """Return the output of those extractors whose features are kept."""
        found = {name: self.features(name) for name in extractors}
        return {name: batches for name, batches in found.items() if batches is not None}

    def has_images(self) -> bool:
        """Return whether images of this evaluation were kept, and are as they were written."""
        path = self._images_path()
        return path is not None and _is_of(path, self.made_of, self.keeping.note)

    def images(self) -> KeptImages:
        """Return the images that were kept; `has_images` says whether there are any."""
        assert self.keeping.folder is not None
        return KeptImages(archive_path(self.keeping.folder, self.repetition), self.prepared, self.repetition)

    def has_all(self, extractors: Collection[str]) -> bool:
        """Return whether everything that is to be written is there already."""
        kinds = self.keeping.kinds
        return ("images" not in kinds or self.has_images()) and (
            "features" not in kinds or all(self.features(name) is not None for name in extractors)
        )

    @contextlib.contextmanager
    def writing(self, extractors: Collection[str], images: bool) -> Iterator[Writer]:
        """Yield what takes the stream's batches; the files are there once it ends well, and otherwise none is."""
        with contextlib.ExitStack() as stack:
            archive = None
            target = self._images_path() if images else None
            if target is not None:
                temporary = stack.enter_context(whole_file(target))
                archive = stack.enter_context(zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED))
            writer = Writer(archive, {name: [] for name in extractors}, self.repetition * self._samples)
            yield writer
        for name, batches in writer.features.items():
            path = self._features_path(name)
            if path is not None:
                write_features(path, batches)
                self._describe(path, self._made_of_features(name))
        if target is not None:
            self._describe(target, self.made_of)

    @property
    def _samples(self) -> int:
        return self.prepared.task.protocol.samples

    def _images_path(self) -> Path | None:
        folder = self.keeping.folder
        return None if folder is None else archive_path(folder, self.repetition)

    def _features_path(self, extractor: str) -> Path | None:
        folder = self.keeping.folder
        return None if folder is None else folder / "features" / f"{extractor}-{self.repetition}.safetensors"

    def _made_of_features(self, extractor: str) -> dict[str, Any]:
        network = self.prepared.task.protocol.network(extractor)
        assets = dict(self.prepared.task.identity())
        return {**self.made_of, "extractor": extractor, "network": network, "assets": assets}

    def _describe(self, path: Path, made_of: Mapping[str, Any]) -> None:
        """Write the description of a file that is complete."""
        content = {"made_of": made_of, "sha256": file_sha256(path)}
        write_text(path.with_suffix(".json"), json.dumps(content, indent=2) + "\n")


def _is_of(path: Path, made_of: Mapping[str, Any], note: Callable[[str], None]) -> bool:
    """Whether a file is unchanged and was made of `made_of`; `note` gets the reason if one that exists is not."""
    if not path.exists():
        return False
    found = read_object(path.with_suffix(".json"))
    kept = found.get("made_of") if found else None
    if not isinstance(kept, dict):
        why = "has no description, since its writer was stopped"
    elif different := [key for key in made_of if not _same(key, kept.get(key), made_of[key])]:
        why = f"is of {WORDS.get(different[0], 'another version')}"
    elif found is None or found.get("sha256") != file_sha256(path):
        why = "is not the file that was written"
    else:
        return True
    note(f"{path} {why}, and is not used")
    return False


def _same(key: str, kept: Any, now: Any) -> bool:
    """Return whether a file was made of the same; of the task's assets, those that both evaluations read."""
    if key != "assets" or not isinstance(kept, dict):
        return bool(kept == now)
    return all(kept[role] == sha256 for role, sha256 in now.items() if role in kept)


@dataclass(frozen=True)
class Writer:
    """Takes the batches of one repetition, in their order."""

    archive: zipfile.ZipFile | None
    features: dict[str, list[Features]]
    first: int
    """The number of the repetition's first image."""

    def add(self, start: int, found: Mapping[str, Features], images: Sequence[bytes]) -> None:
        """Add a batch that begins with sample `start`: the extractors' output, and its images as PNG."""
        for name, batches in self.features.items():
            batches.append(found[name])
        if self.archive is not None:
            for number, content in enumerate(images, self.first + start):
                self.archive.writestr(image_name(number), content)


def archive_path(folder: Path, repetition: int) -> Path:
    """Return the place of a repetition's images in RUN/kept."""
    return folder / "images" / f"repetition-{repetition}.zip"


def archive_of(
    folder: Path, repetition: int, subject: str, protocol: Mapping[str, Any], note: Callable[[str], None]
) -> Path | None:
    """Return the images of a repetition in RUN/kept, if a recorded subject made them under a recorded protocol."""
    path = archive_path(folder, repetition)
    made_of = {"subject": subject, "protocol": _digest_of_images(protocol), "repetition": repetition}
    return path if _is_of(path, made_of, note) else None


def kept_pixels(archive: Path, number: int) -> np.ndarray:
    """Return the grey levels [H, W, C] uint8 of one image in an archive, by its number."""
    with zipfile.ZipFile(archive) as opened:
        return from_png(opened.read(image_name(number)))


def image_name(number: int) -> str:
    """Return the name of an image's file, by the number repetition x samples + index (`bench eval --images`)."""
    return f"{number:08d}.png"


class KeptImages(ImageSource):
    """The images of one repetition that an earlier evaluation kept."""

    def __init__(self, path: Path, prepared: PreparedTask, repetition: int) -> None:
        self.path = path
        self.prepared = prepared
        self.repetition = repetition
        self.repetitions = 1

    def batch(self, repetition: int, start: int, stop: int) -> Generated:
        if repetition != self.repetition:
            raise ValueError(f"{self.path} has the images of repetition {self.repetition}, not {repetition}")
        protocol = self.prepared.task.protocol
        first = repetition * protocol.samples
        with zipfile.ZipFile(self.path) as archive:
            pixels = [from_png(archive.read(image_name(first + index))) for index in range(start, stop)]
        indices = torch.arange(start, stop)
        prompts = self.prepared.prompts_of(indices)
        return Generated(
            images=batch_of(pixels),
            conditions=None if prompts else classes_of(self.prepared, repetition, indices),
            indices=indices,
            prompts=prompts,
            finite=True,
        )
