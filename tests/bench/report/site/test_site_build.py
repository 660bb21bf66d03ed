"""The site appears whole, replaces only a site, and has every record as data."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from example_records import SAMPLER, changed

from bench.core.errors import UserError
from bench.report.site.build import build_site
from bench.report.site.choice import chosen_site
from bench.report.site.data import BITS, FIRST_LETTER
from bench.report.site.entries import read_entries
from bench.report.site.pages import Site
from bench.runs.packing.bundles import write_zip
from bench.runs.record import Record
from bench.runs.records import read_record, write_record
from bench.runs.result_files import RESULTS
from bench.runs.tuning.record import read_tuning

Make = Callable[..., Record]
REFUSAL = "is not a site that bench wrote"


def lines_of(site: Path, task: str) -> list[Any]:
    """Return the JSON lines in a task's data."""
    script = (site / "data" / f"{task}.js").read_text("utf-16").strip()
    name, count, text = json.loads(f"[{script.removeprefix('benchData(').removesuffix(');')}]")
    bits = "".join(f"{ord(letter) - FIRST_LETTER:0{BITS}b}" for letter in text)
    content = bytes(int(bits[8 * place : 8 * place + 8], 2) for place in range(count))
    assert name == task
    return [json.loads(line) for line in gzip.decompress(content).decode().splitlines()]


def test_an_older_site_is_replaced(records: Any, make_record: Make) -> None:
    records.add(make_record())
    old = records.build() / "old.html"
    old.write_text("")
    assert not (records.build() / "old.html").exists()


def test_no_other_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=REFUSAL):
        build_site(Site([]), tmp_path)
    with pytest.raises(UserError, match=REFUSAL):
        build_site(Site([]), tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_data_has_each_record_and_its_rows(records: Any, make_record: Make) -> None:
    first, second = make_record(seed=0), make_record(seed=1)
    records.add(first, colours=9)
    records.add(second)
    header, *entries = lines_of(records.build(), "fashion")
    assert [Record.model_validate_json(one["record"]) for one in entries] == sorted(
        (first, second), key=lambda record: record.run_id
    )
    with_sheet = next(one for one in entries if one["name"] == first.run_id)
    assert (with_sheet["sheet"]["width"], with_sheet["sheet"]["count"]) == (8, 12)
    table = pd.read_csv(io.StringIO(header["csv"] + "".join(one["csv"] for one in entries)))
    assert dict(zip(table["run_id"], table["train_seed"], strict=True)) == {first.run_id: 0, second.run_id: 1}
    assert set(table["value"]) == {first.metrics[0].value}


def test_the_archive_has_the_files_of_the_records(records: Any, make_record: Make, tmp_path: Path) -> None:
    record = make_record()
    records.add(record)
    with tarfile.open(records.build() / "data" / "fashion.tar.xz") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert read_record(tmp_path / "unpacked" / "fashion" / f"{record.run_id}.json") == record


def test_a_formula_in_a_name_stays_text_in_the_table(records: Any, make_record: Make) -> None:
    records.add(make_record("=cmd()"))
    assert ",'=cmd()," in lines_of(records.build(), "fashion")[1]["csv"]


def test_equal_ids_on_two_tasks_have_pages_of_their_own(make_record: Make, tmp_path: Path) -> None:
    for task in ("one", "two"):
        write_record(tmp_path / task / "run" / "record.json", make_record(task=task))
    entries = read_entries([tmp_path]).entries
    assert len(entries) == 2
    assert len({entry.page for entry in entries}) == 2


def test_a_sampler_of_two_teachers_is_two_results_with_pages_of_their_own(tmp_path: Path) -> None:
    """Its id does not name the teacher; the students of either one stand beside their own."""
    for place, fd in (("here", 50.0), ("there", 60.0)):
        values = {"weights.0.sha256": place, "metrics.0.values": [fd] * 3, "metrics.0.value": fd}
        (tmp_path / place).mkdir()
        (tmp_path / place / "record.json").write_text(json.dumps(changed(SAMPLER, values)))
    entries = read_entries([tmp_path]).entries
    assert [entry.record.metrics[0].value for entry in entries] == [50.0, 60.0]
    assert len({entry.page for entry in entries}) == 2


def test_a_run_of_this_machine_wins_over_a_committed_one(make_record: Make, tmp_path: Path) -> None:
    for place, fd in (("here", 1.0), ("there", 2.0)):
        write_record(tmp_path / place / "record.json", make_record(fd=(fd, fd)))
    (entry,) = read_entries([tmp_path / "here", tmp_path / "there"]).entries
    assert entry.record.metrics[0].value == 1.0


def chosen(tmp_path: Path, *paths: Path, suites: Sequence[str] = (), tasks: Sequence[str] = ()) -> Site:
    """Return the site of the committed records and of what lies in some paths."""
    with chosen_site(tmp_path / "runs", True, paths, suites, tasks) as site:
        return site


def test_a_choice_of_tasks_and_suites(tmp_path: Path) -> None:
    digits = chosen(tmp_path, tasks=["digits"])
    assert digits.tasks() == ["digits"]
    assert digits.suites == ["multistep"]  # all others would look as if they were not run
    table4 = chosen(tmp_path, suites=["table4"])
    assert (table4.tasks(), table4.suites) == (["scenes"], ["table4"])


def test_seeds_that_start_from_students_of_a_task_that_is_not_shown_are_one_row(
    tmp_path: Path, make_record: Make
) -> None:
    """Their recipe names that of the students from which they start."""
    for seed in range(2):
        first = make_record("dmd-ttur", seed, task="elsewhere")
        later = make_record("dmd2", seed, recipe={"init_from": f"runs/elsewhere/{first.run_id}"})
        for record in (first, later):
            write_record(tmp_path / record.task / f"{record.run_id}.json", record)
    folders = [tmp_path / "elsewhere", tmp_path / "fashion"]
    for tasks in ([], ["fashion"]):
        with chosen_site(tmp_path / "runs", False, folders, [], tasks) as site:
            ((variant,),) = (board.variants for board in site.boards("fashion"))
            assert variant.some["seeds"] == "0 1" and "elsewhere" not in str(variant.some["passed"])
        assert len(site.entries) == (2 if tasks else 4)


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ({"tasks": ["digts"]}, "did you mean 'digits'"),
        ({"suites": ["tabel4"]}, "did you mean 'table4'"),
        ({"suites": ["table4"], "tasks": ["digits"]}, "suite table4 has nothing on digits"),
    ],
)
def test_a_choice_of_nothing_is_refused(tmp_path: Path, choice: dict[str, list[str]], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        chosen(tmp_path, **choice)


def test_a_path_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder of records and no bundle"):
        chosen(tmp_path, tmp_path / "nowhere")


def test_bundles_and_folders_of_others_are_read(tmp_path: Path, make_record: Make) -> None:
    bundled, loose = make_record(task="bundled"), make_record(task="loose")
    write_zip(tmp_path / "b.zip", {f"bundled/{bundled.run_id}.json": bundled.model_dump_json().encode()})
    write_record(tmp_path / "other" / "loose" / f"{loose.run_id}.json", loose)
    tasks = chosen(tmp_path, tmp_path / "b.zip", tmp_path / "other").tasks()
    assert {"bundled", "loose", "digits"} <= set(tasks)


def test_a_folder_of_runs_with_a_sweep_is_no_bundle(tmp_path: Path, make_record: Make) -> None:
    record = make_record(task="loose")
    write_record(tmp_path / "theirs" / "loose" / record.run_id / "record.json", record)
    (tmp_path / "theirs" / "sweeps").mkdir()
    (tmp_path / "theirs" / "sweeps" / "steps.json").write_text("{}")
    assert "loose" in chosen(tmp_path, tmp_path / "theirs").tasks()


def test_a_bundles_tunings_are_those_of_its_suites(tmp_path: Path, make_record: Make) -> None:
    record = make_record(task="bundled")
    (good,) = (RESULTS / "tuning" / "fashion").glob("gan-*.json")
    files = {
        f"bundled/{record.run_id}.json": record.model_dump_json().encode(),
        f"tuning/fashion/{good.name}": good.read_bytes(),
        "tuning/fashion/broken.json": b"{}",
    }
    write_zip(tmp_path / "b.zip", files)
    site = chosen(tmp_path, tmp_path / "b.zip")
    assert site.tunings == [read_tuning(good)]
    (problem,) = site.problems
    assert problem.startswith(f"{tmp_path}/b.zip/tuning/fashion/broken.json: not a complete and valid record of a")
    assert problem.endswith(f"left out of the site; fix: correct it in {tmp_path}/b.zip, or leave it out")


def test_a_problem_in_a_bundle_names_the_bundle(tmp_path: Path, make_record: Make) -> None:
    folder = tmp_path / "theirs" / "fashion"
    folder.mkdir(parents=True)
    write_record(folder / "good.json", make_record())
    (folder / "cut.json").write_text("{")
    with chosen_site(tmp_path / "runs", False, [tmp_path / "theirs"], [], []) as site:
        build_site(site, tmp_path / "site")
    (problem,) = site.problems
    assert problem.startswith(f"{folder / 'cut.json'}: not a complete and valid record")
    assert problem.endswith(f"fix: correct it in {tmp_path / 'theirs'}, or leave it out")


def test_a_sheet_that_was_cut_off_is_left_out_and_told(records: Any, make_record: Make) -> None:
    name = records.add(make_record(), colours=100)
    sheet = records.records / f"{name}.png"
    sheet.write_bytes(sheet.read_bytes()[:-40])
    site = Site(read_entries([records.records]).entries)
    build_site(site, records.out)
    assert "is cut off" in site.problems[0] and not list(records.out.glob("pictures/*.png"))
