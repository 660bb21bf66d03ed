"""The environment of everything that is sent to Slurm: the user's own, without the variables of another job.

Users work inside jobs: in salloc, in a notebook, in an editor's server on a compute node. The variables of such a
job are options to sbatch and srun, where they go before the options of the script, and sbatch passes them on to
the new job, whose own they contradict. So do variables such as SBATCH_PARTITION, which override a profile.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

KEPT = frozenset(("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_SACK_SOCKET"))
"""Variables that select the cluster and the access token of Slurm commands."""
FOREIGN = (
    *("SLURM", "SBATCH_", "SRUN_", "SALLOC_", "SUBMITIT_"),
    *("SQUEUE_", "SINFO_", "SACCT_", "SCANCEL_", "SCONTROL_"),
    *("PMI_", "PMI2_", "PMIX_", "OMPI_", "PRTE_", "PALS_", "MPI_LOCAL", "MPI_WORLD", "MV2_COMM_WORLD_"),
    *("TORCHELASTIC_", "ACCELERATE_"),
)
"""Beginnings of the names of variables that belong to a job, to a launcher, or to Slurm's commands."""
PROCESS = frozenset(
    (
        *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE"),
        *("ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
    )
)
"""Variables by which one process of several finds the others."""
DEVICES = frozenset(("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"))
"""Inside a job: the devices of that job. Elsewhere they are what the user has set."""


def environment(inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what a command of Slurm gets of an environment, by default of this process's."""
    given = os.environ if inherited is None else inherited
    inside = "SLURM_JOB_ID" in given or "SLURM_JOBID" in given
    return {name: value for name, value in given.items() if not _is_foreign(name, inside)}


def _is_foreign(name: str, inside: bool) -> bool:
    if name in KEPT:
        return False
    return name.startswith(FOREIGN) or name in PROCESS or (inside and name in DEVICES)


@contextlib.contextmanager
def clean_environment() -> Iterator[None]:
    """Give this process, and the commands that libraries start meanwhile, only `environment()`."""
    removed = {name: os.environ[name] for name in os.environ.keys() - environment().keys()}
    for name in removed:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(removed)


def overridden() -> list[str]:
    """Name the user's own settings of sbatch, which have no effect: the profile says what jobs ask for."""
    return sorted(name for name in os.environ if name.startswith("SBATCH_"))
