"""`bench study`: people choose between two runs' images, as in the paper's user study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.json_output import JsonOption, print_json
from bench.cli.options import CacheOption, DownloadOption, PluginOption, RunsOption, ThreadsOption
from bench.cli.terminal import print
from bench.core.errors import UserError
from bench.core.escape import shell_path

app = typer.Typer(help="The paper's user study: a page of image pairs, and its answers.", no_args_is_help=True)


@app.command()
def make(
    a: Annotated[Path, typer.Option("--a", help="The run whose preference is asked: its folder or its name.")],
    b: Annotated[Path, typer.Option("--b", help="The run it is compared with; also a teacher's sampler.")],
    prompts: Annotated[int, typer.Option("--prompts", min=1, help="Number of pairs; the paper has 128.")] = 128,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Secret number that decides order and sides.", show_default="drawn at random"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the page; its key is OUT.key.json.")] = Path(
        "study"
    ),
    sheets: Annotated[
        bool, typer.Option("--sheets", help="Take the images from the runs' sample sheets, which have up to 50.")
    ] = False,
    runs: RunsOption = Path("runs"),
    download: DownloadOption = False,
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
    plugin: PluginOption = [],
) -> None:
    """Write a page on which raters choose between two runs' images, and the key that tells which is whose."""
    from bench.report.study.images import find_subject, from_sheets, from_students
    from bench.report.study.key import PAGE
    from bench.report.study.make import make_study, refuse_existing, secret_seed

    number = secret_seed(seed)
    refuse_existing(out)
    subjects = [find_subject(run, runs) for run in (a, b)]
    first, second = (subject.record for subject in subjects)
    if subjects[0].path.samefile(subjects[1].path):
        raise UserError(f"--a and --b are the same run, {first.run_id}; fix: give two runs")
    if first.task != second.task:
        raise UserError(
            f"--a is on task {first.task} and --b on {second.task}; fix: give two runs of the same task"
        )
    if sheets:
        shown = from_sheets(subjects, prompts)
    else:
        from bench.core.cpu import compute_on_cpu
        from bench.core.progress_bars import StatusProgress
        from bench.runs.registry import load_catalogue
        from bench.runs.task_sources import pinned_task, sources_of

        compute_on_cpu(threads)
        catalogue = load_catalogue(plugin)
        task = pinned_task(catalogue, first.task, cache, str(first.protocol.get("name", "")))
        sources = sources_of(task, cache, download=download)
        prepared = task.prepare(sources, StatusProgress())
        shown = from_students(catalogue, prepared, subjects, prompts)
    key = make_study(out, subjects, shown, "sheets" if sheets else "students", number)
    print(f"page for raters: {out / PAGE}")
    print(f"key, for you alone: {key}")
    print("Give the page to your raters, and keep the key from them. When they have sent their files:")
    print(f"  bench study read answers-*.json --key {shell_path(key)}")


@app.command()
def read(
    files: Annotated[list[Path], typer.Argument(help="The files that raters saved at the end of the page.")],
    key: Annotated[Path, typer.Option("--key", help="The key that bench study make wrote.")],
    runs: RunsOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Check all answers, print how often run A was preferred, and keep that as a record of run A."""
    from dataclasses import asdict

    from bench.report.study.answers import read_answers
    from bench.report.study.key import read_key
    from bench.report.study.record import earlier_readings, find_record, record_of_study, write_study_record
    from bench.report.study.results import result_of
    from bench.report.study.words import lines
    from bench.runs.provenance import provenance
    from bench.runs.records import moved_aside, read_record

    found = read_key(key)
    result = result_of(found, read_answers(files, found))
    path = find_record(found, runs)
    written = None
    if path is not None:
        record = record_of_study(read_record(path), result, provenance("fp32"))
        written = write_study_record(path, record, runs)
    if as_json:
        print_json({**asdict(result), "key": found.model_dump(mode="json"), "record": written})
    else:
        for line in lines(result):
            print(line)
        print("")
        print(f"record: {written}" if written else _no_record(found.a.run_id, runs))
        for earlier in earlier_readings(written, found.digest()) if written else []:
            print(
                f"note: {earlier} is of the same study with other raters, and is shown too; "
                f"fix: {moved_aside(earlier)}"
            )


def _no_record(run: str, runs: Path) -> str:
    return f"no record is written, since the run {run} is not in {runs}; fix: --runs FOLDER"
