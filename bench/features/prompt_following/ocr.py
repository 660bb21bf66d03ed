"""Read the text in images with RapidOCR, whose networks come in its wheel."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.core.errors import UserError, first_line
from bench.core.extras import optional_module
from bench.core.files import digest, file_sha256
from bench.features.base import FeatureExtractor
from bench.features.known import KnownImages
from bench.features.prompt_following.ocr_text import quoted_text, text_score
from bench.features.views import Features
from bench.features.weights import FoundWeights

if TYPE_CHECKING:
    import torch

    from bench.features.batch import Extract, ImageBatch

DETECTOR, RECOGNISER = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
PACKAGE = "rapidocr"
PURPOSE = "OCR accuracy"


class ReadText(NamedTuple):
    """The lines that were read in an image, from top to bottom."""

    lines: tuple[str, ...]
    scores: tuple[float, ...]

    @property
    def joined(self) -> str:
        """All lines that have a positive score, as one text."""
        return "".join(line for line, score in zip(self.lines, self.scores, strict=True) if score > 0)


class TextReader:
    """PP-OCRv6's detector and recogniser on the CPU; the same image gives the same text."""

    def __init__(self, files: Mapping[str, Path], threads: int = 1) -> None:
        """Load the two ONNX files; nothing is downloaded. Raises UserError if a package or file is missing."""
        optional_module("onnxruntime", PURPOSE, "ocr")
        rapidocr: Any = optional_module(PACKAGE, PURPOSE, "ocr")
        self._nothing_found: Any = optional_module("rapidocr.main", PURPOSE, "ocr").RapidOCRError
        settings = {
            "Global.use_cls": False,  # as PaddleOCR's use_angle_cls=False in Flow-GRPO
            "Global.text_score": 0.0,
            "Global.log_level": "error",
            "Det.model_path": str(files[DETECTOR]),
            "Rec.model_path": str(files[RECOGNISER]),
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": threads,
        }
        try:
            self._engine = rapidocr.RapidOCR(params=settings)
            self._engine._load_det_model()  # now, so that a missing network is no image without text
            self._engine._load_rec_model()
        except Exception as error:  # onnxruntime, omegaconf and rapidocr raise their own
            raise UserError(
                f"RapidOCR could not be loaded ({first_line(error)}); fix: pip install --force-reinstall rapidocr"
            ) from error

    def read(self, image: np.ndarray) -> ReadText:
        """Read an image, [H, W, 3] uint8 in RGB. Raises UserError if a network fails; no text is no failure.

        The engine's own call reports a failed network as an image without text, which would be a score of 0; its
        steps are called one by one for that reason.
        """
        engine = self._engine
        try:
            prepared, record = engine.preprocess_img(np.ascontiguousarray(image[..., ::-1]))
            crops = self._crops(prepared, record)
            found = engine.recognize_txt(crops) if crops else None
        except Exception as error:  # each library below raises its own
            raise UserError(f"reading the text of an image failed: {first_line(error)}") from error
        if found is None:
            return ReadText((), ())
        return ReadText(tuple(found.txts), tuple(float(score) for score in found.scores))

    def _crops(self, image: np.ndarray, record: dict[str, Any]) -> list[np.ndarray]:
        """Return the parts of an image that show lines of text."""
        try:
            crops: list[np.ndarray] = self._engine.detect_and_crop(image, record)[0]
        except self._nothing_found:  # its only cause: the detector ran, and found no text
            return []
        return crops


def packaged_files() -> dict[str, Path]:
    """Return the networks in RapidOCR's wheel, by name. Raises UserError if they are not there."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UserError("OCR accuracy needs rapidocr; fix: pip install 'distillation-bench[ocr]'")
    folder = Path(next(iter(found.submodule_search_locations))) / "models"
    files = {name: folder / name for name in (DETECTOR, RECOGNISER)}
    if missing := [name for name, path in files.items() if not path.is_file()]:
        raise UserError(
            f"rapidocr {version(PACKAGE)} lacks {' and '.join(missing)} in {folder}; "
            "fix: pip install 'distillation-bench[ocr]', whose version has them"
        )
    return files


@dataclass(frozen=True)
class OCRExtractor(FeatureExtractor):
    """The text in an image, and how much of the prompt's quoted text is there."""

    threads: int = 1
    """Threads of each network; they do not change the text."""

    def known_answers(self) -> Sequence[KnownImages]:
        """Return an image with one word, in Pillow's own font, and an image without text."""
        page = Image.new("RGB", (256, 96), "white")
        ImageDraw.Draw(page).text((30, 15), "OPEN", fill="black", font=ImageFont.load_default(size=56))
        images = np.stack([np.asarray(page), np.full_like(page, 255)]).transpose(0, 3, 1, 2)
        prompts = ('a sign that says "OPEN"',) * 2
        return (
            KnownImages("a word that is there, and one that is not", images, {"ocr": [1.0, 0.0]}, None, prompts),
        )

    def load(self, files: Mapping[str, Path], device: torch.device | str) -> Extract:  # noqa: ARG002 (a CPU network)
        """Load the reader from the package."""
        reader = TextReader(packaged_files(), self.threads)
        return lambda batch: ocr_scores(reader, batch)

    def network(self, found: Mapping[str, FoundWeights], code_sha256: str = "") -> str:
        """Return the name of the networks, with the package's version and the hash of the two files."""
        hashes = digest({name: file_sha256(path) for name, path in packaged_files().items()})
        shown = f"{self.name}, PP-OCRv6 small by rapidocr {version(PACKAGE)}, weights {hashes[:12]}"
        return super().network(found, code_sha256).replace(self.name, shown, 1)


def ocr_scores(reader: TextReader, batch: ImageBatch) -> Features:
    """Return how much of each prompt's quoted text its image shows, with what was read as the reason."""
    if len(batch.prompts) != len(batch):
        raise UserError(
            f"OCR accuracy reads the prompts of images, and there are {len(batch.prompts)} for {len(batch)} "
            "images; fix: leave ocr out on tasks without prompts"
        )
    scores, reasons = [], []
    for image, prompt in zip(batch.images, batch.prompts, strict=True):
        wanted = quoted_text(prompt)
        read = reader.read(image.expand(3, -1, -1).permute(1, 2, 0).numpy()).joined
        scores.append(text_score(wanted, read))
        reasons.append(f"read {read!r} for {wanted!r}")
    return Features(np.zeros((len(batch), 0)), scores={"ocr": np.array(scores)}, reasons={"ocr": reasons})
