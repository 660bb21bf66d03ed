"""A broken plug-in gives one line that names it; it writes no file, ends no process and hides nothing."""

from __future__ import annotations

import os
import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from bench.core.errors import UserError
from bench.core.imports import load_class
from bench.core.stopping import Interrupted, Stopped
from bench.runs.plugins.kinds import KINDS
from bench.runs.registry import Registry, load_catalogue
from bench.runs.task_sources import pinned_task
from bench.task.base import Task
from tasks.digits import TASK as DIGITS

METHOD = """
from bench.training.distiller import Distiller

class Mine(Distiller):
    "A method."
    {field}
    def setup(self, setting): ...
    def training_step(self, batch): ...
"""
TASK = """
from dataclasses import replace
from tasks.digits.task import TASK as DIGITS

OTHER = replace(DIGITS, **({{"name": "mine"}} | {{{field}}}))
"""


def refused(tmp_path: Path, text: str | bytes) -> str:
    """Return the error for a plug-in file of this text, one line that names it."""
    path = tmp_path / "plug.py"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        load_catalogue([path])
    reason = str(caught.value)
    assert str(path) in reason
    assert "\n" not in reason
    return reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise SystemExit", "SystemExit"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("class Odd(BaseException): pass\nraise Odd('a\\nb')", ":2 failed: Odd: a"),
        (
            "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
            "without a readable message",
        ),
        ("from bench.core.errors import UserError\nraise UserError('x')", "UserError: x"),
        ("def f(): f()\nf()", "RecursionError"),
        ("x = (", ":1 failed: SyntaxError"),
        (b"\xff\xfe\x00", "failed"),
        (b"\x00", "failed"),
        ("", "defines nothing to register"),
    ],
)
def test_whatever_an_import_does_is_one_line_that_names_the_plugin(
    tmp_path: Path, text: str | bytes, reason: str
) -> None:
    assert reason in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ('name = "../../evil"', "class Mine has the name '../../evil'"),
        ('name = "a\\x1b[31m"', "class Mine has the name 'a\\x1b[31m'"),
        ('name = "--help"', "name '--help'"),
        ("name = 3", "name 3"),
        ('name = ["x"]', "name ['x']"),
        ("recipe_model = 3", "recipe_model 3; fix: give it a subclass of Recipe"),
        ("recipe_model = dict", "recipe_model <class 'dict'>"),
        ("recipes = 3", "recipes 3; fix: give it tables"),
        ("recipes = {'digits': 3}", "recipes {'digits': 3}"),
        ("recipes = {3: {}}", "recipes {3: {}}"),
    ],
)
def test_a_method_of_wrong_types_is_refused(tmp_path: Path, field: str, reason: str) -> None:
    assert reason in refused(tmp_path, METHOD.format(field=field))


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ('"name": "../../evil"', "task has the name '../../evil'"),
        ('"name": "a\\nb"', "task has the name"),
        ('"name": None', "task has the name None"),
        ('"name": []', "task has the name []"),
        ('"summary": 3', "summary 3"),
        ('"scale": "big"', "scale 'big'"),
        ('"image_shape": 3', "image_shape 3"),
        ('"image_shape": (1, 0, 8)', "image_shape (1, 0, 8); fix: give it three whole numbers (C, H, W)"),
        ('"image_shape": (4, 8, 8)', "image_shape (4, 8, 8); fix: give it three whole numbers (C, H, W), C 3 for"),
        ('"protocol": None', "protocol None"),
        ('"protocol": replace(DIGITS.protocol, name="../x")', "protocol name '../x'"),
        ('"baselines": []', "baselines []"),
        ('"baselines": {"a/b": None}', "has the baselines {'a/b': None}"),
        (
            '"baselines": {"other": DIGITS.baselines["teacher-ode"]}',
            "baseline 'other'; fix: give it a Baseline of the",
        ),
        ('"licences": {"x": 3}', "licences {'x': 3}"),
        ('"recipes": 3', "recipes 3"),
        ('"data": None', "data None"),
        ('"class_names": ("a", 3)', "class_names ('a', 3); fix: give it a value of the type tuple[str, ...]"),
        ('"network": {}', "network {}"),
        ('"network": replace(DIGITS.network, channels=32)', "its network has the channels 32"),
        ('"teacher": replace(DIGITS.teacher, batch_size="64")', "batch_size '64'; fix: give it a whole number"),
        ('"protocol": replace(DIGITS.protocol, uint8="rund")', "the uint8 'rund'; fix: give it 'round' or 'edm'"),
        ('"protocol": replace(DIGITS.protocol, labels="blanced")', "the labels 'blanced'"),
        ('"protocol": replace(DIGITS.protocol, metrics="fd")', "the metrics 'fd'"),
        ('"protocol": replace(DIGITS.protocol, samples=True)', "the samples True"),
        ('"protocol": replace(DIGITS.protocol, repetitions=0)', "the repetitions 0; fix: give it 1 or more"),
    ],
)
def test_a_task_of_wrong_types_is_refused(tmp_path: Path, field: str, reason: str) -> None:
    assert reason in refused(tmp_path, TASK.format(field=field))


MEASURE = """
from bench.metrics.base import Measured, Metric
from bench.metrics.info import MetricInfo

class Mine(Metric):
    info = MetricInfo("{name}", "Mine", "lower", 10, "a metric", "here")
    def update(self, batch): ...
    def result(self): return Measured({value}, 10, {{}})
"""


def test_two_files_of_one_name_are_refused_since_the_second_would_be_run_for_both(tmp_path: Path) -> None:
    files = [tmp_path / folder / "mine.py" for folder in ("a", "b")]
    for path in files:
        path.parent.mkdir()
        path.write_text(MEASURE.format(name=f"mine-{path.parent.name}", value=1.0))
    with pytest.raises(
        UserError, match=r"two plug-in files are called mine\.py: .*a/mine.* and .*b/mine.*; fix: re"
    ):
        load_catalogue(files)


BY_NAME = """
class Mine(Metric):
    def update(self, batch): ...
    def result(self): return Measured({value}, 10, {{}})

INFO = MetricInfo("{name}", "Mine", "lower", 10, "a metric", "here", implementation=f"{{__name__}}:Mine")
"""


@pytest.mark.parametrize("code", [MEASURE, MEASURE.partition("class ")[0] + BY_NAME], ids=["class", "by name"])
def test_two_catalogues_have_files_of_one_name_each_with_its_own_metric(tmp_path: Path, code: str) -> None:
    found = []
    for value in (1.0, 2.0):
        path = tmp_path / str(value) / "mine.py"
        path.parent.mkdir()
        path.write_text(code.format(name="mine", value=value))
        found.append(load_catalogue([path]).metrics.get("mine"))
    results = [load_class(info.implementation).result(None).value for info in found]
    assert results == [1.0, 2.0]
    assert {load_class(info.implementation).__module__ for info in found} == {"bench_plugin_mine"}


def test_a_metrics_file_is_part_of_the_protocol_that_it_measures_under(tmp_path: Path) -> None:
    protocols = []
    for value in (1.0, 2.0):
        (tmp_path / "mine.py").write_text(MEASURE.format(name="mine", value=value))
        task = pinned_task(load_catalogue([tmp_path / "mine.py"]), "digits", tmp_path, metrics=["fd", "mine"])
        protocols.append(task.protocol)
    assert [list(one.plugins) for one in protocols] == [["mine"], ["mine"]]
    assert protocols[0].digest() != protocols[1].digest()
    assert pinned_task(load_catalogue([tmp_path / "mine.py"]), "digits", tmp_path).protocol == DIGITS.protocol


@pytest.mark.parametrize("suffix", ["py", "toml"])
def test_a_name_that_no_bundle_holds_is_refused_before_a_training(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'my "own": method.{suffix}'
    path.write_text("")
    command = f"mv '{path}' {tmp_path / f'my_own_method.{suffix}'}"
    with pytest.raises(UserError, match=re.escape(f"fix: {command}")):
        load_catalogue([path])


def test_a_plugin_that_is_a_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plug.py")
    with pytest.raises(UserError, match=r"plug\.py is a named pipe"):
        load_catalogue([tmp_path / "plug.py"])


def test_what_a_plugin_prints_is_no_part_of_the_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plug.py"
    path.write_text(f"print('hello')\n{METHOD.format(field='')}")
    assert "mine" in load_catalogue([path]).methods.entries
    assert capsys.readouterr() == ("", "hello\n")


def test_a_schedulers_signal_ends_the_command_though_it_arrives_in_an_import(tmp_path: Path) -> None:
    path = tmp_path / "plug.py"
    path.write_text("import signal\nfrom bench.core.stopping import Stopped\nraise Stopped(signal.SIGTERM)")
    with pytest.raises(Stopped):
        load_catalogue([path])


def test_a_user_who_interrupts_an_import_is_obeyed(tmp_path: Path) -> None:
    """Ctrl-C raises Interrupted; a KeyboardInterrupt of the plug-in's own is its error."""
    path = tmp_path / "slow.py"
    path.write_text("from bench.core.stopping import Interrupted\nraise Interrupted")
    with pytest.raises(Interrupted):
        load_catalogue([path])
    path.write_text("raise KeyboardInterrupt")
    with pytest.raises(UserError, match="failed: KeyboardInterrupt"):
        load_catalogue([path])


def test_an_installed_plugin_that_exits_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exits_at_import.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("gone", "exits_at_import:TASK", "bench.tasks")
    tasks: Registry[Task] = Registry.installed(KINDS["task"], [(point, "elsewhere 1.0")])
    with pytest.raises(
        UserError, match=r"'gone' from elsewhere 1\.0 cannot be loaded: SystemExit: 0; fix: install"
    ):
        tasks.get("gone")


def test_of_two_packages_with_one_name_one_is_to_be_uninstalled() -> None:
    points = [
        (EntryPoint("mine", "mine:X", "bench.metrics"), origin) for origin in ("a-package 1.0", "b-package 2.1")
    ]
    with pytest.raises(UserError, match=r"by a-package 1\.0 and by b-package 2\.1; fix: pip uninstall b-package"):
        Registry.installed(KINDS["metric"], points)


@pytest.mark.parametrize(
    ("line", "how"),
    [
        ("torch.set_default_dtype(torch.float64)", "torch.set_default_dtype: torch.float32 is torch.float64 now"),
        ("torch.set_default_device('meta')", "torch.set_default_device: cpu is meta now"),
        ("torch.set_grad_enabled(False)", "torch.set_grad_enabled: True is False now"),
        ("torch.use_deterministic_algorithms(True)", "torch.use_deterministic_algorithms: False is True now"),
        ("torch.set_num_threads(torch.get_num_threads() + 1)", "torch.set_num_threads: "),
        ("os.chdir('/')", "os.chdir: "),
    ],
)
def test_an_import_that_changes_the_whole_process_is_refused_and_undone(
    line: str, how: str, tmp_path: Path
) -> None:
    def state() -> list[object]:
        dtype, device, grad = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
        return [
            dtype,
            device,
            grad,
            torch.are_deterministic_algorithms_enabled(),
            torch.get_num_threads(),
            Path.cwd(),
        ]

    before = state()
    said = refused(tmp_path, f"import os, torch\n{line}\n{METHOD.format(field='')}")
    assert how in said and "fix: take that line out" in said
    assert state() == before
