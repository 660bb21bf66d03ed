"""Progress figures, and the lines they are drawn from."""

import json
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.report.figures import progress_figure, read_progress


def test_a_figure_is_drawn_of_runs_that_log_different_things(tmp_path: Path) -> None:
    whole, brightness = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    lines = [{"iteration": i, "pixel_mean": i / 10, "pixel_std": 0.5, "fd": 10.0 / i} for i in (1, 2, 3)]
    whole.write_text("".join(json.dumps(line) + "\n" for line in lines))
    brightness.write_text('{"iteration": 1, "pixel_mean": 0.1}\n')
    progress_figure({"TTUR": whole, "no TTUR": brightness}, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl", "out.png"]


def test_a_killed_and_resumed_run_reads_as_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 2, "fd": 9.0}\n{"iteration": 1}\n{"iteration": 2, "fd": 5.0}\n{"itera')
    assert read_progress(path) == [{"iteration": 1}, {"iteration": 2, "fd": 5.0}]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 1}\nnonsense\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl:2"):
        read_progress(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_progress(tmp_path / "none.jsonl")


def test_an_odd_log_and_odd_names_take_no_figure_away(tmp_path: Path) -> None:
    good, odd = tmp_path / "good.jsonl", tmp_path / "odd.jsonl"
    good.write_text('{"iteration": 1, "fd": 2.0}\n{"iteration": 2, "fd": NaN}\n')
    odd.write_text('{"iteration": 1, "fd": "text"}\n')
    paths = {"$\\frac{": good, "_hidden": good, "a\nb\x1b": good, "odd": odd}
    problems = progress_figure(paths, tmp_path / "out.svg")
    assert len(problems) == 1
    assert f"{odd}:1" in problems[0]
    assert (tmp_path / "out.svg").stat().st_size > 1000
    with pytest.raises(UserError, match=r"odd\.jsonl:1"):
        progress_figure({"odd": odd}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
