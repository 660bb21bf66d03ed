"""The README's tables against what is registered, so that they cannot go out of date."""

from __future__ import annotations

import re
from pathlib import Path

from bench.runs.registry import load_catalogue

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
METHOD_ROW = re.compile(
    r"^\| `(?P<name>[^`]+)` \| (?P<summary>.+) \| \[(?P<number>\d{4}\.\d{5})\]\((?P<address>\S+)\) \|$",
    re.MULTILINE,
)


def test_the_method_table_has_every_method_its_summary_and_its_paper() -> None:
    rows = list(METHOD_ROW.finditer(README.partition("## Methods")[2].partition("\n## ")[0]))
    registered = {entry.name: entry.load().summary for entry in load_catalogue().methods}
    assert {row["name"]: row["summary"] for row in rows} == registered
    assert all(row["address"] == f"https://arxiv.org/abs/{row['number']}" for row in rows)


def test_the_task_table_has_every_task() -> None:
    section = README.partition("## Tasks")[2].partition("\n## ")[0]
    first_cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    names = [name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)]
    assert sorted(names) == sorted(load_catalogue().tasks.entries)
