"""An unexpected error is one line that says whose it is; whatever a plug-in raises, no command ends silently."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer

import bench.cli
from bench.cli.faults import of_plugin, unexpected
from bench.cli.json_output import print_json
from bench.core.stopping import Interrupted
from bench.runs.plugins.files import function_in


def test_an_unexpected_error_is_one_line() -> None:
    try:
        raise RecursionError("too deep\nand more")
    except RecursionError as error:
        reason = unexpected(error)
    assert reason.startswith("unexpected RecursionError: too deep (test_plugin_faults.py:")
    assert "\n" not in reason and "please report it" in reason


def test_an_error_in_a_plugins_code_is_the_plugins(tmp_path: Path) -> None:
    """Nobody shall report it here."""
    path = tmp_path / "mine.py"
    path.write_text("def sampler(count):\n    return 1 / count\n")
    sampler, _ = function_in(path, "sampler")
    with pytest.raises(ZeroDivisionError) as caught:
        sampler(0)
    reason = unexpected(caught.value)
    assert reason.startswith("plug-in mine.py failed in line 2: ZeroDivisionError: ") and "report" not in reason


def test_an_interrupted_command_names_the_line_of_the_plugin_that_it_was_in(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def sampler(stop):\n    stop()\n")
    sampler, _ = function_in(path, "sampler")

    def stop() -> None:
        raise Interrupted

    with pytest.raises(Interrupted) as caught:
        sampler(stop)
    assert bench.cli.interrupted(caught.value) == "interrupted in line 2 of plug-in mine.py"
    assert not of_plugin(caught.value), "it is no mistake of the plug-in"


def test_an_error_in_an_installed_plugin_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Installed:
        name, version = "their-package", "2.0"

    point = EntryPoint("theirs", "their_module:METRIC", "bench.metrics")._for(Installed())
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point] if group == point.group else [])
    (tmp_path / "their_module.py").write_text("def fail():\n    open('/no/such/file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    import their_module

    with pytest.raises(OSError) as caught:
        their_module.fail()
    assert unexpected(caught.value).startswith(
        "plug-in their-package 2.0 (their_module) failed in line 2: FileNotFoundError: "
    )


def test_what_an_object_of_a_plugin_lacks_is_the_plugins_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("class Mine: ...\n\ndef make(): return Mine()\n")
    made = function_in(path, "make")[0]()
    with pytest.raises(AttributeError) as caught:
        _ = made.protocol
    assert unexpected(caught.value).startswith("plug-in mine.py failed: AttributeError: 'Mine' object has no")


Ended = Callable[[Callable[[], None]], int]


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Ended:
    """Return a function that runs another one as a command, and returns the exit code."""

    def run(command: Callable[[], None]) -> int:
        app = typer.Typer(pretty_exceptions_enable=False)
        app.command()(command)
        monkeypatch.setattr(bench.cli, "command_line", lambda _: app)
        monkeypatch.setattr(bench.cli, "_hear_signals", lambda: None)
        with pytest.raises(SystemExit) as end:
            bench.cli.main()
        return int(end.value.code or 0)

    monkeypatch.setattr(sys, "argv", ["bench"])
    return run


@pytest.mark.parametrize(
    "line",
    ["SystemExit(0)", "KeyboardInterrupt", "BaseException('a')", "EOFError", "OSError('gone')", "GeneratorExit"],
)
def test_whatever_a_plugin_raises_in_a_command_is_an_error_that_names_its_line(
    line: str, ended: Ended, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`raise SystemExit(0)` in a metric ended the command with success, and without a result."""
    path = tmp_path / "mine.py"
    path.write_text(f"def fail():\n    raise {line}\n")
    fail, _ = function_in(path, "fail")
    assert ended(lambda: fail()) == 2
    said = capsys.readouterr().err
    assert "error: plug-in mine.py failed in line 2: " in said and "Traceback" not in said


@pytest.mark.parametrize(("raised", "code"), [(typer.Exit(3), 3), (Interrupted(), 130), (typer.Exit(0), 0)])
def test_a_command_that_ends_itself_keeps_its_exit_code(
    raised: Exception, code: int, ended: Ended, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise raised

    assert ended(command) == code
    assert "error" not in capsys.readouterr().err


def test_what_a_plugin_prints_is_no_part_of_the_json(
    ended: Ended, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--json"])

    def command(as_json: bool = typer.Option(False, "--json")) -> None:
        print("from a plug-in")
        print_json({"right": as_json})

    assert ended(command) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"right": True} and printed.err == "from a plug-in\n"
