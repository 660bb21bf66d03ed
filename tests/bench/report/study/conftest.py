"""A study of two simulated runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from study_support import Study

from bench.core.files import digest, file_sha256
from bench.report.study.images import Shown, Subject
from bench.report.study.make import make_study
from bench.runs.record import Record
from bench.runs.records import write_record

SEED = 2**100 + 7


def images(rng: np.random.Generator, count: int, side: int, noisy: bool) -> np.ndarray:
    """Return RGB images that compress badly if they are noisy, and else very well."""
    if noisy:
        return rng.integers(256, size=(count, side, side, 3), dtype=np.uint8)
    return np.broadcast_to(rng.integers(256, size=(count, 1, 1, 3)), (count, side, side, 3)).astype(np.uint8)


@pytest.fixture
def subjects(make_record: Callable[..., Record], tmp_path: Path) -> list[Subject]:
    """The runs that are compared, with their records' files."""
    found = []
    for method, kind, seed in (("dmd2-secret", "method", 0), ("teacher-secret", "baseline", None)):
        record = make_record(method, seed, kind=kind, task="fashion")
        path = tmp_path / "runs" / "fashion" / record.run_id / "record.json"
        weights = {"iteration": 500, "selection": "last", "sha256": digest([method]), "weights": "ema"}
        record = Record.model_validate({**record.model_dump(), "checkpoint": weights})
        write_record(path, record)
        found.append(Subject(path, record, file_sha256(path)))
    return found


@pytest.fixture
def make(subjects: list[Subject], tmp_path: Path) -> Callable[..., Study]:
    """Return a function that makes a study of a number of pairs."""

    def made(
        pairs: int = 8,
        side: int = 16,
        seed: int = SEED,
        prompts: tuple[str, ...] | None = None,
        out: str = "out",
        swapped: bool = False,
    ) -> Study:
        rng = np.random.default_rng(0)
        words = tuple(f"prompt number {number}" for number in range(pairs)) if prompts is None else prompts
        shown = [
            Shown(images(rng, pairs, side, noisy), words, tuple(range(pairs)), "the same noise")
            for noisy in (True, False)
        ]
        folder, turn = tmp_path / out, -1 if swapped else 1
        key = make_study(folder, subjects[::turn], shown[::turn], "students", seed)
        return Study(folder, key, tmp_path / "runs")

    return made


@pytest.fixture
def study(make: Callable[..., Study]) -> Study:
    """A study of eight pairs."""
    return make()
