"""Tables of other papers than DMD2's, as data: each row has a source, and nothing is made up."""

from __future__ import annotations

import pytest

from bench.report.table import suite_table
from bench.runs.result_files import RESULTS
from bench.runs.suites.paper_tables import load_paper_table
from bench.runs.suites.reading import load_suite

PUBLISHED = sorted(path.stem for path in (RESULTS / "paper").glob("*.toml") if not path.stem.startswith("table"))
SHARES = {"clip", "hpsv2", "geneval", "precision", "recall", "colour", "shape", "texture", "spatial", "complex"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_row_has_a_source_and_values_of_the_tables_columns(name: str) -> None:
    table = load_paper_table(name)
    columns = [column.name for column in table.columns]
    assert table.title and table.source and table.note
    assert len({row.key for row in table.rows}) == len(table.rows) > 0
    for row in table.rows:
        assert row.label and row.source
        assert set(row.values) <= set(columns) and len(row.values) > 1
        assert all(0 < value < 1 for column, value in row.values.items() if column in SHARES)


def test_values_are_as_they_were_printed() -> None:
    """One value of each row of SenseFlow's tables and of the repositories' lists, typed again from their pages."""
    sd35, flux = load_paper_table("coco5k-sd35"), load_paper_table("coco5k-flux")
    assert [row.values["image_reward"] for row in sd35.rows] == [1.1629, 1.0116, 1.1713, 1.2062]
    assert [row.values["clip"] for row in flux.rows] == [0.3202, 0.3207, 0.3264, 0.3238, 0.3218, 0.3167, 0.3171]
    first = [row.values["colour"] for row in load_paper_table("compbench").rows]
    assert first[-5:] == [0.7317, 0.7465, 0.7406, 0.7284, 0.7363]
    assert load_paper_table("imagenet256").row("dmdr-cfg4").values["is"] == 454


@pytest.mark.parametrize("name", ["coco5k-sd35", "coco5k-flux"])
def test_only_students_of_the_tables_teacher_have_a_distance_to_it(name: str) -> None:
    """A teacher is not compared with itself, nor FLUX.1-schnell with FLUX.1-dev, which is not its teacher."""
    without = {row.key for row in load_paper_table(name).rows if "fid_t" not in row.values}
    assert (
        without
        == {"coco5k-sd35": {"sd35-large"}, "coco5k-flux": {"flux-dev-50", "flux-dev-25", "flux-schnell"}}[name]
    )


def test_doubtful_values_are_left_out() -> None:
    """Three scores of DMD2-SDXL on T2I-CompBench repeat those of other rows in the source."""
    assert load_paper_table("compbench").row("dmd2-sdxl").values.keys() == {"colour", "shape", "texture"}


def test_published_rows_are_shown_beside_ours() -> None:
    """A baseline has its published row's numbers; a row that no sampler answers is quoted."""
    suite = load_suite("flow-flux")
    table = suite_table(suite, suite.paper_table(), [], "paper")
    shown = table.sections[0].cells.set_index("method")
    assert shown.loc["SenseFlow, FLUX", "paper FID-T"] == "15.64"
    assert shown.loc["SenseFlow, FLUX", "fd-teacher"] == "missing"
    assert (shown.loc["Hyper-FLUX", "paper FID-T"], shown.loc["Hyper-FLUX", "fd-teacher"]) == ("11.24", "–")
    assert shown.loc["FLUX.1-schnell", "paper FID-T"] == "–"
