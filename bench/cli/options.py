"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.completion import tracker_names
from bench.core.errors import UserError, hint, unknown
from bench.core.files import read_text, regular_file_or_folder
from bench.core.run_folder import KEPT_KINDS, student_of
from bench.task.base import Task
from bench.task.declaration import Baseline


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take a file's values as the defaults of a command's options. Raises UserError for an unknown key."""
    if path is not None:
        context.default_map = config_defaults(path, {one.name or "" for one in context.command.params})
    return path


def config_defaults(path: Path, options: set[str]) -> dict[str, Any]:
    """Read a TOML file as option values: keys are the options' names, and [set] is a table of recipe values.

    Raises UserError that names the file if it is unreadable, no TOML, or has a key that is none of `options`.
    """
    try:
        content = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is no TOML file: {error}; fix: see the run.toml in the folder of a run") from None
    found: dict[str, Any] = {}
    for key, value in content.items():
        name = _FIELDS.get(key, key.replace("-", "_"))
        if name not in options - {"config"}:
            raise UserError(
                f"{path}: unknown key {key!r}; {hint(key, sorted(options - {'config', 'overrides'} | {'set'}))}"
            )
        if key == "set":
            if not isinstance(value, dict):
                raise UserError(f"{path}: set is {value!r}; fix: make it a table: [set], then key = value")
            value = [f"{one}={part if isinstance(part, str) else json.dumps(part)}" for one, part in value.items()]
        elif key == "seed":
            value = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        elif name in ("method", "plugin", "track", "keep") and not isinstance(value, list):
            value = [value]
        found[name] = value
    return found


_FIELDS = {"set": "overrides"}
"""The parameter that a key fills, where the two names differ."""

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
            f"(samplers of {task.name}: {', '.join(task.baselines)})"
        )
    if checkpoint is not None:
        if not checkpoint.exists():
            raise UserError(
                f"no folder or file {checkpoint}; --checkpoint takes a run's folder, or a "
                "student's; fix: bench status lists the runs"
            )
        student_of(regular_file_or_folder(checkpoint))
        return checkpoint
    if steps is not None:
        raise UserError(f"--steps goes with --checkpoint; the sampler {sampler!r} has its own")
    return task.baseline(sampler or "")  # one of the two was given


def refuse_scale_alone(scale: str | None, suite: str | None) -> None:
    """Raise UserError for --scale without --suite."""
    if scale is not None and suite is None:
        raise UserError("--scale needs a suite; fix: add --suite NAME, or leave out --scale")


def refuse_given(options: Mapping[str, Any], reason: str) -> None:
    """Raise UserError, "OPTION `reason`", for the first of these options that has a value."""
    for option, value in options.items():
        if value not in (None, []):
            raise UserError(f"{option} {reason}")


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


def parse_grid(texts: Iterable[str]) -> dict[str, list[Any]]:
    """Read `key=value,value` pairs; a value is read as that of --set. Raises UserError."""
    found: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        name = key.strip().replace("-", "_")
        if not equals or not name or not values.strip():
            raise UserError(f"--grid takes key=value,value, not {text!r}; for example --grid lr=3e-4,1e-3")
        if name in found:
            raise UserError(f"--grid gives {name!r} twice; fix: give it once, with all values")
        listed = [_value(name, one) for one in _parts(values)]
        found[name] = [one for number, one in enumerate(listed) if one not in listed[:number]]
    return found


def _parts(text: str) -> list[str]:
    """Split at the commas that are in no list: `[0,1],[0.2,0.5]` has two parts."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def refuse_unknown_weights(named: Iterable[str], known: Collection[str]) -> None:
    """Raise UserError for a name that no known weights have."""
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


def parse_keep(texts: Iterable[str]) -> list[str]:
    """Read what is kept, with commas or by repeating the option. Raises UserError."""
    kinds = parse_names(texts, "--keep") if texts else []
    for kind in kinds:
        if kind not in KEPT_KINDS:
            raise unknown("kind of file for --keep", kind, KEPT_KINDS)
    return kinds


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


def parse_weights(texts: Iterable[str]) -> dict[str, Path]:
    """Read `name=path` pairs of --weights. Raises UserError."""
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise UserError(f"--weights takes NAME=PATH, not {text!r}")
        if name in found:
            raise UserError(f"--weights gives {name!r} twice")
        found[name] = Path(path)
    return found
