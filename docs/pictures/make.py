"""`python docs/pictures/make.py` makes the pictures of the README from the committed records.

It needs Chromium and playwright, as the tests of the site do.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
STUDENTS = ("dmd2#4e6674", "dmd", "dmd-ttur", "gan#2f74e7", "gan-ttur")
"""Methods of Table 3, in the order of the columns behind the teacher's."""
CLASSES = 6


def bench(*arguments: str) -> None:
    """Run a command of bench."""
    subprocess.run([sys.executable, "-m", "bench", *arguments], check=True)


def pictures_of_pages(page: Page, site: Path) -> None:
    """Take the leaderboard and the chart of Table 3."""
    page.goto((site / "tasks" / "fashion.html").as_uri())
    page.screenshot(path=HERE / "leaderboard.png", full_page=True)
    page.goto((site / "suites" / "table3.html").as_uri())
    page.locator("figure", has_text="bars are intervals").first.screenshot(path=HERE / "table3.png")


def main() -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        site = Path(folder) / "site"
        bench("site", "--out", str(site), "--runs", folder)  # a folder without runs: the committed records alone
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        pictures_of_pages(browser.new_page(viewport={"width": 1280, "height": 900}, device_scale_factor=1), site)
        sheet = ["--sheet", str(HERE / "samples.png"), "--samples", str(CLASSES)]
        bench("compare", *STUDENTS, "--task", "fashion", "--runs", folder, *sheet)
    for file in HERE.glob("*.png"):
        with Image.open(file) as image:
            image.convert("RGB").quantize(256).save(file, optimize=True)


if __name__ == "__main__":
    main()
