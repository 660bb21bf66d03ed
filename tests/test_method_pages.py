"""The pages on methods against what is registered, so that none is missing or out of date."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from bench.runs.registry import load_catalogue

FOLDER = Path(__file__).parents[1] / "docs" / "methods"
METHODS = load_catalogue().methods


def script() -> ModuleType:
    """Import docs/methods/curves.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("curves", FOLDER / "curves.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CURVES = script()
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
NAMED = {name: page for page, text in PAGES.items() for name in CURVES.methods_of(text)}
"""The page on which a method is named."""


def page_of(name: str) -> str | None:
    """Return the page of a method; a variant in the number of steps alone is on its method's page."""
    return NAMED.get(name, NAMED.get(re.sub(r"-\dstep$", "", name)))


@pytest.mark.parametrize("name", sorted(METHODS.entries))
def test_every_method_is_on_a_page(name: str) -> None:
    assert page_of(name), f"name {name} in the line 'Methods:' of a page in docs/methods"


@pytest.mark.parametrize("page", [page for page in PAGES if page != "README"])
def test_a_page_has_its_parts_and_is_in_the_index(page: str) -> None:
    text = PAGES[page]
    assert CURVES.methods_of(text), "a page names its methods"
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[:3] == ["What it does", "The recipe", "What goes wrong, and how the curves tell"]
    assert re.search(r"\]\(https://arxiv.org/abs/\d{4}\.\d{5}\)", text)
    assert f"]({page}.md)" in PAGES["README"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    for target in re.findall(r"\]\((?!https:)([^)#]+)", PAGES[page]):
        assert (FOLDER / target).exists(), target


@pytest.mark.parametrize("name", sorted(METHODS.entries))
def test_keys_of_a_page_are_keys_of_its_methods(name: str) -> None:
    page = page_of(name)
    assert page is not None
    keys = {
        key
        for cell in re.findall(r"^\| (`.+?) \|", PAGES[page], re.MULTILINE)
        for key in re.findall("`(.+?)`", cell)
    }
    registered = [other for other in CURVES.methods_of(PAGES[page]) if other in METHODS.entries]
    known = {key for other in registered for key in METHODS.get(other).recipe_model().model_fields}
    assert keys <= known


def test_curves_are_drawn_from_a_log_with_and_without_an_average(tmp_path: Path) -> None:
    """Short and long logs, terms that are not logged in each line, and an FD in lines of its own."""
    log, out = tmp_path / "log.jsonl", tmp_path / "curves" / "mine.png"
    lines = [
        f'{{"iteration": {i}, "loss/a": {1 / i}, "gradient/student": 1.0, "pixel_mean": 0.3}}'
        for i in range(1, 60)
    ]
    lines += ['{"iteration": 10, "loss/b": -0.5, "logits/real": 1.0}', '{"iteration": 30, "fd": 12.0}']
    log.write_text("\n".join(lines) + "\n")
    CURVES.draw(log, out)
    assert out.read_bytes().startswith(b"\x89PNG")


def test_the_run_that_is_shown_is_the_best_of_the_first_method_with_a_log() -> None:
    records = CURVES.load_records([CURVES.RECORDS]).records
    run = CURVES.good_run(["no-such-method", "dmd2", "gan"], records)
    assert (run.record.method.name, run.record.task) == ("dmd2", "fashion")
    assert run.log.is_file()
    assert CURVES.good_run(["no-such-method"], records) is None


def test_the_section_of_curves_is_replaced() -> None:
    run = CURVES.good_run(["dmd2"], CURVES.load_records([CURVES.RECORDS]).records)
    once = CURVES.with_curves("# Mine\n\nText.\n", "mine", run)
    assert once.endswith("](curves/mine.png)\n") and run.caption in once
    assert CURVES.with_curves(once, "mine", run) == once
