"""`bench list`, which imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.json_output import JsonOption, print_json
from bench.cli.options import PluginOption
from bench.cli.terminal import print
from bench.core.errors import UserError
from bench.runs.plugins.places import DISTRIBUTION, is_ours

if TYPE_CHECKING:
    from bench.runs.registry import Catalogue


class Kind(StrEnum):
    """The kinds of names that `bench list` shows."""

    methods = "methods"
    tasks = "tasks"
    metrics = "metrics"
    extractors = "extractors"
    datasets = "datasets"
    backbones = "backbones"
    executors = "executors"
    renderers = "renderers"
    suites = "suites"


def list_(
    kind: Annotated[Kind | None, typer.Argument(help="Only this kind.", show_default="all")] = None,
    plugin: PluginOption = [],
    as_json: JsonOption = False,
) -> None:
    """List methods, tasks, metrics and everything else that has a name."""
    from bench.runs.registry import load_catalogue

    catalogue = load_catalogue(plugin)
    listed = {which.value: _listed(catalogue, which) for which in ([kind] if kind else list(Kind))}
    if as_json:
        print_json({name: [asdict(row) for row in rows] for name, rows in listed.items()})
        return
    for name, rows in listed.items():
        print(name)
        width = max((len(row.name) for row in rows), default=0)
        for row in rows:
            print(f"  {row.name:<{width}}  {row}")


@dataclass(frozen=True)
class _Listed:
    """A line of `bench list`; the field names are keys of its JSON."""

    name: str
    summary: str
    origin: str
    """Distribution and version, or the plug-in file."""
    error: str | None = None
    """The reason why it cannot be loaded."""

    def __str__(self) -> str:
        if self.error is not None:
            return f"[broken] {self.error}"
        return self.summary if is_ours(self.origin) else f"{self.summary}  [{self.origin}]"


def _listed(catalogue: Catalogue, kind: Kind) -> list[_Listed]:
    """Return all names of a kind; a broken plug-in is shown as such, and fails only when it is used."""
    if kind is Kind.suites:
        from bench import __version__
        from bench.runs.suites.reading import load_suite, suite_names

        origin = f"{DISTRIBUTION} {__version__}"
        return [_Listed(name, load_suite(name).title, origin) for name in suite_names()]
    rows = []
    for entry in catalogue.registries[kind.value.removesuffix("s")]:
        if entry.kind.imports_torch and entry.thing is None and entry.point is not None:
            rows.append(_Listed(entry.name, entry.point.value, entry.origin))
            continue
        try:
            rows.append(_Listed(entry.name, entry.load().summary, entry.origin))
        except UserError as error:
            rows.append(_Listed(entry.name, "", entry.origin, str(error)))
    return rows
