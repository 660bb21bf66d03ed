"""Names, recipes and errors from anybody's records are harmless in every format."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

import pytest

from bench.report.renderer import Layout
from bench.report.table import ReportTable, task_table
from bench.runs.record import Record
from bench.runs.registry import load_catalogue

Make = Callable[..., Record]
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)> {{ 7*7 }} {% raw %}',
    r"\input{/etc/passwd} $x_1$ 100% & ^^41 \\ \end{table}",
    "[2cm] *bold* **x** | `code` [link](javascript:alert(1))",
    '=HYPERLINK("http://x") +1 @SUM(1)',
    "\x1b[31mred\x1b]0;title\x07 [red]markup[/red] [/]",
    "left\u202eright \u2066\u200f \r\nnext\u2028line \x00 \x85",
    "中文 Привет עברית 🙂 naïve",
)


@pytest.fixture
def table(make_record: Make) -> ReportTable:
    """A table whose methods, recipes and errors are hostile."""
    records = [make_record(name, recipe={"note": name}) for name in HOSTILE]
    return task_table([*records, make_record("dmd2", failed=True, error=HOSTILE[0])], "fashion")


@pytest.mark.parametrize("name", ["terminal", "md", "csv", "tex", "html"])
@pytest.mark.parametrize("wide", [False, True])
def test_no_format_lets_control_characters_or_direction_marks_through(
    table: ReportTable, name: str, wide: bool
) -> None:
    text = load_catalogue().renderers.get(name).render([table], Layout(100, wide))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]", text)
    assert "naïve" in text or r"na\"{i}ve" in text


def test_html_has_no_element_or_attribute_from_records(table: ReportTable) -> None:
    text = load_catalogue().renderers.get("html").render([table], Layout())
    assert not re.search(r"<(script|img|svg|a)\b", text) and "{{ 7*7 }}" in text
    assert "&lt;script&gt;alert(1)" in text and "default-src 'none'" in text
    assert "http" not in re.sub(r"http-equiv|http://x", "", text), "no external request"


def test_tex_has_no_command_or_end_of_a_cell_from_records(table: ReportTable) -> None:
    text = load_catalogue().renderers.get("tex").render([table], Layout())
    body = re.sub("^%.*", "", text, flags=re.MULTILINE)
    assert r"\textbackslash{}input\{/etc/passwd\}" in body and r"\input" not in body
    assert body.isascii() and body.count(r"\end{table}") == 1


def test_terminal_shows_markup_literally_and_fits(table: ReportTable) -> None:
    text = load_catalogue().renderers.get("terminal").render([table], Layout(100))
    assert "[red]markup" in text and r"\x1b[31mred" in text


def test_csv_has_no_formula(table: ReportTable) -> None:
    text = load_catalogue().renderers.get("csv").render([table], Layout())
    methods = {row["method"] for row in csv.DictReader(io.StringIO(text))}
    assert not any(method.lstrip()[:1] in "=+-@" for method in methods if method)
    assert "'" + HOSTILE[4] in methods
