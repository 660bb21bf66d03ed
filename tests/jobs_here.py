"""Jobs that run in the test's own process, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bench.jobs.spec import JobSpec
from bench.jobs.start import main


def run_jobs_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the local executor call its workers in this process; return the labels of those that were called."""
    done: list[str] = []

    def run_jobs(jobs: Sequence[JobSpec], *_: object) -> list[Any]:
        for job in jobs:
            job.write()
            main(str(job.folder), job.stage)
            done.append(job.label)
        return []

    monkeypatch.setattr("bench.jobs.local_jobs.run_jobs", run_jobs)
    return done
