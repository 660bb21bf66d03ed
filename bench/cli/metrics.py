"""`bench metrics`: known-answer tests of the metrics on this installation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.completion import metric_names
from bench.cli.json_output import JsonOption, print_json
from bench.cli.options import CacheOption, PluginOption, ThreadsOption
from bench.cli.parsing import optional_names
from bench.cli.terminal import print
from bench.core.imports import installed_version
from bench.task.declaration import default_cache

if TYPE_CHECKING:
    from bench.runs.installation.checked import Checked

app = typer.Typer(help="Known-answer tests of the metrics on this installation.", no_args_is_help=True)

PACKAGES = ("torch", "numpy", "scipy", "pillow", "torchvision", "transformers", "open_clip_torch", "lpips")
"""The packages whose versions decide numbers."""


@app.callback()
def _metrics() -> None:
    """Test metrics. With a callback, a single command is still called by its name."""


@app.command("check")
def check(
    metric: Annotated[
        list[str],
        typer.Option(
            "--metric",
            help="Only these metrics, with commas, and what they read; repeatable.",
            autocompletion=metric_names,
        ),
    ] = [],
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
    plugin: PluginOption = [],
    as_json: JsonOption = False,
) -> None:
    """Measure sets whose value is known, and show what was found; exit code 1 if a value is wrong.

    It needs no data and no network: arithmetic, resizes, metrics, and the extractors and references that are here.
    """
    from bench.runs.registry import load_catalogue

    catalogue = load_catalogue(plugin)
    names = optional_names(metric, "--metric")
    for name in names:
        catalogue.metrics.find(name)

    from bench.core.cpu import compute_on_cpu
    from bench.runs.installation.check import installation_checks

    compute_on_cpu(threads)
    done: list[Checked] = []
    for one in installation_checks(catalogue, names, cache or default_cache()):
        if not as_json:
            _print_check(one, heading=not done or done[-1].part != one.part)
        done.append(one)
    if as_json:
        print_json({"checks": [_data(one) for one in done], **_counts(done), "versions": _versions()})
    else:
        _print_summary(done)
    if any(one.outcome == "FAILED" for one in done):
        raise typer.Exit(1)


def _data(check: Checked) -> dict[str, Any]:
    return {**asdict(check), "difference": check.difference}


def _counts(done: Sequence[Checked]) -> dict[str, int]:
    return {
        name: sum(one.outcome == outcome for one in done)
        for name, outcome in (("right", "ok"), ("wrong", "FAILED"), ("not_checked", "not checked"))
    }


def _versions() -> dict[str, str | None]:
    """Return the versions of the packages; None for one that is not installed."""
    return {package: installed_version(package) for package in PACKAGES}


def _print_check(check: Checked, heading: bool) -> None:
    if heading:
        title = f"{check.part:<26}{'case':<52}"
        print(f"{title}{'expected':>12}{'found':>12}{'difference':>12}{'tolerance':>11}")
    start = f"  {check.name:<24}{check.case:<52}"
    if check.found is not None:
        numbers = f"{check.expected:>12.6g}{check.found:>12.6g}{check.difference:>12.1e}{check.tolerance:>11.0e}"
        print(f"{start}{numbers}  {check.outcome}")
    else:
        print(f"  {check.name:<24}{f'{check.case}: ' * bool(check.case)}{check.outcome}: {check.reason}")


def _print_summary(done: Sequence[Checked]) -> None:
    counts = _counts(done)
    tested = counts["right"] + counts["wrong"]
    left = f"; {counts['not_checked']} not checked" if counts["not_checked"] else ""
    if not counts["wrong"]:
        print(f"all {tested} known answers are right{left}")
        return
    parts = {one.part for one in done if one.outcome == "FAILED"}
    what, fix = _WRONG.get(min(parts), _ANY) if len(parts) == 1 else _ANY
    print(f"{counts['wrong']} of {tested} known answers are wrong{left}; trust no number of {what}; fix: {fix}")
    print("versions: " + ", ".join(f"{name} {version}" for name, version in _versions().items() if version))


_ANY = "this installation", "compare these versions with those of an installation that is right"
_WRONG = {
    "extractor": ("these extractors", "bench weights check"),
    "reference": ("these references", "delete their folders, and import or build them again with bench refs"),
}
"""What not to trust, and the fix, where only one part of the tests has failed."""
