"""The declarations of extractors that read what an image shows of its prompt. Imports no torch."""

from __future__ import annotations

from bench.features.ocr import OCRExtractor

OCR = OCRExtractor(
    "ocr",
    "the text in an image by RapidOCR, against the prompt's quoted text",
    (),
    "RapidOCR's own, on the whole image; no orientation classifier",
    "a score, and the text that was read",
)
