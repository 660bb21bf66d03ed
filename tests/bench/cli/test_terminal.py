"""Printed output, wherever it goes: any locale, a reader that leaves, a full disk, a closed stream."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import bench.cli
from bench.cli.terminal import print as shown


def piped(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `$BENCH` is the command line."""
    variables = {**os.environ, "BENCH": f"{sys.executable} -m bench", **environment}
    done = ["bash", "-c", command]
    return subprocess.run(done, capture_output=True, text=True, env=variables, check=False, timeout=120)


def test_what_is_printed_is_obeyed_by_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown("a\x1b[2J", 3, "b\u202e\n\tc")
    assert capsys.readouterr().out == "a\\x1b[2J 3 b\\u202e\n\tc\n"


COMMANDS = [path for path in sorted(Path(bench.cli.__file__).parent.glob("*.py")) if path.stem != "terminal"]
"""The files whose `print` must be that of `bench.cli.terminal`, which defines it."""


def test_json_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A message of the same command names the folder of the runs, whose quote would end a string of JSON."""
    monkeypatch.setattr(sys, "argv", ["bench", "status", "--runs", 'my "runs"', "--json"])
    data = {"reason": "fix: bench status lists them"}
    shown(json.dumps(data))
    shown(data["reason"])
    made, message = capsys.readouterr().out.splitlines()
    assert json.loads(made) == data
    assert message == """fix: bench status --runs 'my "runs"' lists them"""


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_every_command_prints_by_it(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    sources = {node.module for node in imported for name in node.names if name.name == "print"}
    assert "print" not in called or sources == {"bench.cli.terminal"}


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        ("$BENCH list suites | true", 0, ""),
        ("$BENCH list suites > /dev/full", 2, "error: [Errno 28] No space left on device\n"),
        ("$BENCH list suites >&-", 0, ""),
        ("PYTHONIOENCODING=ascii LC_ALL=C $BENCH describe table3", 0, ""),
        ("$BENCH list $'no\\x1bsuch' 2>&-", 2, ""),
    ],
)
def test_no_stream_gives_a_traceback(command: str, code: int, reason: str) -> None:
    done = piped(command)
    assert (done.returncode, done.stderr) == (code, reason)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("run --method dmd2 --dry-run", "; the same command goes on from the last checkpoint"),
        ("sweep --task digits --dry-run", "; the same command keeps the points that are measured"),
        ("list methods", ""),
    ],
)
def test_an_interrupted_command_promises_only_what_it_keeps(command: str, said: str, tmp_path: Path) -> None:
    plugin = tmp_path / "plug.py"
    plugin.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    done = piped(f"$BENCH {command} --plugin {plugin}")
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == f"interrupted in line 2 of plug-in plug.py{said}\n"


def test_a_command_that_says_itself_what_goes_on_is_not_contradicted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()

    @app.command()
    def watch() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    monkeypatch.setattr(sys, "argv", ["bench"])
    for part in ("_hear_signals", "open_streams"):
        monkeypatch.setattr(bench.cli, part, lambda: None)
    monkeypatch.setattr(bench.cli, "command_line", lambda _: app)
    with pytest.raises(SystemExit) as ended:
        bench.cli.main()
    assert ended.value.code == 130 and capsys.readouterr().err == ""
