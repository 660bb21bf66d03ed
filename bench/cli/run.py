"""`bench run`: plan, prepare, train, evaluate, record, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.completion import method_names, task_names
from bench.cli.options import (
    CacheOption,
    ConfigOption,
    DataOption,
    DetachOption,
    DownloadOption,
    DryRunOption,
    ExecutorOption,
    JobsOption,
    KeepOption,
    PluginOption,
    ProcessesOption,
    ProfileOption,
    ProtocolOption,
    RunsOption,
    SetOption,
    ThreadsOption,
    TrackOption,
    ValidationsOption,
)
from bench.cli.parsing import optional_names, parse_keep, parse_names, parse_overrides, parse_seeds
from bench.cli.terminal import exit_if_detached, print, print_tables
from bench.training.cadence import VALIDATIONS

SeedOption = Annotated[str, typer.Option("--seed", help="Training seeds, with commas.")]
NoBaselinesOption = Annotated[bool, typer.Option("--no-baselines", help="Leave out the teacher's samplers.")]


def run(
    method: Annotated[
        list[str], typer.Option("--method", help="Methods, with commas or repeated.", autocompletion=method_names)
    ] = ["dmd2"],
    task: Annotated[str, typer.Option("--task", help="The task.", autocompletion=task_names)] = "digits",
    protocol: ProtocolOption = None,
    seed: SeedOption = "0",
    overrides: SetOption = [],
    config: ConfigOption = None,  # noqa: ARG001 (it is the other options' defaults)
    dry_run: DryRunOption = False,
    no_baselines: NoBaselinesOption = False,
    jobs: JobsOption = None,
    processes: ProcessesOption = 1,
    executor: ExecutorOption = "local",
    profile: ProfileOption = None,
    detach: DetachOption = False,
    threads: ThreadsOption = 1,
    track: TrackOption = [],
    validations: ValidationsOption = VALIDATIONS,
    keep: KeepOption = [],
    data: DataOption = None,
    download: DownloadOption = False,
    runs: RunsOption = Path("runs"),
    cache: CacheOption = None,
    plugin: PluginOption = [],
) -> None:
    """Train, evaluate and record methods on a task. The same command again returns or resumes."""
    from bench.core.run_folder import SAMPLES
    from bench.jobs.executor import ExecutorOptions
    from bench.jobs.request import RunRequest, raise_failures

    request = RunRequest(
        methods=parse_names(method),
        task=task,
        protocol=protocol,
        seeds=parse_seeds(seed),
        overrides=parse_overrides(overrides),
        baselines=not no_baselines,
        threads=threads,
        runs=runs,
        cache=cache,
        data=data,
        download=download,
        plugins=plugin,
        track=optional_names(track, "--track"),
        keep=parse_keep(keep),
        validations=validations,
        executor=executor,
        options=ExecutorOptions(jobs, processes, profile, detach),
    )
    planned = request.plan()
    if dry_run:
        for line in planned.lines():
            print(line)
        return
    with exit_if_detached():
        wanted = planned.execute()
    from bench.report.requested import table_of  # only now: pandas takes seconds

    print_tables([table_of(planned)])
    for one in planned.runs:
        picture = one.folder / SAMPLES
        if picture.exists():
            print(f"samples of {one.label}: {picture}")
    for line in planned.tracker_lines():
        print(line)
    raise_failures(wanted)
