"""docs/your-method.md shows parts of the example's file as they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "your-method.md").read_text(encoding="utf-8")
FILE = (ROOT / "examples" / "moment_matching.py").read_text(encoding="utf-8")


def test_its_python_is_that_of_the_example() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 3 and all(block in FILE for block in blocks)


def test_it_says_how_long_the_example_is() -> None:
    assert f"{len(FILE.splitlines())} lines" in PAGE
