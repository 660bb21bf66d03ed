"""A real browser, and a small site with sheets and curves to open in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.evaluation.sheet import Sheet, write_sheet
from bench.report.site.build import build_site
from bench.report.site.entries import read_entries
from bench.report.site.pages import Site
from bench.runs.records import Record, write_record

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The system's Chromium without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a file as a page; at the end nothing was fetched and nothing failed."""
    complaints: list[str] = []
    contexts = []

    def open_page(path: Path, fragment: str = "", *, width: int = 1280, scheme: str = "light") -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on(
            "console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda asked: (
                None if asked.url.startswith(("file:", "data:", "blob:")) else complaints.append(asked.url)
            ),
        )
        page.goto(path.as_uri() + fragment)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


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
