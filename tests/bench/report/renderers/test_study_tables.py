"""Tables of user studies: every format says that people were asked, and what their interval is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.core.files import digest
from bench.report.render import to_markdown
from bench.report.renderer import Layout
from bench.report.renderers.html import HTMLRenderer
from bench.report.renderers.terminal import TerminalRenderer
from bench.report.renderers.tex import TexRenderer
from bench.report.study.key import Subject
from bench.report.study.protocol import StudyImages, StudyProtocol
from bench.report.table import ReportTable, task_table
from bench.runs.record import Record

SHA256 = "ab" * 32


@pytest.fixture
def table(make_record: Callable[..., Record]) -> ReportTable:
    """The table of a study in which half of the pairs preferred A, so that the interval is symmetric."""
    against = Subject(
        run_id="teacher", method="teacher-ode", train_seed=None, checkpoint_sha256=SHA256, record_sha256=SHA256
    )
    images = StudyImages(protocol="fashion", protocol_sha256=SHA256, noise=SHA256, source="sheets", encoding="PNG")
    protocol = StudyProtocol(
        study=SHA256,
        questions={"preference": "Which?"},
        pairs=20,
        raters=3,
        against=against,
        images=images,
        samples=20,
    ).model_dump(mode="json")
    record = make_record(fd=(0.5,), metric="preference", title="preference over teacher-ode")
    (metric,) = record.metrics
    measured = metric.model_copy(update={"low": 0.272, "high": 0.728, "direction": "higher"})
    asked = {"protocol": protocol, "protocol_sha256": digest(protocol), "metrics": [measured]}
    return task_table([record.model_copy(update=asked)], "fashion")


FORMATS: dict[str, Callable[[ReportTable], str]] = {
    "md": to_markdown,
    "terminal": lambda table: TerminalRenderer().render([table], Layout(100)),
    "tex": lambda table: TexRenderer().render([table], Layout()),
    "html": lambda table: HTMLRenderer().render([table], Layout()),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_study_is_no_measurement_over_generation_seeds(name: str, table: ReportTable) -> None:
    shown = " ".join(FORMATS[name](table).replace("{[}", "[").split())
    assert "0.272, 0.728]" in shown
    assert "3 rater(s) saw 20 pairs" in shown and "exact (Clopper-Pearson)" in shown
    assert "generation seed" not in shown and "20 images" not in shown
