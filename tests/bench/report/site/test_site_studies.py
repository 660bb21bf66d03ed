"""User studies on the site: apart from measurements, with intervals over pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.files import digest
from bench.report.study.key import Subject
from bench.report.study.protocol import QUESTIONS, StudyImages, StudyProtocol
from bench.runs.record import Record

Make = Callable[..., Record]


def asked(record: Record, value: float = 0.75) -> Record:
    """Return the record of a study of a run's images, of 128 pairs."""
    other = Subject(
        run_id="gan-s0", method="gan", train_seed=0, checkpoint_sha256="c" * 64, record_sha256="d" * 64
    )
    protocol = StudyProtocol(
        study=digest([record.run_id]),
        questions={QUESTIONS[0].name: QUESTIONS[0].words},
        pairs=128,
        raters=5,
        against=other,
        images=StudyImages(
            protocol="fashion", protocol_sha256="e" * 64, noise="n", source="sheets", encoding="png"
        ),
        samples=128,
    ).model_dump(mode="json")
    metric = {
        "name": "preference",
        "title": "preference over gan",
        "direction": "higher",
        "value": value,
        "values": [value],
        "std": None,
        "low": 0.666,
        "high": 0.823,
        "samples": 128,
        "diagnostics": [{"answers": 640, "answers_won": 480, "pairs_tied": 0, "fast_pairs": 0, "kappa": 0.4}],
    }
    return Record.model_validate(
        record.model_dump()
        | {
            "run_id": f"{record.run_id}-study",
            "protocol": protocol,
            "protocol_sha256": digest(protocol),
            "metrics": [metric],
        }
    )


@pytest.fixture
def study(records: Any, make_record: Make) -> Record:
    """The record of a study on a site that also has the measurements of its run."""
    run = make_record("dmd2", 0)
    made = asked(run)
    records.add(run)
    records.add(made)
    return made


@pytest.fixture
def site(study: Record, records: Any) -> Path:
    """The site with the study."""
    assert study.metrics
    return Path(records.build(["table3"]))


def test_a_leaderboard_has_studies_in_a_part_of_their_own(site: Path, visit: Any) -> None:
    page = visit(site / "tasks" / "fashion.html")
    assert "1 run and 1 user study." in page.inner_text("main")
    measured, table = page.locator("table.results").all()
    assert "preference" not in measured.inner_text()
    assert "not run" not in table.inner_text()  # a study is about one run: no other is missing
    heads = [head.replace("\u00a0", " ") for head in table.locator("thead th").all_inner_texts()]
    assert heads == ["Method", "preference over gan ↑", "Recipe", "Seeds"]
    assert "0.750[0.666, 0.823]" in "".join(table.locator("tbody tr").inner_text().split("\t")).replace("] ", "]")
    assert table.get_by_role("checkbox").count() == 0  # it has nothing to be compared with
    section = page.locator("section").last
    assert "dmd2 against gan" in section.locator("h3").inner_text()
    assert "exact (Clopper-Pearson) 95 % interval over pairs" in section.inner_text()
    assert "480 of 640 answers" in section.inner_text()


def test_a_studys_page_speaks_of_pairs_and_leads_to_the_run(site: Path, study: Record, visit: Any) -> None:
    page = visit(site / "runs" / f"{study.run_id}.html")
    assert page.locator("h1").inner_text() == "User study: dmd2 on fashion, seed 0"
    words = page.inner_text("main")
    assert "0.666 to 0.823" in words and "95 % interval over pairs" in words
    assert "generation seed" not in words and "bench run" not in words
    page.get_by_role("link", name=study.run_id.removesuffix("-study")).click()
    assert page.locator("#command").inner_text().startswith("bench run --method dmd2")


def test_its_record_can_be_saved(site: Path, study: Record, visit: Any) -> None:
    page = visit(site / "runs" / f"{study.run_id}.html")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Record (JSON)").click()
    assert Record.model_validate_json(Path(saved.value.path()).read_text()) == study


def test_nothing_else_takes_a_study_for_a_measurement(site: Path, study: Record) -> None:
    for name in ("compare.html", "frontier/fashion.html", "suites/table3.html"):
        text = (site / name).read_text()
        assert study.run_id not in text and "preference" not in text, name
    index = (site / "index.html").read_text()
    assert "1 user study" in index and "1 run, after the DMD2 paper" in index


def test_a_task_may_have_nothing_but_studies(records: Any, make_record: Make) -> None:
    records.add(asked(make_record("dmd2", 0)))
    site = records.build()
    assert "0 runs and " in (site / "tasks" / "fashion.html").read_text()
    assert "The site has no measurements" in next((site / "runs").glob("*-study.html")).read_text()
