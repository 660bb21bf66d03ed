"""Options that several commands share, and what several of them refuse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.completion import tracker_names
from bench.cli.parsing import config_defaults
from bench.core.errors import UserError
from bench.core.files import regular_file_or_folder
from bench.core.run_folder import student_of
from bench.task.base import Task
from bench.task.declaration import Baseline
from bench.task.variations import BETWEEN


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take a file's values as the defaults of a command's options. Raises UserError for an unknown key."""
    if path is not None:
        context.default_map = config_defaults(path, {one.name or "" for one in context.command.params})
    return path


PluginOption = Annotated[
    list[Path],
    typer.Option(
        "--plugin",
        help="A Python file that defines a distiller, task, metric, ..., or a TOML file of variants; repeatable.",
    ),
]
RunsOption = Annotated[Path, typer.Option("--runs", envvar="BENCH_RUNS", help="Folder of the runs.")]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        envvar="BENCH_CACHE",
        help="Folder of prepared assets.",
        show_default="~/.cache/distillation-bench",
    ),
]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder with the task's data set.")]
ProtocolOption = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="Another of the task's protocols, or NAME.bf16: networks in bf16.",
        show_default="the task's own",
    ),
]
DownloadOption = Annotated[
    bool, typer.Option("--download", help="Allow data, and weights of baselines, to be downloaded.")
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=1, help="CPU threads of each process; small networks run best on one.")
]
ProcessesOption = Annotated[
    int,
    typer.Option("--processes", min=1, help="Processes that train one run together: one for each GPU."),
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", min=1, help="Runs side by side; default: what cores or GPUs allow.")
]
TrackOption = Annotated[
    list[str],
    typer.Option(
        "--track",
        help="Send the log to tensorboard, wandb, trackio or mlflow as well, kept on this machine; repeatable.",
        autocompletion=tracker_names,
    ),
]
ValidationsOption = Annotated[
    int,
    typer.Option(
        "--validations",
        min=0,
        help="How often FD is measured during a training, which changes no result; 0: never.",
    ),
]
KeepOption = Annotated[
    list[str],
    typer.Option(
        "--keep",
        help="Keep images or features in the run's folder, so that a metric added later makes no image again; "
        "repeatable.",
    ),
]
WeightsOption = Annotated[
    list[str],
    typer.Option("--weights", help="Weights of a feature extractor, NAME=PATH; repeatable."),
]
OwnWeightsOption = Annotated[
    bool,
    typer.Option("--own-weights", help="Take --weights whatever their hash; not comparable with others."),
]
ExecutorOption = Annotated[
    str, typer.Option("--executor", help="Where jobs run: local is this machine, slurm a cluster.")
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="The cluster's profile: a name of bench slurm profiles, or a file.")
]
DetachOption = Annotated[
    bool, typer.Option("--detach", help="Return once jobs are in the queue; the same command later shows results.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="A TOML file with options of this command, such as the run.toml of a run's folder.",
        is_eager=True,
        callback=read_config,
    ),
]
ScaleOption = Annotated[
    str | None, typer.Option("--scale", help="The suite's scale: micro or paper.", show_default="micro")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")]
SetOption = Annotated[list[str], typer.Option("--set", help="Override a recipe value, key=value; repeatable.")]
StepsOption = Annotated[
    int | None,
    typer.Option("--steps", min=1, help="Steps of the checkpoint's sampler, where it has several."),
]
StudentStartOption = Annotated[
    float | None,
    typer.Option(
        "--student-start",
        help="Noise level sigma at which a one-step student in EDM's format starts: 80 for DMD2's, 2.5 for SiD's.",
    ),
]


def subject_of(
    command: str, task: Task, checkpoint: Path | None, sampler: str | None, steps: int | None
) -> Path | Baseline:
    """Return what a command makes images with: a checkpoint that is there, or a sampler that the task has.

    Raises UserError unless it is one of them.
    """
    if (checkpoint is None) == (sampler is None):
        raise UserError(
            f"{command} takes either --checkpoint PATH or --sampler NAME "
            f"(samplers of {task.name}: {', '.join(task.baselines)}); fix: give one of them"
        )
    if checkpoint is not None:
        if not checkpoint.exists():
            raise UserError(
                f"no folder or file {checkpoint}; --checkpoint takes a run's folder, or a "
                "student's; fix: bench status lists the runs"
            )
        student_of(regular_file_or_folder(checkpoint))
        return checkpoint
    found = task.baseline(sampler or "")  # one of the two was given
    if steps is not None:
        raise UserError(
            f"--steps goes with --checkpoint; the sampler {sampler!r} has its own; "
            f"fix: leave it out, or --sampler {found.name.partition(BETWEEN)[0]}{BETWEEN}steps{steps}"
        )
    return found


def refuse_scale_alone(scale: str | None, suite: str | None) -> None:
    """Raise UserError for --scale without --suite."""
    if scale is not None and suite is None:
        raise UserError("--scale needs a suite; fix: add --suite NAME, or leave out --scale")


def refuse_given(options: Mapping[str, Any], reason: str) -> None:
    """Raise UserError, "OPTION `reason`", for the first of these options that has a value."""
    for option, value in options.items():
        if value not in (None, []):
            raise UserError(f"{option} {reason}")
