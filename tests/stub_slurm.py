"""A stand-in for a cluster: commands that note what they are given, for tests of what is said to Slurm."""

from __future__ import annotations

from pathlib import Path

INSIDE_A_JOB = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOBID": "7",
    "SLURM_ARRAY_JOB_ID": "6",
    "SLURM_ARRAY_TASK_ID": "5",
    "SLURM_RESTART_COUNT": "3",
    "SLURM_MEM_PER_CPU": "2000",
    "SLURM_CPU_BIND": "quiet,mask_cpu:0x1",
    "SLURM_CPUS_PER_TASK": "64",
    "SLURM_NTASKS": "9",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_GPUS": "4",
    "SLURM_TRES_PER_TASK": "cpu:4",
    "SLURM_NODELIST": "nowhere",
    "SLURM_HINT": "nomultithread",
    "SLURM_EXPORT_ENV": "NONE",
    "SBATCH_EXPORT": "NONE",
    "SBATCH_PARTITION": "nowhere",
    "SBATCH_ACCOUNT": "nobody",
    "SBATCH_QOS": "none",
    "SBATCH_ARRAY_INX": "0-3",
    "SRUN_CPUS_PER_TASK": "64",
    "SALLOC_PARTITION": "nowhere",
    "SQUEUE_PARTITION": "nowhere",
    "SINFO_PARTITION": "nowhere",
    "SCANCEL_INTERACTIVE": "yes",
}
"""What the environment of a job holds, and what users set for sbatch; none of it may reach another job."""

_SBATCH = """#!/bin/sh
for last; do :; done
/usr/bin/env -0 > "$0.environment"
case "$*" in *--test-only*) exit 0 ;; esac
number=$(($(/bin/cat "$0.number" 2>/dev/null || echo 100) + 1))
echo $number > "$0.number"
/bin/cp "$last" "$0.$number.sh"
echo "$number|$(/bin/sed -n 's/^#SBATCH --job-name=//p' "$last")|PENDING|Priority|" >> "$0.queue"
echo "Submitted batch job $number"
"""


class StubSlurm:
    """The commands in a folder, to be put first in PATH."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._command("sbatch", _SBATCH)
        self._command("squeue", '#!/bin/sh\n/bin/cat "${0%squeue}sbatch.queue" 2>/dev/null; exit 0\n')
        self._command("scontrol", "#!/bin/sh\necho 'MaxArraySize = 1001'\n")
        for name in ("scancel", "srun"):
            self._command(name, "#!/bin/sh\n")

    def scripts(self) -> list[str]:
        """What was submitted, in its order."""
        return [path.read_text() for path in sorted(self.folder.glob("sbatch.*.sh"))]

    def environment(self) -> dict[str, str]:
        """What sbatch found in its environment the last time."""
        entries = (self.folder / "sbatch.environment").read_text().split("\0")
        return dict(entry.split("=", 1) for entry in entries if entry)

    def _command(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)
