"""The configuration files of a Slurm that lives on one machine, as text.

What differs from a cluster's own: every daemon listens on 127.0.0.1, the nodes claim CPUs, memory and GPUs that
the machine need not have, nothing is confined (no cgroups), and what others set to minutes takes seconds.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.core.files import write_text


@dataclass(frozen=True)
class Settings:
    """The configuration of a local cluster; `cpus`, `gpus` and `mem` (MB) are each node's.

    `max_jobs` is how many jobs a user may have in the queue before sbatch refuses more (None: no limit).
    """

    nodes: int = 2
    cpus: int = 8
    gpus: int = 2
    mem: int = 16000
    max_jobs: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes' names: addresses, so that they resolve everywhere, for a job's MASTER_ADDR is one of them."""
        return tuple(f"127.0.0.{number}" for number in range(1, self.nodes + 1))


def write_conf(root: Path, settings: Settings) -> None:
    """Write everything the daemons read, and the folders they write to, under an empty `root`/run."""
    run = root / "run"
    for folder in ("state", "dev", *(f"spool/{name}" for name in settings.names)):
        (run / folder).mkdir(parents=True)
    (root / "log").mkdir()
    key = run / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(random.SystemRandom().randbytes(128))
    # Slurm wants a character device for each GPU, and counts links to the same one as several.
    for gpu in range(settings.gpus):
        (run / "dev" / f"nvidia{gpu}").symlink_to("/dev/null")
    if settings.gpus:
        (run / "gres.conf").write_text(
            f"Name=gpu File={run}/dev/nvidia[0-{settings.gpus - 1}]\n", encoding="utf-8"
        )
    if settings.max_jobs is not None:
        (run / "cli_filter.lua").write_text(
            _SUBMIT_LIMIT.replace("LIMIT", str(settings.max_jobs)), encoding="utf-8"
        )
    (run / "settings.json").write_text(json.dumps(asdict(settings)), encoding="utf-8")
    # Last, and whole: where it is, the others are.
    write_text(run / "slurm.conf", _slurm_conf(run, root / "log", settings))


def read_settings(root: Path) -> Settings:
    """Return the settings that `write_conf` wrote under `root`."""
    return Settings(**json.loads((root / "run" / "settings.json").read_text(encoding="utf-8")))


def _slurm_conf(run: Path, log: Path, settings: Settings) -> str:
    host = socket.gethostname().partition(".")[0]
    ports = free_ports(settings.nodes + 1)
    gres = f"Gres=gpu:{settings.gpus}" if settings.gpus else ""
    nodes = "\n".join(
        f"NodeName={name} NodeHostName={host} NodeAddr=127.0.0.1 Port={port} "
        f"CPUs={settings.cpus} RealMemory={settings.mem} {gres}"
        for name, port in zip(settings.names, ports[1:], strict=True)
    )
    return f"""\
ClusterName=local
SlurmUser={os.getuid()}
SlurmdUser={os.getuid()}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until its credential has expired; 5 seconds is the least Slurm accepts.
AuthInfo=socket={run}/munge.socket,cred_expire=5

StateSaveLocation={run}/state
SlurmdSpoolDir={run}/spool/%n
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd.%n.pid
SlurmctldLogFile={log}/slurmctld.log
SlurmdLogFile={log}/slurmd.%n.log
MailProg={shutil.which("true")}

# No cgroups: CPUs, memory and GPUs are counted, not confined.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
SwitchType=switch/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU={max(1, settings.mem // settings.cpus)}

# Without accounting there is no sacct; finished jobs stay in scontrol for a day.
AccountingStorageType=accounting_storage/none
MinJobAge=86400
# Not 1 after every start: submitit would believe the results of an earlier cluster's job of that number.
FirstJobId={random.randrange(10, 60000) * 1000 + 1}
{"CliFilterPlugins=lua" if settings.max_jobs is not None else ""}

SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
KillWait=2
SlurmdTimeout=10
ReturnToService=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE

{"GresTypes=gpu" if settings.gpus else ""}
{nodes}
PartitionName=DEFAULT Nodes=ALL MaxTime=INFINITE DefaultTime=60
PartitionName=main Default=YES PriorityTier=5 PreemptMode=OFF
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=high PriorityTier=10 PreemptMode=OFF
"""


# What a cluster with accounting does for MaxSubmitJobsPerUser, in its words. It runs in sbatch, which can ask for
# the queue: what the controller shows to a job_submit.lua may be the queue of some time ago.
_SUBMIT_LIMIT = """\
local function size(array)
    local count = array and 0 or 1
    for part in (array or ""):gsub("%%.*", ""):gmatch("[^,]+") do
        local first, last, step = part:match("^(%d+)%-?(%d*):?(%d*)$")
        last, step = tonumber(last) or first, tonumber(step) or 1
        count = count + math.floor((last - first) / step) + 1
    end
    return count
end

function slurm_cli_pre_submit(options, offset)
    -- the steps of a job that runs are no new jobs
    if os.getenv("SLURM_JOB_ID") then return slurm.SUCCESS end
    local queued = size(options["array"])
    local listed = io.popen("squeue --me --array --noheader")
    for _ in listed:lines() do queued = queued + 1 end
    listed:close()
    if queued <= LIMIT then return slurm.SUCCESS end
    io.stderr:write("sbatch: error: QOSMaxSubmitJobPerUserLimit\\n",
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy ",
        "(job submit limit, user's size and/or time limits)\\n")
    os.exit(1)
end

function slurm_cli_setup_defaults(options, early) return slurm.SUCCESS end

function slurm_cli_post_submit(offset, job, step) return slurm.SUCCESS end
"""


def free_ports(count: int) -> list[int]:
    """Return `count` free ports of 127.0.0.1, below those that the kernel gives to outgoing connections."""
    ports: list[int] = []
    for port in random.sample(range(10000, 20000), 2000):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise OSError(f"fewer than {count} free ports of 127.0.0.1 between 10000 and 20000")
