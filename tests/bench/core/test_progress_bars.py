"""The status file that a job writes of its progress."""

from __future__ import annotations

import io
import signal
from pathlib import Path

import pytest
from rich.console import Console

from bench.core.progress_bars import StatusProgress
from bench.core.run_folder import STATUS
from bench.core.status import read_status
from bench.core.stopping import Stopped


def test_a_stopped_job_leaves_the_status_of_its_last_step(tmp_path: Path) -> None:
    """Between two writes pass many steps: bench status said 1172, and the checkpoint was of iteration 1189."""
    progress = StatusProgress(Console(file=io.StringIO()), tmp_path / STATUS)
    with pytest.raises(Stopped), progress.bar("training", 9) as bar:
        for _ in range(5):
            bar.advance()
        raise Stopped(signal.SIGTERM)
    found = read_status(tmp_path)
    assert found is not None and (found.completed, found.total) == (5, 9)
