"""Nothing that others name becomes a command of a batch script."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import UserError
from bench.jobs.spec import JobSpec
from slurm.graph import Batch
from slurm.profile import Profile
from slurm.resources import Resources
from slurm.script import Script

HOSTILE = "x; touch PWNED; $(touch PWNED)`touch PWNED`'\"\ntouch PWNED\n#SBATCH --account=root"
EVIL_TASK = f"train-{HOSTILE}-0"


def script(name: str, folder: Path, profile: Profile | None = None) -> str:
    """The script of a batch of this name."""
    batch = Batch(name, "train", (JobSpec("a", "train", folder),), Resources())
    return Script(batch, profile or Profile(), f"bench-1-{name}", folder, folder / "code").text()


def test_a_task_of_any_name_runs_nothing_and_is_told_of_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "it's a folder; touch PWNED $(touch PWNED)"
    folder.mkdir()
    for name, text in (
        ("srun", "#!/bin/sh\nexit 3\n"),
        ("python", f"#!/bin/sh\nfor one; do printf '%s\\0' \"$one\"; done > {tmp_path}/reason\n"),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "job.sh").write_text(script(EVIL_TASK, folder, Profile(python=str(tmp_path / "python"))))
    done = subprocess.run(
        ["bash", "job.sh"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3, "the exit code stays what it was"
    reason = (tmp_path / "reason").read_text().split("\0")
    assert reason == ["-m", "slurm.aftermath", str(folder), EVIL_TASK, "3", ""]
    assert not list(tmp_path.rglob("PWNED"))
    assert "\n#SBATCH --account" not in script(EVIL_TASK, folder).split("# setup")[0]


@settings(deadline=None, max_examples=80)
@given(st.text(max_size=30))
def test_a_name_changes_only_its_own_words(name: str) -> None:
    folder = Path("/runs/.slurm/1")
    text = script(name, folder)
    (line,) = (line for line in text.split("\n") if line.startswith("#SBATCH --job-name="))
    assert line.removeprefix("#SBATCH --job-name=bench-1-").replace("_", "").isascii()
    assert text.partition("# setup")[0].count("\n") == script("train", folder).partition("# setup")[0].count("\n")
    teardown = text.partition("# teardown\n")[2]
    assert shlex.split(teardown)[-4:] == [name, "$code", "exit", "$code"]


@pytest.mark.parametrize("folder", ["/runs/100%j", "/runs/a\\b", "/runs/a\nb"])
def test_a_folder_that_slurm_reads_as_another_is_refused(folder: str) -> None:
    with pytest.raises(UserError, match="fix: choose another folder with --runs"):
        script("train", Path(folder))


def test_a_preemption_signal_of_this_shell_is_not_that_of_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    assert "#SBATCH --signal=USR2@120\n" in script("train", Path("/runs"))
