"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.core.errors import UserError, unknown
from bench.core.files import regular_file_or_folder
from bench.runs.networks import with_metrics, with_registered_networks
from bench.task.base import Baseline, Sources, Task, default_cache

if TYPE_CHECKING:
    from bench.features.base import FeatureExtractor
    from bench.models.denoiser import Denoiser
    from bench.runs.registry import Catalogue
    from bench.task.prepared import PreparedTask

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
    str | None, typer.Option("--protocol", help="Another of the task's protocols.", show_default="the task's own")
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
WeightsOption = Annotated[
    list[str],
    typer.Option("--weights", help="Weights of a feature extractor, NAME=PATH; repeatable."),
]
OwnWeightsOption = Annotated[
    bool,
    typer.Option("--own-weights", help="Take --weights whatever their hash; not comparable with others."),
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
WorkerOption = Annotated[bool, typer.Option("--worker", hidden=True)]
RunIdOption = Annotated[str | None, typer.Option("--run-id", hidden=True)]
"""The name of the run for which a job was submitted."""


def declared_task(
    catalogue: Catalogue,
    name: str,
    cache: Path | None,
    protocol: str | None = None,
    metrics: Sequence[str] = (),
) -> Task:
    """Return the task of this name with what was chosen for it, under a protocol. Raises UserError.

    `metrics` are those to measure in place of the protocol's.
    """
    where = cache or default_cache()
    task = catalogue.tasks.get(name).located(where)
    task = task.under(protocol or task.protocol.name)
    if metrics:
        task = with_metrics(task, metrics, catalogue)
    return with_registered_networks(task, catalogue, where)


def sources(task: Task, cache: Path | None, data: Path | None = None, download: bool = False) -> Sources:
    """Say where a task looks for what it needs. Raises UserError if only bench prepare may tell it.

    Where all that the task runs on is chosen, `download` lets baselines get weights of their own.
    """
    found = Sources(cache or default_cache(), data, download)
    if task.pinned_by_prepare and (data is not None or (download and task.lacks(found))):
        named = [f"--data {data}"] * (data is not None) + ["--download"] * download
        raise UserError(
            f"task {task.name!r} runs on what was chosen for it once, before runs are planned; first: "
            f"bench prepare --task {task.name} {' '.join(named)}"
        )
    return found


def subject_of(
    command: str, task: Task, checkpoint: Path | None, sampler: str | None, steps: int | None
) -> Path | Baseline:
    """Return what a command makes images with: a checkpoint that is there, or a sampler that the task has.

    Raises UserError unless it is one of them.
    """
    if (checkpoint is None) == (sampler is None):
        raise UserError(
            f"{command} takes either --checkpoint PATH or --sampler NAME "
            f"(samplers of {task.name}: {', '.join(task.baselines)})"
        )
    if checkpoint is not None:
        if not checkpoint.exists():
            raise UserError(f"no folder or file {checkpoint}; --checkpoint takes a run's folder, or a student's")
        return regular_file_or_folder(checkpoint)
    if steps is not None:
        raise UserError(f"--steps goes with --checkpoint; the sampler {sampler!r} has its own")
    name = sampler or ""  # one of the two was given
    if name not in task.baselines:
        raise unknown("sampler", name, task.baselines)
    return task.baselines[name]


def loaded_student(
    prepared: PreparedTask, path: Path, steps: int | None, start: float | None
) -> tuple[Denoiser, list[int]]:
    """Read a student of a prepared task, which starts at the noise level `start` if its file leaves that open.

    Raises UserError as `PreparedTask.load_student` does, and if both options are given.
    """
    if start is None:
        return prepared.load_student(path, steps)
    if steps not in (None, 1):
        raise UserError(f"--student-start is for students of one step; fix: leave out --steps {steps}")
    return prepared.load_student_from(path, start)


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """Read `key=value` pairs: numbers, true, false, none and [lists]; anything else is a string."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"--set takes key=value, not {text!r}; for example --set iterations=1000")
        name = key.strip().replace("-", "_")
        if not name:
            raise UserError(f"--set takes key=value, not {text!r}; for example --set iterations=1000")
        if name in found:
            raise UserError(f"--set gives {name!r} twice; fix: give it once")
        found[name] = _value(name, value.strip())
    return found


def refuse_idle_weights(named: Iterable[str], extractors: Iterable[FeatureExtractor]) -> None:
    """Raise UserError for weights that none of these extractors reads."""
    known = [one.name for extractor in extractors for one in extractor.weights]
    for name in named:
        if name not in known:
            raise unknown("weights", name, known)


def _value(key: str, text: str) -> Any:
    if text.lower() in ("none", "null"):
        return None
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except RecursionError:
        raise UserError(
            f"--set {key} is nested too deeply: {text[:20]}...; fix: give a number, a word or a list"
        ) from None
    except ValueError:
        return text


def parse_seeds(text: str) -> list[int]:
    """Read `0,1,2`, without doubles. Raises UserError."""
    try:
        seeds = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(f"--seed takes whole numbers with commas, such as 0,1,2; not {text!r}") from None
    if not seeds or min(seeds) < 0 or max(seeds) >= 2**31:
        raise UserError(f"--seed takes numbers from 0 to 2147483647; not {text!r}")
    return list(dict.fromkeys(seeds))


def parse_names(texts: Iterable[str], option: str = "--method") -> list[str]:
    """Read names given with commas or by repeating the option, without doubles. Raises UserError."""
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"{option} takes at least one name; fix: give one that bench list shows")
    return list(dict.fromkeys(names))


def parse_paths(option: str, texts: Iterable[str]) -> dict[str, Path]:
    """Read `name=path` pairs of a repeatable option. Raises UserError."""
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise UserError(f"{option} takes NAME=PATH, not {text!r}")
        if name in found:
            raise UserError(f"{option} gives {name!r} twice")
        found[name] = Path(path)
    return found
