"""LaTeX tables for a paper: booktabs, one for each protocol, with the costs that papers state."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.core.escape import printable
from bench.report.renderer import Layout, Renderer
from bench.report.renderers.latex import tex
from bench.report.renderers.parts import interval_line, mark_line, parts, protocol_line, shows_n, telling_apart

if TYPE_CHECKING:
    from bench.report.columns import Column
    from bench.report.table import ReportTable, Section

COSTS = ("NFE", "compute")
"""The columns of costs that a table of a paper has; a comment names the others."""
LINE = 84
"""Characters of \\footnotesize in a line of the article class. Wider tables get several grids below each other."""


class TexRenderer(Renderer):
    r"""Tables for `\\input`."""

    name = "tex"
    summary = "LaTeX tables that need booktabs alone: best in bold, second underlined, a caption with the protocol"

    def render(self, tables: Sequence[ReportTable], layout: Layout) -> str:  # noqa: ARG002 (a page has its own width)
        """Return the tables one after the other. All text from records is escaped."""
        floats = [_float(table, section) for table in tables for section in table.sections]
        return "% Needs \\usepackage{booktabs}\n\n" + "\n".join(floats)


PAGE = 42
"""Rows of \\footnotesize on a page beside a caption. Longer sections get several floats."""
HEADING = 20
"""Characters of a heading beyond which it is broken into two lines."""


def _float(table: ReportTable, section: Section) -> str:
    fixed = telling_apart(section)
    shown = [column for column in section.columns if column in fixed or _belongs(section, column)]
    left_out = [column.name for column in section.columns if column not in shown]
    grids = [_tabular(section, columns) for columns in _blocks(section, fixed, shown)]
    each = max(1, PAGE // (len(section.cells) + 4))
    pages = [grids[first : first + each] for first in range(0, len(grids), each)]
    title = _sentences([f"{table.title}, continued.", _protocol(section)])
    label = _label(table, section)
    lines = _page(_caption(table, section, shown), label, pages[0])
    for number, page in enumerate(pages[1:], 2):
        lines += ["", *_page(rf"{title} Signs as in Table~\ref{{{label}}}.", f"{label}-{number}", page)]
    remarks = [f"Not shown: {', '.join(left_out)}; bench report --format csv has them."] if left_out else []
    remarks += section.notes
    if table.missing:
        from bench.report.todo import left_text

        remarks += [f"Missing results. {left_text(left, str)}" for left in table.missing]
    return "\n".join([*lines, *(f"% {printable(remark)}" for remark in remarks), ""])


def _page(caption: str, label: str, grids: Sequence[str]) -> list[str]:
    return [
        r"\begin{table}[t]",
        r"\centering",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{caption}}}",
        rf"\label{{{label}}}",
        r"\par\smallskip",
        "\n\\par\\medskip\n".join(grids),
        r"\end{table}",
    ]


def _tabular(section: Section, shown: Sequence[Column]) -> str:
    lines = [
        rf"\begin{{tabular}}{{{''.join(map(_alignment, shown))}}}",
        r"\toprule",
        " & ".join(_heading(section, column) for column in shown) + r" \\",
        r"\midrule",
        *(_row(section, number, shown) for number in range(len(section.cells))),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines)


def _blocks(section: Section, fixed: Sequence[Column], shown: Sequence[Column]) -> list[list[Column]]:
    """Return the columns of each grid: as few grids as fit a line, about equally wide.

    Each begins with the columns that tell the rows apart.
    """
    widths = {column: 2 + max(map(len, _texts(section, column))) for column in shown}
    others = [column for column in shown if column not in fixed]
    room = LINE - sum(widths[column] for column in fixed)
    fewest = len(_packed(others, widths, room))
    narrow = next(line for line in range(LINE + 1) if len(_packed(others, widths, line)) <= fewest)
    return [[*fixed, *block] for block in _packed(others, widths, narrow)]


def _packed(columns: Sequence[Column], widths: Mapping[Column, int], room: int) -> list[list[Column]]:
    blocks: list[list[Column]] = [[]]
    for column in columns:
        if blocks[-1] and sum(widths[one] for one in blocks[-1]) + widths[column] > room:
            blocks.append([])
        blocks[-1].append(column)
    return blocks


def _texts(section: Section, column: Column) -> list[str]:
    """Return what a column prints, to estimate its width."""
    if column.kind != "metric":
        return [*_broken(column.short), *_plain(section, column)[1]]
    with_n = shows_n(section)
    cells = [section.values[row, column.name] for row in range(len(section.cells))]
    texts = (" ".join(parts(value, with_n)) for value in cells if value.value is not None)
    return [*_broken(column.short), *texts]


def _plain(section: Section, column: Column) -> tuple[str, list[str]]:
    """Return the unit that all cells of a column share, and the cells without it."""
    texts = list(section.cells[column.name])
    units = {text.partition(" ")[2] for text in texts if text != "–"}
    if column.name != "compute" or len(units) != 1:
        return "", texts
    return units.pop(), [text.partition(" ")[0] for text in texts]


def _belongs(section: Section, column: Column) -> bool:
    """Return whether a column is for a paper: results, and costs that are known for any row."""
    known = set(section.cells[column.name]) - {"–"}
    return bool(known) and (column.kind in ("paper", "metric") or column.name in COSTS or column.compared)


def _alignment(column: Column) -> str:
    """Align numbers at the right, and a metric's number at the sign of its interval."""
    return {"metric": "r@{\\,}l", "paper": "r", "cost": "r"}.get(column.kind, "l")


def _heading(section: Section, column: Column) -> str:
    if column.kind == "metric":
        return rf"\multicolumn{{2}}{{c}}{{{_stacked(column.short)}}}"
    return _stacked(_plain(section, column)[0] or column.short)


def _broken(heading: str) -> list[str]:
    """Return a heading in one line, or in two of about the same length if it is long."""
    words = heading.replace(" ↓", "\u00a0↓").replace(" ↑", "\u00a0↑").split(" ")
    if len(heading) <= HEADING or len(words) == 1:
        return [heading]
    ways = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(1, len(words))]
    return list(min(ways, key=lambda lines: max(map(len, lines))))


def _stacked(heading: str) -> str:
    lines = [tex(line) for line in _broken(heading)]
    stacked = r" \\ ".join(lines)
    return stacked if len(lines) == 1 else rf"\shortstack{{{stacked}}}"


def _row(section: Section, number: int, shown: Sequence[Column]) -> str:
    texts = []
    for column in shown:
        if column.kind != "metric":
            texts.append(tex(_plain(section, column)[1][number]))
            continue
        value = section.values[number, column.name]
        first, more = map(tex, parts(value, shows_n(section)))
        if value.value is None:
            texts.append(rf"\multicolumn{{2}}{{c}}{{{_reason(value.state)}}}")
            continue
        for cells, command in ((section.best, "textbf"), (section.second, "underline")):
            if (number, column.name) in cells:
                first = rf"\{command}{{{first}}}"
        texts.append(f"{first} & {more}")
    return " & ".join(texts) + r" \\"


def _reason(state: str) -> str:
    """Return the first words of why there is no value; the whole is a comment below the table."""
    return tex(state.split(":")[0].split(" at ")[0] or "–")


def _caption(table: ReportTable, section: Section, shown: Sequence[Column]) -> str:
    names = [column.name for column in shown]
    full = [column.name for column in shown if column.short != column.name]
    sentences = [
        f"{table.title}.",
        table.note.strip(),
        _protocol(section),
        f"Columns: {', '.join(full)}." if full else "",
        interval_line(section),
        mark_line(section, names, "Bold", "underlined"),
        *section.warnings,
    ]
    return _sentences(sentences)


def _protocol(section: Section) -> str:
    facts = section.facts
    if facts is None:
        return "No records yet."
    measured = f": {protocol_line(section)}".removesuffix(": ") or "."
    named = f"Protocol {facts.protocol}, SHA-256 {facts.protocol_sha256[:12]}{measured}"
    return f"{named} A smoke protocol: these numbers are not results." if facts.smoke else named


def _sentences(sentences: Sequence[str]) -> str:
    return " ".join(tex(sentence) for sentence in sentences if sentence)


def _label(table: ReportTable, section: Section) -> str:
    """Return a label that differs between tables and protocols: letters, digits and hyphens."""
    facts = section.facts
    named = f"{table.name}-{facts.protocol}-{facts.protocol_sha256[:8]}" if facts else table.name
    return "tab:" + re.sub(r"[^a-z0-9]+", "-", named.lower()).strip("-")
