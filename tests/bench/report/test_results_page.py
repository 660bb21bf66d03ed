"""docs/results.md follows from the committed records, and they support each of its claims."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.metrics.intervals import t_interval
from bench.report.results_page import PAGE, TEMPLATE, Results, generated, page
from bench.runs.record import Record
from bench.runs.records import load_records
from bench.runs.result_files import RESULTS


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return load_records([RESULTS / "records"]).records


@pytest.fixture(scope="module")
def committed(records: list[Record]) -> Results:
    return Results(records)


def changed(records: Iterable[Record], task: str, method: str, metric: str, by: float) -> Results:
    """The results, had one method's values all been larger by so much."""

    def larger(record: Record) -> Record:
        if (record.task, record.method.name) != (task, method):
            return record
        metrics = [
            one.model_copy(update={"value": (one.value or 0) + by}) if one.name == metric else one
            for one in record.metrics
        ]
        return record.model_copy(update={"metrics": metrics})

    return Results([larger(record) for record in records])


def test_the_committed_page_is_what_the_records_make() -> None:
    """If this fails: python -m bench.report.results_page."""
    assert PAGE.read_text(encoding="utf-8") == generated()


def test_another_record_makes_another_page_or_none(records: list[Record]) -> None:
    template = TEMPLATE.read_text(encoding="utf-8")
    assert page(template, changed(records, "fashion", "teacher-sde", "recall", 0.001)) != generated()
    with pytest.raises(UserError, match=r"do not support that table3/dmd2 is lower than .* in fd on fashion"):
        page(template, changed(records, "fashion", "dmd2", "fd", 100.0))


@pytest.mark.parametrize(
    ("claim", "test"),
    [
        ("lower fashion fd table3/dmd2 table3/dmd-ttur", "n = 3 and 3"),
        ("lower digits fd dmd2 dmd-ttur", "p = .012, n = 3 and 3"),
        ("level scenes fd table4/dmd2-4step table4/dmd2-4step-no-dm", "p = .16"),
        ("level scenes alignment table4/dmd2-4step-no-gan table4/dmd2-4step", "p = .060,"),
        ("higher scenes alignment table4/dmd2-4step-no-backward-simulation table4/dmd2-4step", "p = .025"),
        (
            "higher scenes patch-fd table4/dmd2-4step table4/teacher-cfg3",
            "Welch's t = 29.86, p = .0011, n = 3 and 3",
        ),
    ],
)
def test_claims_carry_their_tests(committed: Results, claim: str, test: str) -> None:
    assert test in page(f"{{{{{claim}}}}}", committed)


def test_a_kernel_distance_has_the_factor_of_its_heading(committed: Results) -> None:
    """In a table, of one training or several, and in a mean; a test has no unit."""
    table = page("{{table fashion: kid-rms\ntable3/dmd2|ours\nteacher-ode|teacher}}", committed)
    values = [1000 * value for value in committed.values("fashion", "kid-rms", "table3/dmd2")]
    assert "× 1,000 ↓" in table and f"({', '.join(f'{value:.2f}' for value in values)})" in table
    assert page("{{mean fashion kid-rms table3/dmd2}}", committed).endswith(f"{sum(values) / len(values):.2f}")
    (teacher,) = committed.values("fashion", "kid-rms", "teacher-ode")
    assert f"| teacher | {1000 * teacher:.2f} [" in table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("level fashion fd table3/dmd2 teacher-ode", "fix: write lower"),
        ("higher fashion fd table3/dmd2 table3/dmd", "fix: write lower"),
        ("lower digits fd gan dmd-no-regression", "two or more, got 1"),
        ("untested fashion fd table3/dmd2 table3/gan", "fix: test the claim"),
        ("lower fashion fd dmd3 gan", "dmd2"),
        ("lower fashion fid table3/dmd2 gan", "unknown metric"),
        ("mean fasion fd dmd2", "fashion"),
        ("mean digits fd table3/dmd2", "no record of dmd2 on digits has the recipe of its row in suite table3"),
        ("best fashion fd", "does not know"),
    ],
)
def test_a_claim_that_the_records_do_not_support_is_refused(committed: Results, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        page(f"{{{{{text}}}}}", committed)


def test_a_method_with_two_recipes_has_no_value(records: list[Record]) -> None:
    one = next(record for record in records if (record.task, record.method.name) == ("fashion", "dmd2"))
    other = one.method.model_copy(update={"recipe": one.method.recipe | {"lr": 1.0}})
    with pytest.raises(UserError, match=r"several recipes.*SUITE/dmd2"):
        Results([*records, one.model_copy(update={"method": other})]).mean("fashion", "fd", "dmd2")


def test_a_suite_names_one_of_several_recipes(committed: Results) -> None:
    """Table 3 on fashion has 1,400 generator updates a row; records of other trainings are not its row."""
    rows = committed.rows("fashion", "fd", "table3/dmd2")
    assert rows["generator_updates"].tolist() == [1400] * 3


def test_a_suite_names_the_sampler_of_the_teacher_of_its_students(committed: Results) -> None:
    """The samplers of two machines' teachers of `scenes` have the same run ids, and values 15 % apart."""
    one, other = (
        committed.rows("scenes", "patch-fd", f"{suite}/teacher-cfg3") for suite in ("table4", "tournament-scenes")
    )
    assert one["run_id"].tolist() == other["run_id"].tolist()
    assert one["networks_sha256"].tolist() != other["networks_sha256"].tolist()
    with pytest.raises(UserError, match="were measured through different networks"):
        committed.compare("scenes", "fd", "tournament-scenes/tdm", "table4/teacher-cfg3")


def test_cells_are_intervals_over_what_the_record_says(committed: Results, records: list[Record]) -> None:
    """The page once said "19.5 [16.6, 22.4]" of a record whose interval ends at 22.35."""
    found = [record for record in records if record.task == "digits" and record.method.name == "dmd2-4step"]
    (fd,) = (one for one in found[0].metrics if one.name == "fd")
    assert committed.cell("digits", "fd", "dmd2-4step") == f"{fd.value:.2f} [{fd.low:.2f}, {fd.high:.2f}]"
    values = committed.values("fashion", "fd", "table3/dmd2")
    mean, _, _, high = t_interval(values)
    assert committed.cell("fashion", "fd", "table3/dmd2").startswith(f"{mean:.2f} ± {(high or 0) - mean:.2f} (")


def test_the_page_is_written_by_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bench.report.results_page

    monkeypatch.setattr(bench.report.results_page, "PAGE", tmp_path / "results.md")
    bench.report.results_page.main()
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == generated()
