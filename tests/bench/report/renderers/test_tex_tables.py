"""Tables as LaTeX: a caption that says what the numbers are, marks, and text that compiles."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.report.renderer import Layout
from bench.report.renderers.latex import tex
from bench.report.renderers.tex import TexRenderer
from bench.report.table import suite_table, task_table
from bench.runs.record import Record
from bench.runs.suites.paper_tables import load_paper_table
from bench.runs.suites.reading import load_suite

Make = Callable[..., Record]
DOCUMENT = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n%s\n\\end{document}\n"
EVERY_LETTER = "".join(chr(code) for code in (*range(0x250), *range(0x300, 0x3D0), *range(0x2010, 0x2300), 0x4E2D))


@pytest.fixture
def compiles(tmp_path: Path) -> Callable[[str], str]:
    """Compile a document and return its log. Skips where pdflatex is not installed."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")

    def run(body: str) -> str:
        (tmp_path / "a.tex").write_text(DOCUMENT % body, encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "a.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
        assert done.returncode == 0, done.stdout[-2000:]
        return done.stdout

    return run


def ranked(make_record: Make) -> list[Record]:
    values = {"dmd2": (2.0, 2.1, 2.05), "gan": (4.0, 4.1, 4.05), "dmd": (8.0, 8.1, 8.05)}
    return [make_record(name, seed, (fd, fd)) for name in values for seed, fd in enumerate(values[name])]


def test_the_best_is_bold_and_the_second_underlined(make_record: Make) -> None:
    text = TexRenderer().render([task_table(ranked(make_record), "fashion")], Layout())
    assert r"dmd2 & \textbf{2.05} & $\pm$ 0.12 & 1" in text
    assert r"gan & \underline{4.05} & $\pm$ 0.12 & 1" in text
    assert r"dmd & 8.05 & $\pm$ 0.12 & 1" in text
    assert "Bold: better than every other trained student by more than both intervals; underlined: " in text


def test_the_caption_names_protocol_images_seeds_and_interval(make_record: Make) -> None:
    records = ranked(make_record)
    text = TexRenderer().render([task_table(records, "fashion")], Layout())
    assert f"Protocol fashion, SHA-256 {records[0].protocol_sha256[:12]}: 10,000 images" in text
    assert "3 generation seed(s), training seeds 0, 1, 2." in text
    assert r"$\pm$: half width of the 95 \% Student-t interval over n = 3 training seeds." in text
    assert rf"\label{{tab:fashion-fashion-{records[0].protocol_sha256[:8]}}}" in text
    assert "% Not shown: recipe, checkpoint" in text and "% Budget: 500 iterations." in text


def test_one_training_seed_is_said_at_its_value_and_in_the_caption(make_record: Make) -> None:
    records = [*ranked(make_record), make_record("gan-ttur", 0, (3.0, 3.2))]
    text = TexRenderer().render([task_table(records, "fashion")], Layout())
    assert r"gan-ttur & 3.10 & {[}$\pm$ 1.27] n=1" in text and "n=1: gan-ttur. n=3: dmd; dmd2; gan." in text
    assert r"\textbf" not in text and r"\underline" not in text


def test_a_suite_with_missing_results_compiles_in_grids_as_wide_as_a_line(
    make_record: Make, compiles: Callable[[str], str]
) -> None:
    table = suite_table(load_suite("table4"), load_paper_table("table4"), [make_record(task="scenes")], "micro")
    text = TexRenderer().render([table], Layout())
    assert "% Missing results. " in text and r"\multicolumn{2}{c}{missing}" in text
    assert "Overfull" not in compiles(text)


def test_any_text_compiles_and_is_literal(compiles: Callable[[str], str]) -> None:
    assert tex(r"50% of $x_1$ & \input{a} #~^") == (
        r"50\% of \$x\_1\$ \& \textbackslash{}input\{a\} \#\textasciitilde{}\textasciicircum{}"
    )
    assert tex("--set ± naïve Ł → 中 \u202e\x1b") == (
        r"-{}-set $\pm$ na\"{i}ve \L{} $\rightarrow$ U+4E2D \textbackslash{}u202e\textbackslash{}x1b"
    )
    rows = "".join(
        rf"{tex(text)} & x \\" + "\n" for text in ("[2cm]", "*", EVERY_LETTER[:300], EVERY_LETTER[300:])
    )
    compiles(rf"\begin{{tabular}}{{p{{5cm}}l}}{rows}\end{{tabular}}\par {tex(EVERY_LETTER)}")


def test_a_long_heading_has_two_lines(make_record: Make, compiles: Callable[[str], str]) -> None:
    title = "KID of digits-cnn32 / RMS × 1,000"
    text = TexRenderer().render([task_table([make_record(title=title)], "fashion")], Layout())
    assert r"\shortstack{KID of digits-cnn32 \\ / RMS $\times$ 1,000~$\downarrow$}" in text
    assert "Overfull" not in compiles(text)


def test_what_is_longer_than_a_page_continues(make_record: Make, compiles: Callable[[str], str]) -> None:
    """LaTeX cuts off a float that is larger than a page."""
    first = make_record()
    more = [
        first.metrics[0].model_copy(update={"name": f"metric-{number}", "title": f"A metric called {number}"})
        for number in range(12)
    ]
    records = [
        make_record(f"a-method-with-a-rather-long-name-{number}", 0).model_copy(update={"metrics": more})
        for number in range(18)
    ]
    text = TexRenderer().render([task_table(records, "fashion")], Layout())
    label = f"tab:fashion-fashion-{first.protocol_sha256[:8]}"
    assert text.count(r"\begin{table}") > 1
    assert rf"Signs as in Table~\ref{{{label}}}.}}" in text and rf"\label{{{label}-2}}" in text
    assert all(f"A metric called {number} " in text.replace(r" \\", "").replace("~", " ") for number in range(12))
    log = compiles(text)
    assert "Float too large" not in log and "Overfull" not in log
