"""A plug-in's class takes the arguments that it is called with, and its values are of the declared types."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.runs.plugins.kinds import ROWS, Kind
from bench.runs.registry import load_catalogue

EXAMPLES = Path(__file__).parents[4] / "examples"
DATASET = """
from dataclasses import dataclass
from bench.data.base import Dataset

@dataclass(frozen=True)
class Mine(Dataset):
    def locate(self, folder, cache): ...
    def load(self): ...

DATA = Mine("mine", "mine", "none", "mine")
"""


def refused(tmp_path: Path, text: str) -> str:
    """Return the error for a plug-in file of this text."""
    path = tmp_path / "plug.py"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_catalogue([path])
    return str(caught.value)


@pytest.mark.parametrize(
    ("example", "line", "wrong", "reason"),
    [
        (
            "texture",
            "def update(self, batch)",
            "def update(self)",
            "update cannot be called as update(self, batch)",
        ),
        ("texture", "    total, count", "    def __init__(self): ...\n    total, count", "its __init__ cannot be"),
        ("texture", "    total, count", "    check = None\n    total, count", "its check cannot be called as"),
        ("texture", "def load(self, files, device)", "def load(self, files)", "class TextureNetwork: its load"),
        ("texture", 'direction="lower"', 'direction="up"', "direction 'up'; fix: give it 'lower' or 'higher'"),
        ("texture", "needs_reference=True", 'needs_reference="no"', "needs_reference 'no'; fix: give it True or"),
        ("texture", "needs_reference=True", "range=(0, None)", "range (0, None)"),
        ("texture", "needs_reference=True", 'compares_with="fake"', "compares_with 'fake'; fix: give it 'real'"),
        ("texture", "min_samples=100", "min_samples=0", "min_samples 0; fix: give it 1 or more"),
        ("texture", 'source="this example"', "source=None", "source None; fix: give it text"),
        ("texture", 'name="texture",\n    summary', 'name="main",\n    summary', "name of every protocol's own"),
        ("texture", '"CC0-1.0"', "None", "its weights 0 has the licence None; fix: give it text"),
        ("html_report", "tables: Sequence[ReportTable], layout: Layout", "tables", "render(self, tables, layout)"),
        ("html_report", '    summary = "one HTML page that needs no other file"\n', "", "the summary None"),
        (
            "html_report",
            '    name = "plain-html"\n',
            "",
            "nothing to register; fix: .* Renderer class with a name",
        ),
        (
            "html_report",
            "    def render",
            "    def __init__(self, a): ...\n    def render",
            "cannot be made: TypeErr",
        ),
        (
            "one_by_one",
            "options: ExecutorOptions) -> One",
            "**more: str) -> One",
            "create(cls, settings, options)",
        ),
        ("backbone", "forward(self, x_t, t, condition)", "forward(self, x_t)", "forward(self, x_t, t, condition)"),
        ("consistency", "training_step(self, batch", "training_step(self, a, batch", "training_step(self, batch)"),
    ],
)
def test_a_member_that_does_not_fit_is_refused_where_the_file_is_read(
    example: str, line: str, wrong: str, reason: str, tmp_path: Path
) -> None:
    text = (EXAMPLES / f"{example}.py").read_text()
    assert line in text
    said = refused(tmp_path, text.replace(line, wrong, 1))
    start, _, end = reason.partition(" .* ")
    assert start in said and end in said


def test_a_data_set_whose_loader_takes_nothing_is_refused(tmp_path: Path) -> None:
    assert "class Mine: its load cannot be called as load(self, folder, cache, download, progress)" in refused(
        tmp_path, DATASET
    )


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.name)
def test_everything_that_comes_with_the_package_fits(kind: Kind) -> None:
    registry = load_catalogue().registries[kind.name]
    assert [entry.load() for entry in registry]
