"""A small site with sheets and curves, and pages of it in a real browser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.evaluation.sheet import Sheet, write_sheet
from bench.report.site.build import build_site
from bench.report.site.entries import read_entries
from bench.report.site.pages import Site
from bench.runs.record import Record
from bench.runs.records import write_record


class SiteOfRecords:
    """Records with their evidence in a folder, and the site that is made of them."""

    def __init__(self, folder: Path) -> None:
        self.records = folder / "records"
        self.out = folder / "site"

    def add(self, record: Record, *, colours: int | None = None, noise: str = "n", log: int = 0) -> str:
        """Keep a record, with a sheet whose image i has colour (colours, i, 0), and a log of so many lines."""
        path = self.records / f"{record.run_id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_record(path, record)
        if colours is not None:
            images = np.zeros((12, 8, 8, 3), np.uint8)
            images[..., 0] = colours
            images[..., 1] = 10 * np.arange(12)[:, None, None]
            write_sheet(
                path.with_suffix(".png"), Sheet(images, tuple(f"<i>prompt</i> {i}" for i in range(12)), noise)
            )
        lines = [
            {
                "iteration": 10 * i,
                "loss/dm": 1 / i,
                "loss/gan": i,
                "gradient/student": 2.0,
                "pixel_mean": 0.5,
                "fd": 9 / i,
            }
            for i in range(1, log + 1)
        ]
        if lines:
            path.with_suffix(".jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return record.run_id

    def build(self, suites: Sequence[str] = ()) -> Path:
        """Make the site, with the pages of these suites, and return its folder."""
        found = read_entries([self.records])
        assert found.problems == []
        site = Site(found.entries, self.records.parent / "runs", suites)
        build_site(site, self.out)
        assert site.problems == []
        return self.out


@pytest.fixture
def records(tmp_path: Path) -> SiteOfRecords:
    """A site without records yet."""
    return SiteOfRecords(tmp_path)
