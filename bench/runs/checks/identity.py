"""Whether a record is of the run, the protocol and the weights that it names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, first_line, listed
from bench.core.escape import is_name
from bench.core.files import digest
from bench.runs.checks.finding import UNCHANGED, Finding, error, note, shortened, warning
from bench.runs.given.plan import GivenRun, is_given
from bench.runs.plan import BaselineRun, Planned, PublishedRun, Run, stem_of
from bench.runs.record import Record, is_study
from bench.runs.registry import Catalogue
from bench.runs.task_sources import pinned_task
from bench.task.base import Task
from bench.task.variations import names_sampler
from bench.training.recipe import build_recipe

SHA256 = re.compile(r"[0-9a-f]{64}")
HASH = re.compile(r"[0-9a-f]{10}")
PLUGIN = "give --plugin FILE with the file that defines it"
NOWHERE = Path("runs")
"""Root of plans whose folders are never looked at."""


def identity_findings(record: Record, catalogue: Catalogue, cache: Path | None) -> Iterator[Finding]:
    """Yield what is wrong with the names and hashes of a record."""
    yield from _of_seed(record)
    yield from _of_weights(record)
    task, reason = declared_task(record, catalogue, cache)
    if task is not None and task.protocol.digest() != record.protocol_sha256:
        yield _other_protocol(record, task)
    elif task is None and not is_study(record.protocol):  # every study has a protocol of its own
        yield note(f"the protocol {_protocol(record)!r} is only declared in the record itself: {reason}", PLUGIN)
    yield from _of_run_id(record, task, catalogue)


def declared_task(record: Record, catalogue: Catalogue, cache: Path | None) -> tuple[Task | None, str]:
    """Return the registered task under the protocol that the record names; or None, and the reason."""
    if record.task not in catalogue.tasks.entries:
        return None, f"task {record.task!r} is not registered here"
    try:
        return pinned_task(catalogue, record.task, cache, _protocol(record)), ""
    except UserError as problem:
        return None, first_line(problem)


def _protocol(record: Record) -> str:
    return str(record.protocol.get("name", ""))


def _other_protocol(record: Record, task: Task) -> Finding:
    """Say in which values a protocol differs from the one that has its name here."""
    here: dict[str, Any] = json.loads(json.dumps(task.protocol.as_dict()))
    keys = sorted(key for key in here.keys() | record.protocol.keys() if here.get(key) != record.protocol.get(key))
    values = [f"{key} {_value(record.protocol, key)} (here {_value(here, key)})" for key in keys]
    return warning(
        f"its protocol is not the {_protocol(record)!r} that task {task.name!r} declares here, and shares no "
        f"column with it: {listed(values)}",
        "evaluate the run under a protocol of this version, or give the protocol another name",
    )


def _value(protocol: dict[str, Any], key: str) -> str:
    return shortened(protocol[key], 40) if key in protocol else "missing"


def _of_seed(record: Record) -> Iterator[Finding]:
    if record.kind == "method" and record.train_seed is None:
        yield error("no training seed, which every trained student has", UNCHANGED)
    if record.kind == "baseline" and record.train_seed is not None:
        yield error(f"a training seed, {record.train_seed}, of a sampler that trains nothing", UNCHANGED)


def _of_weights(record: Record) -> Iterator[Finding]:
    """Check what says which weights were evaluated."""
    found = record.checkpoint
    if record.kind == "method" and not record.method.recipe:
        yield error("no recipe, so that nobody can repeat the run", UNCHANGED)
    if record.status == "ok" and record.kind == "method" and found is None:
        yield error("no checkpoint, so that nobody can tell which weights were evaluated", UNCHANGED)
    hashes = [("checkpoint", found.sha256)] if found is not None else []
    hashes += [(asset.role, asset.sha256) for asset in (*record.weights, *record.data)]
    if record.method.plugin_sha256:
        hashes.append(("plug-in", record.method.plugin_sha256))
    for role, sha256 in hashes:
        if not SHA256.fullmatch(sha256):
            yield error(f"the hash of the {role} is {shortened(sha256)}, which is no SHA-256", UNCHANGED)
    has_teacher = any(asset.role == "teacher" for asset in record.weights)
    if record.status == "ok" and not has_teacher and not is_given(record.sampler):
        yield warning("no hash of a teacher among its weights", "say in the pull request which teacher it is")
    if found is not None and record.kind == "method":
        if found.selection == "none":
            yield error("the checkpoint of a trained student was selected by nothing", UNCHANGED)
        if found.selection == "last" and found.iteration != record.cost.iterations:
            yield error(
                f"the last checkpoint is of iteration {found.iteration} of {record.cost.iterations} iterations",
                UNCHANGED,
            )
        if found.selection == "best-by-test-metric":
            yield warning(
                f"the checkpoint of iteration {found.iteration} was selected by the metric that it is tested by",
                "send the record of the last checkpoint beside it",
            )


def _of_run_id(record: Record, task: Task | None, catalogue: Catalogue) -> Iterator[Finding]:
    """Compute the run id again, as far as its content is known here."""
    own, derived = _own_id(record)
    name = record.method.name
    # The names of a task's samplers, such as teacher-ode+steps8, stay as they are; other names are free.
    stems = [f"{name}-s{record.train_seed}"]
    if record.kind == "baseline":
        stems = [stem_of(name), *([name] if is_name(name) else [])]
    if not any(own.startswith(f"{stem}-") and HASH.fullmatch(own.removeprefix(f"{stem}-")) for stem in stems):
        made = " or ".join(f"{stem}-HASH" for stem in dict.fromkeys(stems))
        yield error(f"the run id {record.run_id!r} is not {made}, as its method and seed make it", UNCHANGED)
        return
    if record.kind == "method" and not is_name(name):
        yield error(f"the method's name is {shortened(name)}, which is no name", UNCHANGED)
        return
    if derived or task is None or task.protocol.digest() != record.protocol_sha256:
        return  # of the protocol it was trained under, or the task, there is nothing to compute with
    planned, reason = _planned(record, task, catalogue)
    if planned is None:
        yield note(f"the run id cannot be computed again: {reason}", PLUGIN if "registered" in reason else "")
        return
    try:
        id_ = planned.id
    except UserError as problem:
        yield note(f"the run id cannot be computed again: {first_line(problem)}")
        return
    if own not in (id_, _earlier_id(planned, record)):
        yield warning(
            f"the run id is {own}, but this content has the id {id_} here: the record was changed, or another "
            "version of the task, its assets or the method made it",
            "say in the pull request which",
        )


def _earlier_id(planned: Planned, record: Record) -> str:
    """Return the id by which an earlier version, that had all keys of the record's recipe, named the run.

    A key that a later version adds is left out of an id where it has its default; versions between its coming and
    that rule had it in. Such an id is a hash of the same content, and shows a change of it as well.
    """
    if not isinstance(planned, Run):
        return planned.id
    content = planned.content()
    later = {key: value for key, value in record.method.recipe.items() if key in planned.recipe.all_added_later()}
    return planned.id_of({**content, "recipe": {**content["recipe"], **later}})


def of_another_protocol(record: Record) -> bool:
    """Return whether a record is of a run that was evaluated again, under another protocol than its own."""
    return _own_id(record)[1]


def _own_id(record: Record) -> tuple[str, bool]:
    """Return the id of the run that a record is of, and whether it was evaluated under another protocol.

    `bench eval` names the records that it adds to a run RUN-HASH, and those of its best student RUN-best.
    """
    own, derived = record.run_id, False
    base, _, short = own.rpartition("-")
    if short == digest([base, record.protocol_sha256])[:6]:
        own, derived = base, True
    return own.removesuffix("-best"), derived


def _planned(record: Record, task: Task, catalogue: Catalogue) -> tuple[Planned | None, str]:
    """Return the plan whose result a record says to be; or None, and the reason."""
    method = record.method
    if record.kind == "baseline":
        if names_sampler(task.baselines, method.name):
            try:
                return BaselineRun(task, NOWHERE, task.baseline(method.name)), ""
            except UserError as problem:
                return None, first_line(problem)
        if record.checkpoint is None:
            return None, f"task {task.name!r} has no sampler {method.name!r}"
        if is_given(record.sampler):
            return GivenRun(task.for_images(), NOWHERE, method.name, record.checkpoint.sha256, record.sampler), ""
        return PublishedRun(task, NOWHERE, method.name, record.checkpoint.sha256, record.sampler), ""
    if method.name not in catalogue.methods.entries:
        return None, f"method {method.name!r} is not registered here"
    try:
        known = catalogue.methods.get(method.name)
        recipe = build_recipe(known.recipe_model(), method.recipe, f"method {method.name!r}")
    except UserError as problem:
        return None, first_line(problem)
    if recipe.init_from is not None:
        return None, "the run started from the student of another run"
    same = replace(known, distiller=method.distiller)
    seed = record.train_seed or 0
    return Run(task, NOWHERE, same, method.origin, method.plugin_sha256, recipe, method.passed, seed), ""
