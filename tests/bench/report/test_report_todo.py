"""What a table says of the results that a suite has not: why, and which command makes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.core.escape import markdown
from bench.core.locks import locked
from bench.report.lines import Assigned, suite_lines
from bench.report.render import to_markdown
from bench.report.table import suite_table
from bench.report.todo import left_of, left_text, pending_of
from bench.runs.record import Record
from bench.runs.registry import load_catalogue
from bench.runs.states import attempts
from bench.runs.states.pending import PendingRun, pending_runs
from bench.runs.states.state import RunState, run_state
from bench.runs.suites.paper_tables import load_paper_table
from bench.runs.suites.reading import load_suite
from bench.runs.suites.settled import settled

Make = Callable[..., Record]


def left(
    records: Sequence[Record], work: Sequence[PendingRun] = (), suite: str = "table3", scale: str = "micro"
) -> dict[str, list[str]]:
    """What is left, by the label of the line."""
    part = load_suite(suite).scale(scale)
    found: dict[str, list[str]] = {}
    for missing in left_of(Assigned.to(suite_lines(part, load_paper_table(suite)), records), part, work):
        text = left_text(missing, markdown)
        label, _, rest = text.partition(", seed")
        found.setdefault(label.partition(":")[0], []).append(rest or text)
    return found


def begun(root: Path, method: str = "gan", seed: int | None = 0, task: str = "fashion", **files: str) -> Path:
    """A run's folder as a worker leaves it."""
    folder = root / task / f"{method}-s{seed}-0123456789"
    folder.mkdir(parents=True)
    about = {"name": method, "task": task, "protocol": {"name": task}, "recipe": {}, "seed": seed}
    for name, text in {"run.json": json.dumps(about), **files}.items():
        (folder / name).write_text(text)
    return folder


STATUS = json.dumps(
    {"stage": "training", "completed": 120, "total": 500, "figures": {}, "began": 0, "began_at": 20, "time": 50}
)


def test_every_missing_line_comes_with_its_command() -> None:
    found = left([])
    (gan,) = found["GAN only"]
    assert gan == "s 0, 1, 2: missing; fix: `bench run --method gan --task fashion --seed 0,1,2 --no-baselines`"
    (sampler,) = found["teacher-ode"]
    assert sampler.endswith("missing; fix: `bench eval --task fashion --sampler teacher-ode`")


def test_no_command_is_shown_for_a_sampler_that_the_task_does_not_have() -> None:
    """The rows of a suite on another task than its own."""
    part = settled(load_suite("table5").scale("micro").on("coco10k"), load_catalogue(), Path("no-runs"))
    lines = suite_lines(part, load_paper_table("table5"))
    teacher, *_, trained = (left_text(one, markdown) for one in left_of(Assigned.to(lines, []), part, ()))
    assert teacher == (
        "Teacher, guidance 1: the task has no sampler of this name; "
        "fix: `bench describe coco10k` shows its own, for a suite of yours"
    )
    assert trained.endswith("fix: `bench run --method dmd2 --task coco10k --seed 0,1,2 --no-baselines`")


def test_seeds_that_are_there_are_not_asked_for(make_record: Make) -> None:
    records = [make_record("gan", seed) for seed in (0, 1, 2)] + [make_record("dmd", 1)]
    found = left(records)
    assert "GAN only" not in found
    assert found["DMD (with regression)"][0].startswith("s 0, 2: missing; ")


def test_failures_are_shown_and_one_that_would_repeat_has_no_command(make_record: Make) -> None:
    records = [make_record("gan", failed=True), make_record("dmd", failed=True, error="DivergedError")]
    found = left(records)
    assert found["GAN only"][0].startswith(" 0: failed: OutOfMemoryError; fix: `bench run ")
    again = " 0: failed: DivergedError; fix: use another recipe, since this one would diverge again"
    assert found["DMD (with regression)"][0] == again
    succeeded = make_record("gan", created="2025-02-01T00:00:00+00:00")
    assert len(left([*records, succeeded])["GAN only"]) == 1  # seeds 1 and 2


def test_a_run_whose_folder_is_locked_is_running(tmp_path: Path) -> None:
    folder = begun(tmp_path, **{"status.json": STATUS, ".lock": ""})
    with locked(folder / ".lock"):
        (work,) = pending_runs(tmp_path, "fashion")
        assert left([], [work])["GAN only"][0] == " 0: running at training 120/500"
    (work,) = pending_runs(tmp_path, "fashion")
    shown = left([], [work])["GAN only"]
    assert shown[0].startswith(" 0: stopped at training 120/500; fix: `bench run ")
    assert shown[1].startswith("s 1, 2: missing; ")


def test_a_queued_run_has_no_command(tmp_path: Path) -> None:
    begun(tmp_path)
    scale = load_suite("table3").scale("micro")
    work = pending_of(scale, tmp_path, lambda folder: RunState(folder, "queued", reason="Priority"))
    assert left([], work)["GAN only"][0] == " 0: queued: Priority"


def test_a_run_that_failed_without_a_record_says_why(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    attempts.finish(folder, attempts.begin(folder, "7", 0, "n1", "train"), "failed", "no LPIPS here")
    assert str(pending_runs(tmp_path, "fashion")[0]) == "failed: no LPIPS here"


def test_a_folder_with_a_record_is_not_pending(tmp_path: Path) -> None:
    begun(tmp_path, **{"record.json": "{}"})
    (tmp_path / "fashion" / "somebody-elses").mkdir()
    begun(tmp_path, "dmd", **{"run.json": "{"})  # being written
    assert pending_runs(tmp_path, "fashion") == pending_runs(tmp_path, "digits") == []


def test_the_table_shows_pending_runs_in_its_cells_and_missing_results_below(
    tmp_path: Path, make_record: Make
) -> None:
    begun(tmp_path, **{"status.json": STATUS})
    work = pending_runs(tmp_path, "fashion")
    for records in ([], [make_record()]):
        text = to_markdown(suite_table(load_suite("table3"), load_paper_table("table3"), records, "micro", work))
        (line,) = (line for line in text.splitlines() if line.startswith("| GAN only"))
        assert "stopped at training 120/500" in line
        assert "### Missing results" in text


def test_rows_that_start_from_others_and_students_measured_elsewhere_are_made_by_reproduce() -> None:
    first = left([], suite="table1", scale="paper")
    stage = first["first stage of longer training"][0]
    assert stage.endswith("--no-baselines --set iterations=400000 --set keep_best=true`")
    assert first["+longer training"][0].endswith("`bench reproduce table1 --scale paper --seed 0`")
    published = first["DMD2, published"][0]
    assert (
        "--checkpoint PATH/*_fid1.51_checkpoint_model_193500 --steps 1` (huggingface.co/tianweiy/DMD2)"
        in published
    )
    assert left([], suite="table6", scale="paper")["DMD2, 4 steps"][0].endswith(
        "`bench reproduce table6 --scale paper --seed 0`"
    )


def test_students_that_another_task_trains_are_looked_for_there(tmp_path: Path) -> None:
    begun(tmp_path, "dmd2-4step", task="coco10k")
    begun(tmp_path, "teacher-cfg6", None, task="coco10k")  # there it is another evaluation
    begun(tmp_path, "lcm-4", None, task="partiprompts")
    found = pending_of(load_suite("table6").scale("paper"), tmp_path, run_state)
    assert [work.method for work in found] == ["lcm-4", "dmd2-4step"]


def test_a_row_that_is_not_tuned_yet_has_no_results_and_the_command_that_tunes_it(make_record: Make) -> None:
    """No recipe is known to be the row's, so that no record is."""
    suite = load_suite("table3")
    part = suite.scale("micro")
    rows = tuple(replace(row, untuned=row.method == "gan") for row in part.rows)
    table = suite_table(suite, None, [make_record("gan", seed) for seed in range(3)], replace(part, rows=rows))
    (line,) = (line for line in table.left if line.startswith("GAN only"))
    tuned = "`bench tune --suite table3 --scale micro --method gan`, then `bench reproduce table3 --scale micro`"
    assert line == f"GAN only, seeds 0, 1, 2: missing; fix: {tuned}"


def test_a_row_of_a_method_that_is_not_installed_asks_for_its_file() -> None:
    suite = load_suite("table3")
    part = suite.scale("micro")
    rows = tuple(replace(row, installed=row.method != "gan", untuned=row.method == "gan") for row in part.rows)
    table = suite_table(suite, None, [], replace(part, rows=rows))
    (line,) = (line for line in table.left if line.startswith("GAN only"))
    assert line.endswith("2: missing; fix: name the file that defines the method gan: --plugin FILE")
