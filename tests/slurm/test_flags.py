"""Flags that a profile gives to sbatch and srun reach the script, and none of them can break a submission."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import UserError
from bench.jobs.spec import JobSpec
from slurm.flags import REPLACED, RESERVED, sbatch_flags, srun_arguments
from slurm.graph import Batch
from slurm.profile import Profile, load_profile
from slurm.resources import Resources
from slurm.script import Script

WORK = JobSpec("train", "train", Path("/runs/tiny/a"))
GPUS = Resources(gpus=4, cpus=32, memory_gb=100)


def loaded(folder: Path, text: str) -> Profile:
    """A profile with this text."""
    (folder / "mine.toml").write_text(text)
    return load_profile(str(folder / "mine.toml"))


def text(profile: Profile, resources: Resources = GPUS, stage: str = "train") -> str:
    """The script of a job with four GPUs."""
    batch = Batch(f"{stage}-tiny", stage, (WORK,), resources)  # type: ignore[arg-type]
    return Script(batch, profile, f"bench-1-{stage}-tiny", Path("/runs/.slurm/1"), Path("/code")).text()


def flags(script: str) -> dict[str, str]:
    """The flags of a script, as sbatch unquotes them."""
    lines = (line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH"))
    return {name: "".join(shlex.split(value)) for name, _, value in (line.partition("=") for line in lines)}


def test_no_workload_key_is_asked_for_unless_the_profile_names_one(tmp_path: Path) -> None:
    assert "wckey" not in text(Profile())
    assert flags(text(loaded(tmp_path, '[sbatch]\nwckey = "vision"')))["wckey"] == "vision"


def test_every_kind_of_flag_reaches_the_script(tmp_path: Path) -> None:
    profile = loaded(
        tmp_path,
        """
srun = ["--mpi=pmix", "--container-image=/images/my bench.sqsh", "--container-mounts=/data:/data", "-m", "block"]
[sbatch]
comment = "it's for \\"table 3\\", twice"
reservation = "week"
exclude = ["n1", "n[3-5]"]
licenses = "lic:2"
mail_type = ["END", "FAIL"]
nice = 100
exclusive = true
no-requeue = true
gres = "tmp:20G"
[stages.evaluate.sbatch]
reservation = false
nice = 0
""",
    )
    script = text(profile)
    found = flags(script)
    assert found["comment"] == 'it\'s for "table 3", twice'
    assert (found["exclude"], found["mail-type"], found["nice"]) == ("n1,n[3-5]", "END,FAIL", "100")
    assert (found["licenses"], found["gres"], found["gpus-per-node"]) == ("lic:2", "tmp:20G", "4")
    assert "exclusive" in found and "no-requeue" in found and "requeue" not in found
    (srun,) = (shlex.split(line) for line in script.splitlines() if line.startswith("srun "))
    assert {"--mpi=pmix", "--container-image=/images/my bench.sqsh", "--container-mounts=/data:/data"} <= set(srun)
    assert srun[srun.index("-m") + 1] == "block" and "--cpus-per-task=8" in srun
    evaluate = flags(text(profile, stage="evaluate"))
    assert "reservation" not in evaluate and evaluate["nice"] == "0"


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        ('mem-per-gpu = "20G"', "mem"),
        ('mem-per-cpu = "2G"', "mem"),
        ('gres = "gpu:a100:4"', "gpus-per-node"),
        ('gres = "tmp:1G,gpu:4"', "gpus-per-node"),
        ("gpus-per-task = 1", "gpus-per-node"),
        ("cpus-per-gpu = 8", "cpus-per-task"),
        ("requeue = false", "requeue"),
    ],
)
def test_a_flag_takes_the_place_of_what_it_goes_against(given: str, gone: str, tmp_path: Path) -> None:
    assert gone in flags(text(Profile()))
    assert gone not in flags(text(loaded(tmp_path, f"[sbatch]\n{given}")))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ('[sbatch]\npartition = "gpu"', "fix: set partition in the profile"),
        ('[sbatch]\narray = "0-9"', "bench sets it itself"),
        ('[sbatch]\narr = "0-9"', "--arr abbreviates --array"),
        ("[sbatch]\nwait = true", "bench sets it itself"),
        ("[sbatch]\nparsable = true", "bench sets it itself"),
        ('[sbatch]\nC = "fast"', "fix: write its long name"),
        ('[sbatch]\ncomment = "a\\nrm -rf ~"', "fix: write one line"),
        ('[sbatch]\n"x\\nrm -rf ~" = 1', "no flag of sbatch"),
        ("[sbatch]\nnice = 1\n--nice = 2", "given twice"),
        ("[sbatch]\nnice = []", "fix: give text, a number"),
        ("[sbatch]\nnice = {a = 1}", "fix: give text, a number"),
        ("sbatch = ['--nice=1']", "fix: write a table"),
        ("[stages.train.sbatch]\nhold = true", "bench sets it itself"),
        ('srun = ["true"]', "srun would take 'true' for the command"),
        ('srun = ["--mpi=pmix", "true"]', "srun would take 'true' for the command"),
        ('srun = ["--"]', "srun would take '--' for the command"),
        ('srun = ["--output=/dev/null"]', "bench sets it itself"),
        ('srun = ["-n", "1"]', "each process takes one GPU"),
        ('srun = ["--mpi=a\\nrm"]', "fix: write one line"),
        ('srun = "--mpi=pmix"', 'a list of arguments, such as ["--mpi=pmix"]'),
        ('account = "a\\nrm -rf ~"', "fix: give one line of text"),
        ('[stages.train]\nqos = ""', "fix: give one line of text"),
    ],
)
def test_what_a_submission_relies_upon_is_refused_by_name(given: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.toml") as caught:
        loaded(tmp_path, given)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


@settings(deadline=None, max_examples=80)
@given(st.dictionaries(st.text(max_size=12), st.text(max_size=20) | st.integers() | st.booleans(), max_size=4))
def test_no_value_becomes_another_line_of_the_script(table: dict[str, object]) -> None:
    try:
        checked = sbatch_flags(table)
    except ValueError:
        return
    script = text(Profile.model_validate({"sbatch": table}))
    plain = text(Profile())
    assert [line for line in script.splitlines() if not line.startswith("#SBATCH")] == [
        line for line in plain.splitlines() if not line.startswith("#SBATCH")
    ]
    found = flags(script)
    for name, value in checked.items():
        if value is not False:
            assert found[name] == ("" if value is True else value)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.text(max_size=12) | st.sampled_from([f"--{name}" for name in RESERVED]), max_size=4))
def test_no_argument_of_srun_becomes_the_command(arguments: list[str]) -> None:
    try:
        checked = srun_arguments(arguments)
    except ValueError:
        return
    (line,) = (line for line in text(Profile(srun=checked)).splitlines() if line.startswith("srun "))
    assert shlex.split(line)[-5 - len(checked) : -5] == list(checked)
    assert not checked or checked[0].startswith("-")


def test_what_is_replaced_is_what_a_script_has() -> None:
    assert set(REPLACED.values()) <= flags(text(Profile())).keys()
