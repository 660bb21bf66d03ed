"""The lines of docs/library.md run, and a run's own file repeats it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Printed
from tests_support import TINY_PLUGIN

from bench.core.errors import UserError
from bench.jobs.spec import JobSettings, plugin_hashes
from bench.jobs.start import main
from bench.runs.plan import Run
from bench.task.base import PreparedTask
from bench.task.declaration import Sources

PAGE = Path(__file__).parents[3] / "docs" / "library.md"


def test_the_lines_of_the_page_run_and_show_a_table(
    tmp_path: Path,
    cache: Path,
    tiny: PreparedTask,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tiny.task.name == "tiny"
    (lines,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(cache))
    given = f'task="tiny", plugins=[Path({str(TINY_PLUGIN)!r})], baselines=False'
    small = lines.replace('task="digits"', given).replace("500}", '24, "batch_size": 4, "warmup": 2}')
    exec(compile(small, str(PAGE), "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert "24 iterations" in printed and "| dmd2" in printed


@pytest.fixture
def described(plan: Callable[..., Run], cache: Path) -> Run:
    """A planned run whose folder describes its job."""
    run = plan("dmd", iterations=12)  # which reads all values that it is given
    JobSettings(run.root, Sources(cache), plugins=plugin_hashes([TINY_PLUGIN])).run(run).write()
    return run


def test_a_runs_own_file_repeats_it(described: Run, bench: Callable[..., Printed], tmp_path: Path) -> None:
    config = described.folder / "run.toml"
    assert tomllib.loads(config.read_text())["set"]["iterations"] == 12
    shown = bench("run", "--config", config, "--dry-run", "--runs", described.root)
    assert shown.code == 0 and described.id in shown.text
    assert described.id not in bench("run", "--config", config, "--seed", "7", "--dry-run").text
    config.write_text("iteratons = 3\n")
    assert "unknown key 'iteratons'" in bench("run", "--config", config).text
    config.write_text("seed =\n")
    assert f"{config} is no TOML file" in bench("run", "--config", config).text
    assert not (tmp_path / "runs").exists()


def test_a_job_refuses_what_is_no_longer_what_it_was_planned_with(described: Run) -> None:
    path = described.folder / "run.json"
    whole = path.read_text()
    path.write_text(whole.replace('"iterations": 12', '"iterations": 13'))
    with pytest.raises(UserError, match=r"submitted for .*changed since: .*; fix: submit it again"):
        main(str(described.folder), "run")
    (hashed,) = set(re.findall(rf'{re.escape(str(TINY_PLUGIN))}": "([0-9a-f]+)"', whole))
    path.write_text(whole.replace(hashed, "0" * 64))
    with pytest.raises(UserError, match=r"tiny_task.py has changed since this job was planned"):
        main(str(described.folder), "run")
