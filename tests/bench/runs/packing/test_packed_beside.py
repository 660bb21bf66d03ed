"""Plug-in files and tunings in a bundle: which are packed, and that nothing in a bundle is ever run."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from example_records import EXAMPLE, SAMPLER
from finished_runs import finished_run

from bench.core.errors import UserError
from bench.core.files import digest
from bench.runs.checks.check import Checker
from bench.runs.packing.bundles import opened, write_zip
from bench.runs.packing.pack import packed, write_packed
from bench.runs.records import load_records
from bench.runs.registry import load_catalogue
from bench.runs.tuning.record import Tuning

CODE = """\
from bench.metrics.base import Measured, Metric
from bench.metrics.info import MetricInfo

class Mine(Metric):
    info = MetricInfo("mine", "Mine", "lower", 10, "a metric", "here")
    def update(self, batch): ...
    def result(self): return Measured(1.0, 10, {})
"""
SHA256 = hashlib.sha256(CODE.encode()).hexdigest()
OF_PLUGIN = {"method.plugin_sha256": SHA256, "method.distiller": "bench_plugin_mine:Mine"}
NAME = f"plugins/{SHA256}/mine.py"


@pytest.fixture(scope="module")
def checker() -> Checker:
    """The checks of this installation."""
    return Checker(load_catalogue())


def plugin(folder: Path, name: str = "mine.py", code: str = CODE) -> Path:
    """Write a plug-in file and return its path."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(code)
    return path


def tuning(runs: Path, points: tuple[str, ...] = ()) -> Path:
    """Write the record of a tuning of two points that chose the example's batch."""
    batch = EXAMPLE["method"]["recipe"]["batch_size"]
    ids = points or ("dmd2-s100-0123456789", "dmd2-s100-9876543210")
    content = {
        "method": "dmd2",
        "task": "digits",
        "protocol": "digits",
        "grid": {"batch_size": [batch, 7]},
        "fixed": {},
        "seed": 100,
        "budget": {"passes": 9999},
        "recipe_sha256": "ab" * 32,
    }
    answer = {
        "protocol_sha256": EXAMPLE["protocol_sha256"],
        "metric": "fd",
        "direction": "lower",
        "points": [
            {"values": {"batch_size": size}, "run_id": run_id, "value": float(size != batch), "train_seconds": 1.0}
            for size, run_id in zip((batch, 7), ids, strict=True)
        ],
        "chosen": {"batch_size": batch},
        "provenance": EXAMPLE["provenance"],
    }
    path = runs / "tuning" / "digits" / f"dmd2-{digest(content)[:10]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Tuning.model_validate({**content, **answer}).model_dump_json(indent=2) + "\n")
    return path


def other_choice(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what changes in a tuning of which the other point is the best."""
    points = [point | {"value": 1 - point["value"]} for point in answer["points"]]
    return {"points": points, "chosen": points[1]["values"]}


def test_a_plug_in_is_packed_as_the_file_of_its_hash(checker: Checker, tmp_path: Path) -> None:
    path = plugin(tmp_path)
    folder = finished_run(tmp_path / "runs", OF_PLUGIN, plugins={path: SHA256})
    found = packed([folder], checker)
    assert found.files[NAME] == CODE.encode() and found.beside == [NAME]
    for name in ("a.zip", "b.zip"):
        write_packed(packed([folder], checker), tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    write_packed(found, tmp_path / "results" / "records")
    assert (tmp_path / "results" / NAME).read_text() == CODE
    write_packed(found, tmp_path / "theirs")
    assert (tmp_path / "theirs" / NAME).read_text() == CODE


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "edited"])
def test_a_plug_in_that_is_not_the_recorded_one_is_refused_and_may_be_named(
    checker: Checker, tmp_path: Path, gone: bool
) -> None:
    path = plugin(tmp_path)
    folder = finished_run(tmp_path / "runs", OF_PLUGIN, plugins={path: SHA256})
    path.unlink() if gone else path.write_text(f"{CODE}# edited\n")
    with pytest.raises(UserError, match=rf"the plug-in file mine\.py is gone or was changed.* {SHA256[:12]}"):
        packed([folder], checker)
    named = Checker(load_catalogue([plugin(tmp_path / "old", "as_it_was.py")]))
    assert packed([folder], named).beside == [NAME]  # under the name that the run's id depends on


@pytest.mark.parametrize("base", [EXAMPLE, SAMPLER], ids=["a built-in method", "a sampler"])
def test_a_file_that_was_given_beside_what_a_run_needed_may_be_gone(
    checker: Checker, tmp_path: Path, base: Mapping[str, Any]
) -> None:
    """Such as the file of the method that was trained in the same command, edited since: dmd2 stays finished."""
    path = plugin(tmp_path)
    folder = finished_run(tmp_path / "runs", base=base, plugins={path: SHA256})
    assert packed([folder], checker).beside == [NAME]
    path.write_text(f"{CODE}# edited\n")
    found = packed([folder], checker)
    (finding,) = found.findings
    assert not found.beside
    assert finding.startswith(f"{folder.name}: note: the plug-in file mine.py, which it did not need, is gone")


@pytest.mark.parametrize(
    "values", [{"method.origin": "plug-in mine.toml"}, {"task": "mine"}], ids=["a variant", "a task"]
)
def test_a_file_that_a_run_may_have_needed_is_asked_for(
    checker: Checker, tmp_path: Path, values: Mapping[str, Any]
) -> None:
    """Neither a table of variants nor a task has its hash in the record."""
    folder = finished_run(tmp_path / "runs", values, plugins={tmp_path / "gone.py": SHA256})
    with pytest.raises(UserError, match=r"the plug-in file gone\.py is gone or was changed"):
        packed([folder], checker)


def test_a_method_of_an_installed_package_is_packed_without_its_code_and_a_reader_is_told(
    checker: Checker, tmp_path: Path
) -> None:
    values = {"method.plugin_sha256": SHA256, "method.distiller": "theirs.method:Theirs"}
    folder = finished_run(tmp_path / "runs", values | {"method.origin": "theirs 1.0"})
    found = packed([folder], checker)
    assert not found.beside
    (finding,) = found.findings
    assert finding.startswith(f"{folder.name}: warning: its method is of theirs 1.0, which a bundle does not hold")


def test_a_metric_of_an_installed_package_is_no_plug_in_file(tmp_path: Path) -> None:
    catalogue = load_catalogue([plugin(tmp_path)])
    entry = catalogue.metrics.entries["mine"]
    entry.file_sha256, entry.module, entry.origin = "", "theirs.metric", "theirs 2.0"
    values = {"protocol.plugins": {"mine": "ab" * 32}, "protocol.name": "mine"}
    folder = finished_run(tmp_path / "runs", values)
    found = packed([folder], Checker(catalogue))
    assert not found.beside
    assert any("its metric mine is of theirs 2.0, which a bundle does not hold" in one for one in found.findings)


def test_what_a_plug_in_imports_that_is_not_installed_is_named(
    checker: Checker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle holds one file, so that it alone would not run."""
    code = (
        "import random\nfrom parts.losses import loss\nimport helper, bench, numpy, elsewhere, spaces.one\n" + CODE
    )
    path, sha256 = plugin(tmp_path / "mine", code=code), hashlib.sha256(code.encode()).hexdigest()
    for name in ("helper.py", "random.py", "unused.py", "parts/losses.py", "bench/core.py"):
        (path.parent / name).parent.mkdir(exist_ok=True)
        (path.parent / name).touch()
    library = tmp_path / "library"
    (library / "spaces").mkdir(parents=True)
    (library / "elsewhere.py").write_text("raise RuntimeError('it is not imported')\n")
    monkeypatch.syspath_prepend(library)
    changes = {**OF_PLUGIN, "method.plugin_sha256": sha256}
    folders = [finished_run(tmp_path / "runs", changes, plugins={path: sha256})]
    folders += [finished_run(tmp_path / "runs", base=SAMPLER, plugins={path: sha256})]
    (finding,) = packed(folders, checker).findings
    beside = f"{path.parent / 'helper.py'}, {path.parent / 'parts'}"
    others = f"{library / 'elsewhere.py'}, {beside}, {library / 'spaces'}"
    assert finding.startswith(f"{path}: warning: it imports {others}, which a bundle does not hold")


def test_a_plug_in_that_only_the_record_knows_is_asked_for(checker: Checker, tmp_path: Path) -> None:
    """Such as that of a metric that measured a finished student, which is not in the run's plan."""
    folder = finished_run(tmp_path / "runs", {"protocol.plugins": {"mine": SHA256}, "protocol.name": "mine"})
    with pytest.raises(UserError, match=r"a plug-in file that it names is gone or was changed.*--plugin FILE"):
        packed([folder], checker)
    assert packed([folder], Checker(load_catalogue([plugin(tmp_path)]))).beside == [NAME]


def test_a_plug_in_with_a_name_that_no_bundle_holds_is_refused(checker: Checker, tmp_path: Path) -> None:
    path = plugin(tmp_path, "my:method.py")
    with pytest.raises(UserError, match=r"no plug-in file called 'my:method\.py'; fix: rename it"):
        packed([finished_run(tmp_path / "runs", plugins={path: SHA256})], checker)


def test_a_plug_in_with_blanks_and_quotes_in_its_name_is_packed_under_it(checker: Checker, tmp_path: Path) -> None:
    path = plugin(tmp_path, "it's my method.py")
    found = packed([finished_run(tmp_path / "runs", plugins={path: SHA256})], checker)
    assert found.beside == [f"plugins/{SHA256}/it's my method.py"]


def test_the_tuning_that_chose_a_recipe_is_packed(checker: Checker, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    folders = [finished_run(runs), finished_run(runs, base=SAMPLER)]
    path = tuning(runs)
    found = packed(folders, checker)
    assert found.beside == [f"tuning/digits/{path.name}"]
    assert found.files[found.beside[0]] == path.read_bytes() and not found.findings
    answer = json.loads(path.read_text())
    path.write_text(json.dumps(answer | {"provenance": answer["provenance"] | {"git_dirty": True}}))
    (finding,) = packed(folders, checker).findings
    assert finding.startswith(f"{path}: warning: the code of the tuning differed from its commit; fix: ")
    path.rename(path.with_name("dmd2-of-another-question.json"))
    with pytest.raises(UserError, match=r"dmd2-of-another-question\.json: it answers another question"):
        packed(folders, checker)


def test_a_tuning_that_chose_other_values_is_not_packed(checker: Checker, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    path = tuning(runs)
    answer = json.loads(path.read_text())
    path.write_text(json.dumps(answer | other_choice(answer)))
    assert packed([finished_run(runs)], checker).beside == []


def test_a_point_is_marked_for_the_reader_too_but_not_before_there_is_an_answer(
    checker: Checker, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    folder = finished_run(runs)
    begun = tuning(runs, points=(folder.name, "dmd2-s100-9876543210"))
    write_packed(packed([folder], checker), tmp_path / "bundle.zip")
    with opened(tmp_path / "bundle.zip") as unpacked:
        assert [record.of_tuning for record in load_records([unpacked]).records] == [True]
        # It says nothing about the same run of others.
        marks = [record.of_tuning for record in load_records([unpacked, tmp_path / "runs" / "digits"]).records]
        assert marks == [True, False]
    begun.rename(begun.with_suffix(".begun"))
    with pytest.raises(UserError, match="a point of a tuning that has no answer yet; fix: the same bench tune"):
        packed([folder], checker)


def test_an_answer_that_is_there_stays_unless_it_chose_otherwise(checker: Checker, tmp_path: Path) -> None:
    runs, records = tmp_path / "runs", tmp_path / "results" / "records"
    folder, path = finished_run(runs), tuning(runs)
    write_packed(packed([folder], checker), records)
    there = tmp_path / "results" / "tuning" / "digits" / path.name
    answer = json.loads(path.read_text())
    there.write_text(json.dumps(answer | {"provenance": answer["provenance"] | {"threads": 7}}))
    assert write_packed(packed([folder], checker), records) == [there]
    there.write_text(json.dumps(answer | other_choice(answer)))
    with pytest.raises(UserError, match=r"has another answer of this tuning .*, and records are immutable; fix: "):
        write_packed(packed([folder], checker), records)


def test_a_check_says_what_lies_beside_and_runs_nothing(checker: Checker, tmp_path: Path) -> None:
    code = CODE + f"open({str(tmp_path / 'was_run')!r}, 'w')\n"
    sha256 = hashlib.sha256(code.encode()).hexdigest()
    path = plugin(tmp_path, code=code)
    runs = tmp_path / "runs"
    folder = finished_run(runs, OF_PLUGIN | {"method.plugin_sha256": sha256}, plugins={path: sha256})
    tuning(runs)
    write_packed(packed([folder], checker), tmp_path / "theirs.zip")
    record, answer, file = checker.check_all([tmp_path / "theirs.zip"])
    assert [record.kind, answer.kind, file.kind] == ["record", "tuning", "plug-in file"]
    assert str(file) == f"{tmp_path}/theirs.zip/plugins/{sha256}/mine.py" and not answer.findings
    (finding,) = file.findings
    assert finding.level == "note" and "which nothing here has run" in finding.what
    assert finding.fix == (
        f"read it, unzip {tmp_path}/theirs.zip -d {tmp_path}/theirs, and give --plugin "
        f"{tmp_path}/theirs/plugins/{sha256}/mine.py to check with it or to repeat a run"
    )
    assert not (tmp_path / "was_run").exists()
    with zipfile.ZipFile(tmp_path / "theirs.zip") as archive:
        archive.extractall(tmp_path / "theirs")
    named = Checker(load_catalogue([tmp_path / "theirs" / "plugins" / sha256 / "mine.py"]))
    assert (tmp_path / "was_run").exists() and not named.check_all([tmp_path / "theirs.zip"])[2].findings


def test_a_plug_in_of_another_hash_and_a_broken_tuning_are_errors(checker: Checker, tmp_path: Path) -> None:
    record = json.dumps(EXAMPLE).encode()
    files = {f"digits/{EXAMPLE['run_id']}.json": record, NAME: b"other", "tuning/digits/dmd2-0.json": b"{}"}
    write_zip(tmp_path / "theirs.zip", files)
    _, answer, file = checker.check_all([tmp_path / "theirs.zip"])
    assert [one.level for one in (*answer.findings, *file.findings)] == ["error", "error"]
    assert "not a complete and valid record of a tuning" in answer.findings[0].what
    assert file.findings[0].what.endswith("and not that of its folder's name")


def test_a_strangers_grid_is_counted_before_it_is_made(checker: Checker, tmp_path: Path) -> None:
    path = tuning(tmp_path / "runs")
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"grid": {key: [*range(10_000)] for key in "abcdefgh"}}))
    finished_run(tmp_path / "runs")
    (answer,) = (one for one in checker.check_all([tmp_path / "runs"]) if one.kind == "tuning")
    assert "the points are not those of the grid" in answer.errors[0].what


def test_a_bundle_that_is_unpacked_as_records_is_read_with_its_tunings(checker: Checker, tmp_path: Path) -> None:
    """The way to `bench report --runs` and `bench compare --runs`."""
    runs = tmp_path / "runs"
    folder = finished_run(runs)
    tuning(runs, points=(folder.name, "dmd2-s100-9876543210"))
    write_packed(packed([folder], checker), tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        archive.extractall(tmp_path / "records")
    loaded = load_records([tmp_path / "records"])
    assert [record.of_tuning for record in loaded.records] == [True] and not loaded.problems
