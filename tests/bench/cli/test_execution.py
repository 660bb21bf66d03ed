"""When all went well, and when not: what the exit code of a command tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.jobs.request import raise_failures
from bench.runs.plan import BaselineRun, Run


def test_whatever_was_wanted_and_has_no_result_is_a_failure(plan: Callable[..., Run], tmp_path: Path) -> None:
    run = plan()
    (sampler, *_) = run.task.baselines.values()
    baseline = BaselineRun(run.task, tmp_path, sampler)
    raise_failures([])
    with pytest.raises(UserError, match=f"2 of 2 runs failed: {run.label}; {sampler.name} on tiny; "):
        raise_failures([run, baseline])
    with pytest.raises(UserError, match="not measured: dmd2, measured on another task; "):
        raise_failures([], ["dmd2, measured on another task"])
