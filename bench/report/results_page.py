"""`python -m bench.report.results_page` writes docs/results.md from the committed records.

The text is `page.md`, where every statement that follows from records is written in double braces:

- `{{mean TASK METRIC METHOD}}` is a method's mean over training seeds, or a sampler's value;
- `{{lower TASK METRIC METHOD OTHER}}`, `{{higher ...}}` and `{{level ...}}` claim that one method's mean is below
  or above that of another method or a sampler at p < .05, or that neither is shown. The test over training seeds
  replaces them. If the records do not support a claim, the command fails, and the text must change.
- `{{untested TASK METRIC METHOD OTHER}}` says that one of the two has a single training seed;
- `{{table TASK: METRIC ...` and lines `METHOD | label` up to `}}` are a table.

`SUITE/METHOD` is a method with the recipe of a suite's row at micro scale, where a method has records of several.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.core.errors import UserError, unknown
from bench.core.files import write_text
from bench.metrics.intervals import t_interval
from bench.metrics.titles import NO_SPREAD, TIMES, shown_name, shown_title
from bench.report.cells import header, number
from bench.report.comparison.significance import Comparison, against_sampler, welch
from bench.report.lines import Assigned, suite_lines
from bench.report.measured import Measured
from bench.report.summary import GENERATION_SEEDS, RECIPE, TRAINING_SEEDS, tidy
from bench.runs.record import Record
from bench.runs.records import load_records
from bench.runs.registry import load_catalogue
from bench.runs.result_files import RESULTS
from bench.runs.suites.reading import load_suite
from bench.runs.suites.settled import settled

TEMPLATE = RESULTS / "page.md"
PAGE = RESULTS.parent / "docs" / "results.md"
LEVEL = 0.05
"""A difference is claimed if the p of its test, without correction for several tests, is below this."""
WARNING = (
    "<!-- Written by `python -m bench.report.results_page` from results/page.md and results/records: "
    "edit those. -->\n\n"
)


class Results:
    """The committed results: the values of each method on each task, one per training seed."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.owned: dict[str, list[Record]] = {}
        """The records that belong to a suite's rows."""
        frame = tidy(records)
        kept = (frame["status"] == "ok") & (frame["selection"] != "best-by-test-metric")
        self.frame = frame[kept]
        self.protocols = {record.task: record.protocol for record in records}
        self.measured = {
            (record.task, record.run_id, record.networks_sha256, shown_name(one.name, record.protocol)): one
            for record in records
            for one in record.metrics
        }

    def rows(self, task: str, metric: str, method: str) -> pd.DataFrame:
        """Return the rows of a method, one per training seed. Raises UserError for none or several recipes."""
        frame = self.frame
        suite, _, method = method.rpartition("/")
        for column, value in (("task", task), ("method", method), ("metric", metric)):
            if value not in set(frame[column]):
                raise unknown(f"{column} of the page with records:", value, sorted(set(frame[column])))
            frame = frame[frame[column] == value]
        if suite:
            owned = self._of_row(suite, method)
            runs = zip(frame["run_id"], frame["networks_sha256"], strict=True)
            frame = frame[[one in owned for one in runs]]
            if frame.empty:
                raise UserError(f"no record of {method} on {task} has the recipe of its row in suite {suite}")
        if len(frame.drop_duplicates(RECIPE)) > 1:
            raise UserError(
                f"{method} on {task} has records of several recipes; fix: keep the records of one, or write "
                f"SUITE/{method} for those of a suite"
            )
        return frame.drop_duplicates("train_seed", keep="last").sort_values("train_seed")

    def _of_row(self, suite: str, method: str) -> set[tuple[str, str]]:
        """Return the runs of a method or sampler in a suite's rows at micro scale, each with its networks.

        A sampler was measured once for each teacher, and the suite's is that of its students.
        """
        if suite not in self.owned:
            scale = settled(load_suite(suite).scale("micro"), load_catalogue(), RESULTS)
            lines = [line for line in suite_lines(scale, None, self.records) if not line.differs]
            self.owned[suite] = [
                record
                for record, number in Assigned.to(lines, self.records)
                if number is not None and record.task == scale.task
            ]
        owned = self.owned[suite]
        trained = {one.networks_sha256 for one in owned if one.kind == "method"}
        return {
            (one.run_id, one.networks_sha256)
            for one in owned
            if one.method.name == method and (not trained or one.networks_sha256 in trained)
        }

    def values(self, task: str, metric: str, method: str) -> list[float]:
        """Return one value per training seed; a sampler has one value."""
        found: list[float] = self.rows(task, metric, method)["value"].tolist()
        return found

    def compare(self, task: str, metric: str, method: str, other: str) -> Comparison:
        """Test a method against another, or against a sampler. Raises UserError if there are too few seeds."""
        first, second = (self.rows(task, metric, name) for name in (method, other))
        if len({*first["protocol_sha256"], *second["protocol_sha256"]}) > 1:
            raise UserError(f"{method} and {other} on {task} were measured under two protocols")
        if len({*first["networks_sha256"], *second["networks_sha256"]}) > 1:
            raise UserError(f"{method} and {other} on {task} were measured through different networks")
        mine, theirs = first["value"].tolist(), second["value"].tolist()
        try:
            if set(second["kind"]) == {"baseline"}:
                run, networks = second.iloc[0][["run_id", "networks_sha256"]]
                return against_sampler(mine, self.measured[task, run, networks, metric])
            return welch(mine, theirs)
        except ValueError as error:
            raise UserError(f"{method} and {other} on {task}, {metric}: {error}") from None

    def mean(self, task: str, metric: str, method: str) -> str:
        """Return a mean, formatted as in tables."""
        values = self.values(task, metric, method)
        return number(TIMES.get(metric, 1) * sum(values) / len(values))

    def claim(self, verb: str, task: str, metric: str, method: str, other: str) -> str:
        """Return the test behind a claim. Raises UserError if the records do not support it."""
        if verb == "untested":
            counts = [len(self.values(task, metric, name)) for name in (method, other)]
            if min(counts) > 1:
                raise UserError(
                    f"{method} and {other} on {task} have {counts} training seeds; fix: test the claim"
                )
            return "one training seed: no test"
        found = self.compare(task, metric, method, other)
        shown = "level" if found.p >= LEVEL else "lower" if found.difference < 0 else "higher"
        if shown != verb:
            raise UserError(
                f"the records do not support that {method} is {verb} than {other} in {metric} on {task}: "
                f"{found}; fix: write {shown}, and change the text"
            )
        return str(found)

    def table(self, task: str, metrics: Sequence[str], rows: Sequence[tuple[str, str]]) -> str:
        """Return a table of methods, with every training seed's value."""
        protocol = self.protocols[task]
        titles = []
        for metric in metrics:
            first = self.rows(task, metric, rows[0][0]).iloc[0]
            titles.append(header(shown_title(metric, first["title"], protocol), first["direction"]))
        lines = [["row", *titles], ["---"] * (1 + len(metrics))]
        lines += [[label, *(self.cell(task, metric, method) for metric in metrics)] for method, label in rows]
        note = (
            "`mean ± half` is the 95 % interval over the training seeds, with their values; `[low, high]` is the "
            "interval over the generation seeds of a single training or sampler, which cannot rank methods."
        )
        grid = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        if NO_SPREAD in grid:
            note += f" `{NO_SPREAD}`: all values are equal, from which no error follows."
        return f"{grid}\n\n{note}"

    def cell(self, task: str, metric: str, method: str) -> str:
        """Return mean, interval and values over training seeds, or the interval over generation seeds."""
        rows = self.rows(task, metric, method)
        scaled = rows[["value", "low", "high"]] * TIMES.get(metric, 1)
        values = scaled["value"].tolist()
        if len(values) > 1:
            mean, _, low, high = t_interval(values)
            over_seeds = Measured(value=mean, low=low, high=high, interval=TRAINING_SEEDS)
            return f"{number(mean)} {over_seeds.half} ({', '.join(map(number, values))})"
        value, low, high = scaled.iloc[0]
        return f"{number(value)} {Measured(value=value, low=low, high=high, interval=GENERATION_SEEDS).ends}"


def page(template: str, results: Results) -> str:
    """Fill in the double braces. Raises UserError for an unknown word or an unsupported claim."""
    filled = re.sub(r"\{\{(.*?)\}\}", lambda found: _filled(found[1], results), template, flags=re.DOTALL)
    return WARNING + filled


def _filled(text: str, results: Results) -> str:
    verb, *words = text.split("\n", 1)[0].split()
    if verb == "table":
        task, *metrics = words
        rows = [line.split("|") for line in text.split("\n")[1:] if line.strip()]
        return results.table(
            task.rstrip(":"), metrics, [(method.strip(), label.strip()) for method, label in rows]
        )
    if verb == "mean" and len(words) == 3:
        return results.mean(*words)
    if verb in ("lower", "higher", "level", "untested") and len(words) == 4:
        return results.claim(verb, *words)
    raise UserError(
        f"{TEMPLATE.name} contains {{{{{text}}}}}, which bench.report.results_page does not know; "
        "fix: use mean, lower, higher, level, untested or table"
    )


def generated() -> str:
    """Return the page that follows from the committed records."""
    found = load_records([RESULTS / "records"])
    if found.problems:
        raise UserError(found.problems[0])
    return page(TEMPLATE.read_text(encoding="utf-8"), Results(found.records))


def main() -> None:
    """Write the page."""
    try:
        write_text(PAGE, generated())
    except UserError as error:
        sys.exit(f"error: {error}")
    print(PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE)


if __name__ == "__main__":
    main()
