"""Tables as text."""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace

from bench.metrics.intervals import t_interval
from bench.report.render import to_csv, to_markdown
from bench.report.table import ReportTable, suite_table, task_table
from bench.runs.record import Record
from bench.runs.suites.paper_tables import load_paper_table
from bench.runs.suites.reading import load_suite

Make = Callable[..., Record]


def compiled(records: list[Record]) -> ReportTable:
    return suite_table(load_suite("table3"), load_paper_table("table3"), records, "micro")


def test_markdown_has_a_heading_per_protocol_the_best_in_bold_and_notes(make_record: Make) -> None:
    values = {"dmd2": (2.0, 2.1, 2.05), "gan": (4.0, 4.1, 4.05)}
    records = [make_record(name, seed, (fd,)) for name in values for seed, fd in enumerate(values[name])]
    records.append(make_record(protocol="other"))
    text = to_markdown(compiled(records))
    assert text.startswith("## Ablation")
    assert text.count("\n### Protocol ") == 2
    assert "**2.05 ± 0.12 over training seeds (n=3)**" in text
    assert "**4.0" not in text
    assert "\n- Training seeds: 0, 1, 2." in text


def test_csv_keeps_every_bit_and_the_papers_value(make_record: Make) -> None:
    values = (0.1 + 0.2, 1 / 3, 2 / 7)
    records = [make_record(seed=seed, fd=(value,)) for seed, value in enumerate(values)]
    rows = list(csv.DictReader(io.StringIO(to_csv(compiled(records)))))
    (mine,) = [row for row in rows if row["method"] == "dmd2"]
    assert tuple(float(mine[name]) for name in ("value", "std", "low", "high")) == t_interval(values)
    assert mine["paper_fid"] == "1.51"
    assert mine["protocol_sha256"] == records[0].protocol_sha256
    assert (mine["n_seeds"], mine["seeds"], mine["iterations_low"]) == ("3", "0 1 2", "500")


def test_csv_has_a_row_for_what_is_missing(make_record: Make) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(compiled([make_record()])))))
    assert [row["status"] for row in rows if row["method"] == "gan"] == ["missing"]
    assert len(rows) == 8


def test_text_of_records_is_literal_in_markdown_and_no_formula_in_csv(make_record: Make) -> None:
    name = "=1+1|<b>x</b>\n`y`\x1b[31m"
    table = task_table([make_record(name, fd=(-2.0,)), make_record("-5x")], "fashion")
    text = to_markdown(table)
    assert "=1+1\\|&lt;b>x&lt;/b>\\\\n\\`y\\`\\\\x1b[31m" in text
    assert "\x1b" not in text
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert {row["method"] for row in rows} == {"'=1+1|<b>x</b>\n`y`\\x1b[31m", "'-5x"}
    assert min(float(row["value"]) for row in rows) == -2.0


def test_a_command_in_a_note_is_code_in_markdown(make_record: Make) -> None:
    (section,) = (table := task_table([make_record()], "fashion")).sections
    note = "Shown by `bench report --format csv`, *not* here: <b>"
    shown = to_markdown(replace(table, sections=(replace(section, notes=(note,)),)))
    assert "- Shown by `bench report --format csv`, \\*not\\* here: &lt;b>" in shown


def test_rows_of_one_name_are_told_apart_where_their_seeds_differ(make_record: Make) -> None:
    records = [make_record(seed=seed) for seed in range(3)] + [make_record(recipe={"lr": 0.1})]
    (section,) = task_table(records, "fashion").sections
    named = re.search(r"n=1: dmd2 lr=0.1 #\w{6}\. n=3: dmd2 default #\w{6}\.", section.notes[-1])
    assert named is not None, section.notes[-1]
