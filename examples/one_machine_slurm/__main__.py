"""A real Slurm on this machine: several nodes, fake GPUs; partitions main (default), low (preemptible) and high.

It is run in the folder `examples` of the repository, or anywhere with that folder in PYTHONPATH.

  python -m one_machine_slurm start                 some tenths of a second; a second start does nothing
  eval "$(python -m one_machine_slurm env)"         from now on sbatch, squeue, ... speak to it
  python -m one_machine_slurm status                0: all up, 1: partly, 3: stopped
  python -m one_machine_slurm stop                  kills what runs; only the logs stay
  python -m one_machine_slurm run -- COMMAND        start, run COMMAND, stop whatever happens
  python -m one_machine_slurm kill-node NODE        crash a node (start-node NODE brings it back)

slurm/install.sh installs what it needs. Root or not; all files are under --root, all sockets on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from bench.core.errors import UserError
from one_machine_slurm.cluster import Cluster
from one_machine_slurm.conf import Settings


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _do(options.verb, Cluster(options.root), options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _do(verb: str, cluster: Cluster, options: argparse.Namespace) -> int:
    if verb == "start":
        cluster.start(_settings(options))
        print(f'up; eval "$(python -m one_machine_slurm env --root {cluster.root})"')
    elif verb == "run":
        return _run(cluster, _settings(options), options.command)
    elif verb == "stop":
        print("stopped" if cluster.stop() else "was not running")
    elif verb == "env":
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in cluster.exports.items()))
    elif verb == "status":
        return _status(cluster)
    elif verb == "kill-node":
        cluster.kill_node(options.node, daemon_only=options.daemon_only, noticed=not options.unnoticed)
    else:
        cluster.start_node(options.node)
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(options.nodes, options.cpus, options.gpus, options.mem, options.max_jobs)


def _run(cluster: Cluster, settings: Settings, command: list[str]) -> int:
    """Run a command with a cluster of its own, or with one that was there before and then stays."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    ours = cluster.start(settings)
    try:
        with subprocess.Popen(command, env=cluster.env) as child:
            try:
                status = child.wait()
            except BaseException:
                child.terminate()
                raise
    except OSError as error:
        raise UserError(f"run: {error}") from None
    finally:
        if ours:
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            cluster.stop()
    return status if status >= 0 else 128 - status


def _status(cluster: Cluster) -> int:
    daemons = cluster.daemons()
    if not any(daemons.values()):
        print(f"stopped ({cluster.root})")
        return 3
    for daemon, up in daemons.items():
        print(f"{daemon:12}{'up' if up else 'DOWN'}")
    if daemons["munged"] and daemons["slurmctld"]:
        print(
            cluster.ask("sinfo", "--Node", "--format=%12N%10P%8t%14C%8G"), cluster.ask("squeue"), sep="\n", end=""
        )
    return 0 if all(daemons.values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m one_machine_slurm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in ("start", "stop", "status", "env", "run", "kill-node", "start-node"):
        one = verbs.add_parser(verb)
        one.add_argument(
            "--root", type=Path, default=Path(f"/tmp/slurm-local-{os.getuid()}"), help="default: %(default)s"
        )
        if verb in ("start", "run"):
            one.add_argument("--nodes", type=_count(1, 64), default=Settings.nodes, help="default: %(default)s")
            one.add_argument("--cpus", type=_count(1), default=Settings.cpus, help="of each node (%(default)s)")
            one.add_argument("--gpus", type=_count(0), default=Settings.gpus, help="of each node (%(default)s)")
            one.add_argument(
                "--mem", type=_count(1), default=Settings.mem, help="of each node, in MB (%(default)s)"
            )
            one.add_argument(
                "--max-jobs", type=_count(0), help="that a user may have in the queue; more are refused"
            )
        if verb == "run":
            one.add_argument("command", nargs="+", help="after --: what to run")
        if verb in ("kill-node", "start-node"):
            one.add_argument("node", help="such as 127.0.0.1")
        if verb == "kill-node":
            one.add_argument("--daemon-only", action="store_true", help="leave the node's jobs running")
            one.add_argument("--unnoticed", action="store_true", help="let the controller find out by itself")
    return parser


class _count:
    """A whole number from `least` to `most`, as an argument."""

    def __init__(self, least: int, most: int = 10**6) -> None:
        self.least, self.most = least, most

    def __call__(self, text: str) -> int:
        if not text.isdecimal() or not self.least <= int(text) <= self.most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {self.least} to {self.most}")
        return int(text)


if __name__ == "__main__":
    sys.exit(main())
