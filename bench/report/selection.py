"""What a name on the command line of a comparison stands for: the records of a method, a run or a sampler."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.core.errors import UserError, hint, listed, nearest, unknown
from bench.core.run_folder import PLAN, RECORD
from bench.jobs.run_states import state_lookup
from bench.report.lines import Assigned, left_out, of_other_protocols, suite_lines
from bench.report.sides import Found, Side, comparable, differing_roles, protocol_of
from bench.report.summary import variant_sha256
from bench.runs.protocols.derived import is_of_sweep
from bench.runs.recipes import DIGITS, FilledRecipes, named_recipes, recipe_sha256, shown_values
from bench.runs.record import Record, is_study
from bench.runs.records import Loaded, read_record, records_beside
from bench.runs.states.next_steps import no_result_yet
from bench.runs.states.pending import PendingRun, read_pending
from bench.runs.suites.suite import Suite, SuiteScale


class Selection:
    """The records among which the sides of a comparison are found, each run once and newest first.

    `protocol` keeps those of one protocol, by its name or the beginning of its digest. `runs` is the folder in
    which a name may be that of a run without a record. Raises UserError if there are none.
    """

    def __init__(self, loaded: Loaded, protocol: str | None = None, runs: Path | None = None) -> None:
        self._runs = runs
        self._protocol = protocol
        once: dict[tuple[str, ...], Found] = {}
        every = [Found(*one) for one in zip(loaded.records, loaded.paths, strict=True)]
        self.loaded = sorted(every, key=lambda one: one.record.provenance.time, reverse=True)
        """All records, newest first, and both of a run that was recorded twice."""
        for one in self.loaded:  # of a run that was recorded twice the newest counts, as in tables
            if protocol is None or _is_of(one.record, protocol):
                once.setdefault(one.record.result_of, one)
        if protocol is not None and not once:
            names = {str(record.protocol.get("name", "")) for record in loaded.records}
            raise unknown("protocol with records:", protocol, names)
        self.found = list(once.values())
        self._filled = FilledRecipes.among(one.record for one in self.loaded)

    def side(self, name: str, task: str | None, networks: str | None = None) -> Side:
        """Return the side that a name stands for: a folder or file, a run id or its beginning, or a method.

        A method or sampler may be narrowed by the first digits of its recipe's digest: `dmd2#b8b7ac`, and by the
        digest of its `networks`. Raises UserError with the nearest names if there is none, with all names if there
        are several, and with its state and the command that goes on if it is a run without a result.
        """
        path = Path(name)
        if _is_path(path):
            return _run(self._at(path))
        exact = [one for one in self._on(task) if one.record.run_id == name]
        runs = [one for one in self._measured(task) if one.record.run_id.startswith(name)]
        methods = self._named(name.partition("#")[0], task)
        if exact or (runs and not methods):
            return self._one_run(name, exact or runs)
        if not methods:
            raise self._unknown(name, task)
        of_networks = [one for one in methods if networks in (None, one.record.networks_sha256)]
        return self._method(name, of_networks or methods)

    def shared_networks(self, names: Sequence[str], task: str | None) -> str | None:
        """Return the digest of the only networks that the results of all names have; None without such ones.

        A sampler of the teacher may have been measured with several teachers: beside a student, its own is meant.
        """
        every: list[set[str]] = []
        for name in names:
            found = [self._at(Path(name))] if _is_path(Path(name)) else self._named(name.partition("#")[0], task)
            found = found or [one for one in self._measured(task) if one.record.run_id.startswith(name)]
            every.append({one.record.networks_sha256 for one in found})
        shared = set.intersection(*every)
        return shared.pop() if len(shared) == 1 else None

    def sides(self, names: Iterable[str], task: str | None) -> list[Side]:
        """Return a side for each name.

        Raises UserError for fewer than two names, if two have records in common, or if they are not comparable.
        """
        names = list(names)
        if len(names) < 2:
            raise UserError("a comparison takes two or more results; fix: bench compare dmd2 gan --task fashion")
        networks = self.shared_networks(names, task)
        sides = [self.side(name, task, networks) for name in names]
        for number, side in enumerate(sides):
            for other in sides[:number]:
                if {one.record.run_id for one in side.found} & {one.record.run_id for one in other.found}:
                    raise UserError(
                        f"{other.label} and {side.label} have results in common; fix: name each result once"
                    )
        return comparable(sides)

    def suite(self, suite: Suite, chosen: SuiteScale) -> list[Side]:
        """Return the rows of a suite's table that have results, in its order.

        `chosen` is one of the suite's scales, settled: with its budget, its tuned values and its recipes. As in
        tables, results of another recipe than a row has now are a side of their own, named by it. Raises UserError
        if there are fewer than two sides, or if they are not comparable.
        """
        assigned, here = self._assigned(suite, chosen)
        rows: dict[int, list[Found]] = {}
        for one, owner in zip(here, assigned.owners, strict=True):
            if owner is not None and chosen.protocol in (None, one.record.protocol.get("name")):
                rows.setdefault(owner, []).append(one)
        labels = [line.label for line in assigned.lines]
        sides = [side for number in sorted(rows) for side in self._row(labels[number], rows[number])]
        if len(sides) < 2:
            having = f"results of {sides[0].label} alone" if sides else "no results"
            raise UserError(
                f"suite {suite.name} has {having} on {chosen.task}, and a comparison takes two rows; "
                f"fix: bench reproduce {chosen.called}"
            )
        return comparable(sides)

    def left_out(self, suite: Suite, chosen: SuiteScale) -> str:
        """Name the results of a suite's methods that are on no row of it, and why; empty if there are none."""
        assigned, _ = self._assigned(suite, chosen)
        return " ".join(filter(None, (left_out(assigned), of_other_protocols(assigned, chosen.protocol))))

    def _assigned(self, suite: Suite, chosen: SuiteScale) -> tuple[Assigned, list[Found]]:
        """Return the records that may be on the lines of a suite's table; and with their files."""
        here = [one for one in self._measured(chosen.task) if _counts(one.record)]
        lines = suite_lines(chosen, suite.paper_table(), [one.record for one in self.loaded])
        return Assigned.to(lines, [one.record for one in here]), here

    def _at(self, path: Path) -> Found:
        """Return the record in a run's folder, or in a record's file, of the protocol that was chosen.

        Raises UserError if there is none.
        """
        file = path / RECORD if path.is_dir() else path
        if not file.is_file() and (pending := read_pending(path, state_lookup(path.absolute().parent.parent))):
            raise no_result_yet(pending.at, path.parent.parent)
        if not file.is_file():
            raise UserError(
                f"{path} is no finished run's folder: it has no {RECORD}; fix: name one, see bench status"
            )
        own, chosen = self._read(file), self._protocol
        if chosen is None or _is_of(own.record, chosen):
            return own
        others = [self._read(one) for one in records_beside(file)] if path.is_dir() else []
        for one in others:
            if _is_of(one.record, chosen):
                return one
        under = listed(dict.fromkeys(str(one.record.protocol.get("name")) for one in (own, *others)))
        raise UserError(
            f"{path} has no result under protocol {chosen!r}, but under {under}; fix: choose one of them, or "
            "measure it: bench eval --protocol"
        )

    def _read(self, file: Path) -> Found:
        """Return a file's record; one that was loaded knows which networks differ by rounding alone."""
        loaded = (one for one in self.loaded if one.path.resolve() == file.resolve())
        return next(loaded, None) or Found(read_record(file), file)

    def _on(self, task: str | None) -> list[Found]:
        return [one for one in self.found if task in (None, one.record.task)]

    def _measured(self, task: str | None) -> list[Found]:
        """Return what was measured; a user study is about a run, and no name but its own stands for it."""
        return [one for one in self._on(task) if not is_study(one.record.protocol)]

    def _named(self, method: str, task: str | None) -> list[Found]:
        """Return the results of a method or sampler; a run of a tuning is called by its own name alone."""
        named = (one for one in self._measured(task) if one.record.method.name == method)
        return [one for one in named if _counts(one.record) and not one.record.of_tuning]

    def _one_run(self, name: str, runs: Sequence[Found]) -> Side:
        if len(runs) > 1:
            first = min(runs, key=lambda one: len(one.record.run_id))
            under = [one for one in runs if one.record.run_id.startswith(f"{first.record.run_id}-")]
            if len(under) == len(runs) - 1:  # the same run under other protocols, as after bench eval --metric
                return _run(first)
            ids = [f"{one.record.task}/{one.record.run_id}" for one in runs]
            raise UserError(f"{name!r} is the beginning of {listed(ids)}; fix: write more of it, or give --task")
        return _run(runs[0])

    def _row(self, label: str, found: Sequence[Found]) -> list[Side]:
        """Return a side for each recipe, protocol or sampler that a row of a table has results of."""
        variants: dict[tuple[str, ...], list[Found]] = {}
        for one in found:
            variants.setdefault(self._variant(one.record), []).append(one)
        if len(variants) == 1:
            return [_side(label, found)]
        return [
            _side(f"{label}, {shown_values(ones[0].record.method.passed)} #{variant[1][:DIGITS]}", ones)
            for variant, ones in variants.items()
        ]

    def _method(self, name: str, found: Sequence[Found]) -> Side:
        """Return a method's results of one recipe and protocol. Raises UserError that lists several."""
        method, _, digits = name.partition("#")
        tasks = sorted({one.record.task for one in found})
        if len(tasks) > 1:
            raise UserError(f"{method} has results on {listed(tasks)}; fix: choose one: --task {tasks[0]}")
        variants: dict[tuple[str, ...], list[Found]] = {}
        for one in found:
            if recipe_sha256(one.record.method, self._filled).startswith(digits):
                variants.setdefault(self._variant(one.record), []).append(one)
        if not variants:
            recipes = sorted({recipe_sha256(one.record.method, self._filled)[:DIGITS] for one in found})
            raise UserError(f"{method} has no recipe #{digits}; {hint(digits, recipes)}")
        if len(variants) > 1:
            raise _several(method, [ones[0] for ones in variants.values()], self._filled)
        (ones,) = variants.values()
        return _side(name, ones)

    def _variant(self, record: Record) -> tuple[str, ...]:
        return (
            *(record.kind, recipe_sha256(record.method, self._filled), variant_sha256(record)),
            *(record.protocol_sha256, record.networks_sha256),
        )

    def _pending(self, runs: Path, name: str, task: str | None) -> list[PendingRun]:
        """Return the runs without a result that a run id, its beginning or a method may mean."""
        lookup = state_lookup(runs)
        folders = sorted(path.parent for path in runs.glob(f"*/*/{PLAN}"))
        on_task = [folder for folder in folders if task in (None, folder.parent.name)]
        found = [one for folder in on_task if (one := read_pending(folder, lookup)) is not None]
        called = [one for one in found if len(name) > len(one.method) and one.at.run.startswith(name)]
        return called or [one for one in found if one.method == name.partition("#")[0]]

    def _unknown(self, name: str, task: str | None) -> UserError:
        if self._runs is not None and (pending := self._pending(self._runs, name, task)):
            return no_result_yet(pending[0].at, self._runs)
        names = {one.record.method.name for one in self._measured(task) if _counts(one.record)}
        ids = {one.record.run_id for one in self._on(task)}
        tasks = {one.record.task for one in self.found}
        if not tasks:
            return UserError(
                "there are no records; "
                "fix: bench run --method dmd2 --task digits, or name another folder by --runs"
            )
        if task is not None and task not in tasks:
            return unknown("task with records", task, tasks)
        where = f" with results on {task}" if task else ""
        return unknown(f"run, method or sampler{where}:", name, names | ids if nearest(name, ids) else names)


def _is_path(path: Path) -> bool:
    return path.exists() and (path.is_dir() or path.suffix == ".json")


def _is_of(record: Record, protocol: str) -> bool:
    """Whether a record's protocol has this name, or a digest that begins so."""
    return protocol == record.protocol.get("name") or (
        len(protocol) >= 4 and record.protocol_sha256.startswith(protocol)
    )


def _counts(record: Record) -> bool:
    """Whether a record has a result of a last checkpoint, of which methods are made."""
    chosen = record.checkpoint.selection if record.checkpoint else ""
    return record.status == "ok" and chosen != "best-by-test-metric"


def _side(label: str, found: Sequence[Found]) -> Side:
    """Return the side of a method's results of one recipe, which are newest first."""
    seeds: dict[int | None, Found] = {}
    for one in found:
        seeds.setdefault(one.record.train_seed, one)  # the newest of a seed counts
    return Side(label, tuple(seeds[seed] for seed in sorted(seeds, key=lambda seed: seed or 0)))


def _run(found: Found) -> Side:
    return Side(found.record.run_id, (found,), whole=found.record.kind == "baseline")


def _several(method: str, found: Sequence[Found], filled: FilledRecipes) -> UserError:
    """Return the error for several recipes, protocols, networks or checkpoints, with the way to choose one."""
    records = [one.record for one in found]
    recipes = named_recipes((record.method for record in records), filled)
    if len(recipes) > 1:
        return UserError(f"{method} has results of {len(recipes)} recipes; fix: name one: {', '.join(recipes)}")
    protocols = {record.protocol_sha256: protocol_of(record) for record in records}
    if len(protocols) > 1:
        names = {record.protocol_sha256: str(record.protocol.get("name")) for record in records}
        reported = [name for name in names.values() if not is_of_sweep(name)]
        own = [name for name in names.values() if name == records[0].task] or reported
        chosen = own[0] if len(own) == 1 else min(protocols)[:6]
        return UserError(
            f"{method} has results under {listed(protocols.values())}; fix: choose one: --protocol {chosen}"
        )
    if len({record.networks_sha256 for record in records}) > 1:
        roles = differing_roles(*records[:2])
        return UserError(
            f"{method} has results of different networks ({roles}), such as your teacher and "
            f"that of the committed records; fix: name files, such as {listed(one.path for one in found)}, or "
            "leave the committed ones out by --no-committed"
        )
    what = "different checkpoints or samplers"
    ids = listed(record.run_id for record in records)
    return UserError(f"{method} has results under {what}; fix: name single runs, such as {ids}")
