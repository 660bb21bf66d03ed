"""Whether a record says completely by what, when and at what cost it was made."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator

from bench.core.errors import listed
from bench.core.numbers import is_finite
from bench.runs.checks.finding import UNCHANGED, Finding, error, note, shortened, warning
from bench.runs.provenance import PACKAGES
from bench.runs.record import Record, is_study

COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
REQUIRED = {"distillation-bench", "torch"}
CLOCK_SKEW = datetime.timedelta(hours=1)
"""Clocks of machines differ by no more than this."""


def provenance_findings(record: Record, now: datetime.datetime) -> Iterator[Finding]:
    """Yield what the provenance of a record leaves out."""
    made = record.provenance
    if missing := [name for name in PACKAGES if not made.packages.get(name)]:
        level = error if REQUIRED & set(missing) else warning  # the list of packages may grow
        yield level(f"no version of {listed(missing)}", UNCHANGED)
    for name, text in {"Python": made.python, "the platform": made.platform, "the processor": made.cpu}.items():
        if not text.strip():
            yield error(f"{name} is not named", UNCHANGED)
    if not made.argv and not is_study(record.protocol):  # that of a study would name the raters' files
        yield error("no command line, so that nobody can repeat the run", UNCHANGED)
    if made.git_commit is None:
        yield warning("no git commit of the code", "install bench from a git checkout, and run again")
    elif not COMMIT.fullmatch(made.git_commit):
        yield error(f"the git commit is {shortened(made.git_commit)}, which is no commit's hash", UNCHANGED)
    elif made.git_dirty is None:
        yield warning("it does not say whether the code differed from its commit", "say so in the pull request")
    yield from _of_time(made.created, now)


def _of_time(created: str, now: datetime.datetime) -> Iterator[Finding]:
    try:
        time = datetime.datetime.fromisoformat(created)
    except ValueError:
        yield error(f"created is {shortened(created)}, which is no time of ISO 8601", UNCHANGED)
        return
    if time.tzinfo is None:
        yield error(f"created is {shortened(created)}, without a time zone", UNCHANGED)
    elif time > now + CLOCK_SKEW:
        yield error(
            f"created is {shortened(created)}, which is in the future", "set the machine's clock, run again"
        )


def state_findings(record: Record) -> dict[str, Finding]:
    """Return why a record, although valid, is no result, by the state: failed, smoke or dirty."""
    found = {}
    if record.error is not None:
        what = shortened(f"{record.error.type}: {record.error.message}")
        found["failed"] = warning(f"the run failed, {what}", "remove the cause, and run again")
    if record.protocol.get("smoke", False):
        what = "its protocol is a smoke test's, whose numbers are no results"
        found["smoke"] = warning(what, "run the task's own protocol")
    if record.provenance.git_dirty:
        what = f"the code differed from its commit {str(record.provenance.git_commit)[:10]}: nobody can repeat it"
        found["dirty"] = warning(what, "commit the code, and run again")
    return found


def cost_findings(record: Record) -> Iterator[Finding]:
    """Yield costs that no successful run can have."""
    cost, recipe = record.cost, record.method.recipe
    times = {"train_seconds": cost.train_seconds, "evaluate_seconds": cost.evaluate_seconds}
    for name, seconds in (times | {"gpu_hours": cost.gpu_hours}).items():
        if seconds < 0 or not is_finite(seconds):
            yield error(f"{name} is {seconds:g}", UNCHANGED)
    if cost.network_evaluations == 0:
        yield error("0 network evaluations made its images", UNCHANGED)
    if record.kind == "baseline":
        if cost.train_seconds or cost.iterations:
            yield error(
                f"{cost.iterations} iterations of training in {cost.train_seconds:g} s of a sampler", UNCHANGED
            )
        return
    if cost.train_seconds == 0:
        yield error("0 seconds of training", UNCHANGED)
    if cost.iterations == 0:
        yield error("0 iterations of training", UNCHANGED)
    if recipe.get("iterations", cost.iterations) != cost.iterations:
        yield error(f"{cost.iterations} iterations, but the recipe has {recipe['iterations']}", UNCHANGED)
    size = recipe.get("batch_size")
    if isinstance(size, int) and cost.generated_images != cost.iterations * size:
        yield error(f"{cost.generated_images} images in {cost.iterations} iterations of batch {size}", UNCHANGED)
    steps = record.sampler.get("grid_indices") if str(record.sampler.get("kind")).startswith("few-step") else None
    if isinstance(steps, list) and len(steps) != cost.network_evaluations:
        yield error(
            f"{cost.network_evaluations} network evaluations, but {len(steps)} steps of the sampler", UNCHANGED
        )
    hours = cost.processes * cost.train_seconds / 3600
    if not math.isclose(cost.gpu_hours, hours, rel_tol=1e-6) and cost.gpu_hours != 0:
        yield error(f"{cost.gpu_hours:g} GPU hours, but all processes trained for {hours:g} hours", UNCHANGED)
    if cost.gpu_hours == 0 and record.provenance.gpu is not None:
        yield note("a GPU is named, but no GPU hours: it was trained on the CPU, or only evaluated on the GPU")
