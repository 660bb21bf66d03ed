"""`bench --version`, and what a shell completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import __version__
from bench.cli import command_line, completion


def test_version() -> None:
    done = CliRunner().invoke(command_line("--version"), ["--version"])
    assert done.exit_code == 0 and done.output == f"bench {__version__}\n"


def completed(*words: str) -> list[str]:
    """Return what a shell would offer for the last of these words."""
    environment = os.environ | {
        "_BENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("bench", *words)),
        "COMP_CWORD": str(len(words)),
    }
    code = "import sys; sys.argv = ['bench']; import bench.cli; bench.cli.main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_shell_completes_the_last_name_of_a_list() -> None:
    assert completed("run", "--method", "gan,dmd-t") == ["gan,dmd-ttur", "gan,dmd-ttur10"]


def test_names_of_every_kind_are_completed() -> None:
    assert completion.method_names("gan") == ["gan", "gan-ttur"]
    assert completion.method_names("gan,gan") == ["gan,gan-ttur"], "a name that the list has is not offered again"
    assert completion.task_names("dig") == ["digits"]
    assert completion.metric_names("fd,k") == ["fd,kid", "fd,kinds"]
    assert completion.suite_names("table3") == ["table3"]
    assert {"fashion", "fd", "figure8", "figure9"} <= set(completion.described_names("f"))


def test_samplers_are_completed_for_the_task_on_the_line() -> None:
    assert completed("eval", "--task", "digits", "--sampler", "teacher-") == ["teacher-ode", "teacher-sde"]
    assert completed("eval", "--sampler", "teacher-") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_installed(shell: str, tmp_path: Path) -> None:
    code = (
        "import typer.completion, bench.cli\n"
        f"typer.completion.install(shell={shell!r}, prog_name='bench', complete_var='_BENCH_COMPLETE')"
    )
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "_BENCH_COMPLETE" in written
