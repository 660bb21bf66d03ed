"""Suites and the paper's tables; the numbers below were typed again from the paper."""

import pytest

from bench.suites import load_paper_table, load_suite, paper_table_names, suite_names
from tasks.errors import UserError


@pytest.mark.parametrize(
    ("table", "rows"),
    [("table1", 18), ("table2", 10), ("table3", 6), ("table4", 4), ("table5", 24), ("table6", 6)],
)
def test_each_table_of_the_paper_is_complete(table: str, rows: int) -> None:
    paper = load_paper_table(table)
    columns = [column.name for column in paper.columns]
    assert len(paper.rows) == rows == len({row.key for row in paper.rows})
    assert paper.title
    assert paper.source
    assert paper.note
    for row in paper.rows:
        assert row.source
        missing = {"latency"} if row.key in {"dalle", "dalle2", "parti-750m"} else set()
        assert set(row.values) == set(columns) - missing


def test_names_lists_the_six_tables() -> None:
    assert paper_table_names() == [f"table{n}" for n in range(1, 7)]


@pytest.mark.parametrize(
    ("table", "row", "values"),
    [
        ("table1", "biggan-deep", {"nfe": 1, "fid": 4.06}),
        ("table1", "rin", {"nfe": 1000, "fid": 1.23}),
        ("table1", "ctm", {"nfe": 1, "fid": 1.92}),
        ("table1", "dmd2-longer", {"nfe": 1, "fid": 1.28}),
        ("table1", "edm-sde", {"nfe": 511, "fid": 1.36}),
        ("table2", "lcm-sdxl-1step", {"nfe": 1, "fid": 81.62, "patch_fid": 154.40, "clip": 0.275}),
        ("table2", "sdxl-lightning-1step", {"nfe": 1, "fid": 23.92, "patch_fid": 31.65, "clip": 0.316}),
        ("table2", "dmd2-1step", {"nfe": 1, "fid": 19.01, "patch_fid": 26.98, "clip": 0.336}),
        ("table2", "sdxl-cfg8", {"nfe": 100, "fid": 20.39, "patch_fid": 23.21, "clip": 0.335}),
        ("table4", "no-distribution-matching", {"fid": 13.77, "patch_fid": 27.96, "clip": 0.307}),
        ("table4", "no-backward-simulation", {"fid": 20.66, "patch_fid": 24.21, "clip": 0.332}),
        ("table5", "dalle", {"resolution": 256, "fid": 27.5}),
        ("table5", "gigagan", {"resolution": 512, "latency": 0.13, "fid": 9.09}),
        ("table5", "dmd2", {"resolution": 512, "latency": 0.09, "fid": 8.35}),
        ("table5", "sd15-sde", {"resolution": 512, "latency": 10.25, "fid": 7.21}),
        (
            "table6",
            "sdxl-turbo-4step",
            {"nfe": 4, "fid": 23.19, "patch_fid": 23.27, "clip": 0.334, "diversity": 0.58},
        ),
    ],
)
def test_values_are_the_papers(table: str, row: str, values: dict[str, float]) -> None:
    assert load_paper_table(table).row(row).values == values


def test_the_ablation_table_and_its_suite_agree_row_by_row() -> None:
    suite, paper = load_suite("table3"), load_paper_table("table3")
    values = {row.method: paper.row(row.paper_row or "").values["fid"] for row in suite.rows}
    assert values == {
        "dmd": 2.62,
        "dmd-no-regression": 3.48,
        "dmd-ttur": 2.61,
        "dmd2": 1.51,
        "gan": 2.56,
        "gan-ttur": 2.52,
    }


@pytest.mark.parametrize("name", suite_names())
def test_every_suite_names_rows_that_its_paper_table_has(name: str) -> None:
    suite = load_suite(name)
    assert suite.task("micro") in ("digits", "fashion", "scenes")
    for row in suite.rows:
        if suite.paper:
            assert load_paper_table(suite.paper).row(row.paper_row or "")
        else:
            assert row.paper_row is None


def test_tables_that_share_models_print_the_same_numbers() -> None:
    """Table 6 repeats Table 2's four-step rows, and Table 3 repeats two of Table 1's."""
    diversity, quality = load_paper_table("table6"), load_paper_table("table2")
    for row in diversity.rows:
        assert quality.row(row.key).values.items() <= row.values.items()
    ablation, imagenet = load_paper_table("table3"), load_paper_table("table1")
    for key in ("dmd", "dmd2"):
        assert ablation.row(key).values["fid"] == imagenet.row(key).values["fid"]


def test_a_wrong_name_answers_with_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown suite 'tabel3'; did you mean 'table3'"):
        load_suite("tabel3")
    with pytest.raises(UserError, match="unknown paper table"):
        load_paper_table("table33")
    with pytest.raises(UserError, match="scale of suite table3"):
        load_suite("table3").task("mikro")
    with pytest.raises(UserError, match="row of table3"):
        load_paper_table("table3").row("dmd3")
