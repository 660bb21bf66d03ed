"""The daemons of a Slurm on this machine: started, asked, crashed and stopped. Several nodes, fake GPUs."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.core.errors import UserError, unknown
from bench.core.locks import locked
from one_machine_slurm.conf import Settings, read_settings, write_conf
from one_machine_slurm.processes import MARK, Process, kill_all, processes
from slurm.environment import KEPT, environment

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo", "squeue", "scancel")
"""Programs that must be installed; the first three are the daemons."""


def search_path() -> str:
    """Return PATH with the folders of administrators' commands, which may not be in a user's PATH."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def missing_commands() -> list[str]:
    """Return the commands of Slurm and munge that are not installed."""
    return [command for command in COMMANDS if shutil.which(command, path=search_path()) is None]


class Cluster:
    """The cluster that lives under one folder, running or not. Several may run side by side.

    Every method raises UserError with what Slurm said when it does not do what was asked.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.conf = self.root / "run" / "slurm.conf"
        # slurmstepd's socket lies deep under the root, and a socket's path has at most 107 characters.
        if len(str(self.root)) > 50 or not re.fullmatch(r"[\w./+-]+", str(self.root)):
            raise UserError(
                f"the folder {str(self.root)!r} will not do for a local Slurm: at most 50 characters, no spaces; "
                "choose another with --root, such as /tmp/slurm"
            )

    @property
    def settings(self) -> Settings:
        """Return the configuration of the cluster. Raises UserError if there is none."""
        if not self.conf.exists():
            raise self._absent()
        return read_settings(self.root)

    @property
    def exports(self) -> dict[str, str]:
        """The variables that make Slurm's commands, and programs that use them, speak to this cluster."""
        return {"SLURM_CONF": str(self.conf)}

    @property
    def env(self) -> dict[str, str]:
        """This process's environment with `exports`, without what another Slurm may have set."""
        own = {name: value for name, value in environment().items() if name not in KEPT}
        return own | {"PATH": search_path()} | self.exports

    def ask(self, *command: str) -> str:
        """Run one of Slurm's commands (`ask("squeue", "-h")`) and return what it prints."""
        if not self.conf.exists():
            raise self._absent()
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise UserError(f"{shlex.join(command)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
        return done.stdout

    def start(self, settings: Settings | None = None) -> bool:
        """Start the cluster, or of a running one the daemons that died, and wait until its nodes take jobs.

        `settings` None: as it runs, or the defaults. Returns whether it was down. Raises UserError if one with
        other settings is running.
        """
        if missing := missing_commands():
            raise UserError(f"not installed: {', '.join(missing)}; run slurm/install.sh as root")
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.root.stat().st_uid != os.getuid():
            raise UserError(f"{self.root} is another user's folder; choose your own with --root")
        with self._alone():
            was_down = not any(self.daemons().values())
            if was_down:
                self._end()
                shutil.rmtree(self.root / "log", ignore_errors=True)
                write_conf(self.root, settings or Settings())
            elif settings not in (None, self.settings):
                raise UserError(
                    f"the cluster under {self.root} is running as {self.settings}, not as {settings}; "
                    f"first `python -m one_machine_slurm stop --root {self.root}`"
                )
            try:
                for owner, up in self.daemons().items():
                    if not up:
                        self._launch(owner)
                    # A slurmd that finds no controller waits for a second before it asks again; so does sinfo.
                    if owner == "slurmctld":
                        self._wait("slurmctld to listen", self._listens, {"slurmctld"})
                everyone = set(self.daemons())
                self._wait("nodes that take jobs", lambda: set(self.node_states().values()) <= _ABLE, everyone)
            except BaseException:
                if was_down:
                    self._end()
                raise
        return was_down

    def stop(self) -> bool:
        """Kill the daemons and all jobs, and remove everything but the logs. Returns whether any daemon ran."""
        if not self.root.is_dir():
            return False
        with self._alone():
            was_up = any(self.daemons().values())
            self._end()
        return was_up

    def daemons(self) -> dict[str, bool]:
        """Return of each daemon (`munged`, `slurmctld`, the nodes) whether it runs; without a cluster, nothing."""
        if not self.conf.exists():
            return {}
        names = self.settings.names
        found = {(process.owner, process.name) for process in self._processes()}
        return {owner: (owner, _daemon(owner)) in found for owner in ("munged", "slurmctld", *names)}

    def node_states(self) -> dict[str, str]:
        """Return the nodes' states in Slurm's short words (`idle`, `mix`, `down*`)."""
        lines = self.ask("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %t").splitlines()
        return dict(line.split() for line in lines)

    def kill_node(self, node: str, *, daemon_only: bool = False, noticed: bool = True) -> None:
        """Crash a node: kill its slurmd and its job steps at once.

        `daemon_only` leaves the steps running, as a dead slurmd does; `noticed` tells the controller right away,
        which otherwise finds out in its own time (SlurmdTimeout, and up to half a minute more).
        """
        self._check(node)
        with self._alone():
            kill_all(
                lambda: [
                    process
                    for process in self._processes()
                    if process.owner == node and (process.name == "slurmd" or not daemon_only)
                ]
            )
        if noticed:
            self.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=killed")

    def start_node(self, node: str) -> None:
        """Start a node's slurmd again, if it is down, and wait until it takes jobs."""
        self._check(node)
        with self._alone():
            if not self.daemons()[node]:
                self._launch(node)
            self._wait(f"node {node} to take jobs", lambda: self.node_states()[node] in _ABLE, {node})

    def submit(self, script: str, *options: str) -> int:
        """Submit a shell script with sbatch's `options`; return the job's number. Its output goes to the logs."""
        output = f"--output={self.root}/log/%j.out"
        return int(self.ask("sbatch", "--parsable", output, *options, f"--wrap={script}").partition(";")[0])

    def job(self, number: int | str) -> dict[str, str]:
        """Return what the controller knows of a job as scontrol spells it: `JobState`, `Restarts`, `NodeList`, ...

        A task of an array is `"NUMBER_INDEX"`.
        """
        fields = re.findall(r"(?:^|\s)([A-Z][\w:]*)=(\S*)", self.ask("scontrol", "-o", "show", "job", str(number)))
        return dict(reversed(fields))

    def wait(self, number: int | str, *states: str, seconds: float = 60) -> dict[str, str]:
        """Wait until a job is in one of `states` (`RUNNING`, `COMPLETED`, ...); return `job(number)`."""
        end = time.monotonic() + seconds
        while (found := self.job(number))["JobState"] not in states:
            if time.monotonic() > end:
                raise UserError(
                    f"job {number} is {found['JobState']} ({found['Reason']}), not {' or '.join(states)}, "
                    f"after {seconds:.0f} s"
                )
            time.sleep(0.05)
        return found

    def clear(self) -> None:
        """Start the daemons that are down, cancel every job and wait until all nodes are idle."""
        self.start()
        self.ask("scancel", f"--user={os.getuid()}")
        self._wait("an empty queue", self._idle, set(self.daemons()))

    def _absent(self) -> UserError:
        return UserError(
            f"no cluster under {self.root}; `python -m one_machine_slurm start --root {self.root}` starts one"
        )

    def _check(self, node: str) -> None:
        if node not in self.settings.names:
            raise unknown("node", node, self.settings.names)

    def _processes(self) -> list[Process]:
        return processes(self.conf, self.settings.names)

    def _end(self) -> None:
        if self.conf.exists():
            kill_all(self._processes)
        shutil.rmtree(self.root / "run", ignore_errors=True)

    def _launch(self, owner: str) -> None:
        """Start a daemon, which goes on by itself in the background."""
        run, log = self.root / "run", self.root / "log"
        arguments = {
            "munged": [
                "--force",
                f"--socket={run}/munge.socket",
                f"--key-file={run}/munge.key",
                f"--pid-file={run}/munged.pid",
                f"--seed-file={run}/munged.seed",
                f"--log-file={log}/munged.log",
            ],
            "slurmctld": [],
            "slurmd": ["-N", owner],
        }[_daemon(owner)]
        with (log / f"{owner}.out").open("ab") as output:
            done = subprocess.run(
                [_daemon(owner), *arguments],
                env=self.env | {MARK: f"{self.conf} {owner}"},
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        if done.returncode:
            raise UserError(f"{_daemon(owner)} does not start (exit status {done.returncode}){self._last_lines()}")

    def _listens(self) -> bool:
        [port] = re.findall(r"^SlurmctldPort=(\d+)$", self.conf.read_text(encoding="utf-8"), re.MULTILINE)
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", int(port))) == 0

    def _idle(self) -> bool:
        return set(self.node_states().values()) == {"idle"} and not self.ask("squeue", "--noheader")

    def _wait(self, what: str, ready: Callable[[], bool], needed: set[str], seconds: float = 60) -> None:
        """Wait until `ready`, as long as the daemons `needed` for it live."""
        end = time.monotonic() + seconds
        missing: set[str] = set()
        while not _true(ready):
            # Once is not enough: one check may fall between the two forks by which a daemon leaves its parent.
            before, missing = (
                missing,
                {owner for owner, up in self.daemons().items() if not up and owner in needed},
            )
            dead = before & missing
            if dead or time.monotonic() > end:
                trouble = f"{', '.join(sorted(dead))} died" if dead else f"{seconds:.0f} s passed"
                raise UserError(f"{trouble} while waiting for {what}{self._last_lines()}")
            time.sleep(0.05)

    def _last_lines(self) -> str:
        """Return the last log lines of the daemons, for an error message."""
        files = sorted((self.root / "log").glob("*"), key=lambda file: file.stat().st_mtime)
        texts = {file: file.read_text(encoding="utf-8", errors="replace").splitlines()[-5:] for file in files}
        return "".join(f"\n{file}:\n  " + "\n  ".join(lines) for file, lines in texts.items() if lines)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other process starts or stops anything under this root."""
        with locked(self.root / ".lock"):
            yield


_ABLE = {"idle", "mix", "alloc", "comp"}


def _daemon(owner: str) -> str:
    return owner if owner in COMMANDS else "slurmd"


def _true(ready: Callable[[], bool]) -> bool:
    """Ask a controller that may not answer yet."""
    try:
        return ready()
    except UserError:
        return False
