"""The one-machine Slurm is a real one: it schedules, refuses, requeues, and leaves nothing behind."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from one_machine_slurm.__main__ import main
from one_machine_slurm.cluster import Cluster, missing_commands
from one_machine_slurm.conf import Settings, free_ports
from one_machine_slurm.processes import processes

from bench.core.errors import UserError

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def pids(cluster: Cluster) -> dict[int, str]:
    """Return the running processes of the cluster, even if its configuration was removed."""
    return {process.pid: process.name for process in processes(cluster.conf, Settings().names)}


def listening(cluster: Cluster) -> dict[int, str]:
    """The ports of `slurm.conf` that something listens on, with the hexadecimal address, as Linux has it."""
    ports = {int(port) for port in re.findall(r"Port=(\d+)", cluster.conf.read_text())}
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listeners = [fields[1].split(":") for fields in sockets if fields[3] == "0A"]
    return {int(port, 16): address for address, port in listeners if int(port, 16) in ports}


def output(cluster: Cluster, job: int | str) -> str:
    return Path(cluster.job(job)["StdOut"]).read_text()


def test_starting_twice_is_one_start_and_stopping_leaves_nothing(own_cluster: Cluster) -> None:
    assert own_cluster.start(Settings(nodes=1))
    before = pids(own_cluster)
    ports = listening(own_cluster)
    assert set(ports.values()) == {"0100007F"}, "the controller and the node listen on 127.0.0.1 alone"
    assert len(ports) == 2
    assert own_cluster.daemons() == {"munged": True, "slurmctld": True, "127.0.0.1": True}

    assert not own_cluster.start(Settings(nodes=1))
    assert pids(own_cluster) == before
    with pytest.raises(UserError, match=r"running as Settings\(nodes=1, .* not as Settings\(nodes=2"):
        own_cluster.start(Settings(nodes=2))

    job = own_cluster.submit("setsid sleep 600 & env -i sleep 600")
    own_cluster.wait(job, "RUNNING")
    _until(lambda: list(pids(own_cluster).values()).count("sleep") == 2)
    configuration = own_cluster.conf.read_text()
    assert own_cluster.stop()
    assert not pids(own_cluster)
    assert not own_cluster.conf.exists()
    assert sorted(path.name for path in own_cluster.root.iterdir()) == [".lock", "log"]
    own_cluster.conf.parent.mkdir()
    own_cluster.conf.write_text(configuration)
    assert not listening(own_cluster)
    own_cluster.conf.unlink()
    assert not own_cluster.stop()


def test_a_daemon_that_died_is_started_again(own_cluster: Cluster) -> None:
    own_cluster.start(Settings(nodes=1))
    job = own_cluster.submit("sleep 600")
    own_cluster.wait(job, "RUNNING")
    _until(lambda: "sleep" in pids(own_cluster).values())  # slurmd may still be starting it
    own_cluster.kill_node("127.0.0.1", daemon_only=True, noticed=False)
    assert own_cluster.daemons()["127.0.0.1"] is False
    assert "sleep" in pids(own_cluster).values()
    assert not own_cluster.start(Settings(nodes=1))
    assert own_cluster.daemons()["127.0.0.1"] is True
    assert own_cluster.job(job)["JobState"] == "RUNNING"


def test_nodes_are_idle_and_have_gpus(cluster: Cluster) -> None:
    lines = cluster.ask("sinfo", "-h", "-N", "-p", "main", "-o", "%N %t %c %m %G").splitlines()
    assert lines == ["127.0.0.1 idle 8 16000 gpu:2", "127.0.0.2 idle 8 16000 gpu:2"]
    assert set(cluster.ask("sinfo", "-h", "-o", "%P").split()) == {"main*", "low", "high"}


def test_a_job_sees_the_gpus_it_asked_for(cluster: Cluster) -> None:
    seen = 'echo "$SLURMD_NODENAME: ${CUDA_VISIBLE_DEVICES-none}"'
    two = cluster.ask("srun", "-N2", "--gres=gpu:2", "bash", "-c", seen)
    assert sorted(two.splitlines()) == ["127.0.0.1: 0,1", "127.0.0.2: 0,1"]
    assert cluster.ask("srun", "-w127.0.0.2", "bash", "-c", seen) == "127.0.0.2: none\n"


def test_more_gpus_than_a_node_has_are_refused(cluster: Cluster) -> None:
    with pytest.raises(UserError, match="Requested node configuration is not available"):
        cluster.submit("true", "--gres=gpu:3")


def test_a_job_that_depends_on_an_array_follows_it(cluster: Cluster) -> None:
    array = cluster.submit("sleep 0.2; echo task $SLURM_ARRAY_TASK_ID; date +%s.%N", "--array=0-2")
    after = cluster.submit("date +%s.%N", f"--dependency=afterok:{array}")
    assert cluster.job(after)["Reason"] == "Dependency"
    cluster.wait(after, "COMPLETED")
    texts = [output(cluster, f"{array}_{task}").split() for task in range(3)]
    assert [text[1] for text in texts] == ["0", "1", "2"]
    assert float(output(cluster, after)) > max(float(text[2]) for text in texts)


def test_a_job_of_a_crashed_node_runs_again_on_another(cluster: Cluster) -> None:
    job = cluster.submit("echo start ${SLURM_RESTART_COUNT-0}; sleep 600", "--open-mode=append")
    first = cluster.wait(job, "RUNNING")["NodeList"]
    _until(lambda: "sleep" in pids(cluster).values())
    cluster.kill_node(first)
    assert "sleep" not in pids(cluster).values()
    assert cluster.node_states()[first] == "down"
    second = cluster.wait(job, "RUNNING")
    assert second["NodeList"] != first
    assert second["Restarts"] == "1"
    _until(lambda: output(cluster, job) == "start 0\nstart 1\n")

    cluster.start_node(first)
    assert cluster.node_states()[first] == "idle"


def test_a_cancelled_job_is_gone_from_queue_and_machine(cluster: Cluster) -> None:
    job = cluster.submit("trap '' TERM; while true; do sleep 1; done")
    cluster.wait(job, "RUNNING")
    cluster.clear()
    assert cluster.job(job)["JobState"] == "CANCELLED"
    assert "slurm_script" not in pids(cluster).values()


def test_a_full_queue_refuses_in_slurms_words_until_a_job_ends(own_cluster: Cluster) -> None:
    own_cluster.start(Settings(nodes=1, max_jobs=3))
    refused = pytest.raises(UserError, match=r"QOSMaxSubmitJobPerUserLimit\n.*Job violates accounting/QOS policy")
    with refused:
        own_cluster.submit("true", "--array=0-3")
    own_cluster.submit("sleep 600", "--array=1-5:4%1")
    job = own_cluster.submit("srun sleep 600")
    with refused:
        own_cluster.submit("true")
    own_cluster.wait(job, "RUNNING")
    own_cluster.ask("scancel", str(job))
    own_cluster.wait(job, "CANCELLED")
    _until(lambda: str(job) not in own_cluster.ask("squeue", "--noheader"))
    own_cluster.submit("srun true")
    with refused:
        own_cluster.submit("true")


def test_run_gives_the_commands_status_and_stops_whatever_happens(own_cluster: Cluster) -> None:
    run = [
        sys.executable,
        "-m",
        "one_machine_slurm",
        "run",
        "--root",
        str(own_cluster.root),
        "--nodes",
        "1",
        "--",
        "bash",
        "-c",
    ]
    done = subprocess.run([*run, "srun hostname && exit 7"], cwd=EXAMPLES, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    assert done.stdout
    assert not pids(own_cluster)

    with subprocess.Popen([*run, "echo up; exec sleep 600"], cwd=EXAMPLES, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"up\n"
        killed.terminate()
    assert killed.returncode == 128 + 15
    assert not pids(own_cluster)


def test_the_command_line_says_what_is_up(own_cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(own_cluster.root)]
    assert main(["status", *root]) == 3
    assert main(["start", *root, "--nodes", "1"]) == 0
    assert main(["env", *root]) == 0
    assert f"export SLURM_CONF={own_cluster.conf}\n" in capsys.readouterr().out
    assert main(["status", *root]) == 0
    assert re.search(r"127\.0\.0\.1 +main\* +idle +0/8/0/8 +gpu:2", capsys.readouterr().out)
    assert main(["kill-node", *root, "127.0.0.1"]) == 0
    assert main(["status", *root]) == 1
    assert main(["start-node", *root, "127.0.0.1"]) == 0
    assert main(["kill-node", *root, "127.0.0.9"]) == 1
    assert "unknown node '127.0.0.9'; did you mean '127.0.0.1'?" in capsys.readouterr().err
    assert main(["stop", *root]) == 0
    assert main(["kill-node", *root, "127.0.0.1"]) == 1
    assert f"start --root {own_cluster.root}` starts one" in capsys.readouterr().err


def test_a_folder_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at most 50 characters"):
        Cluster(tmp_path / ("x" * 50))


def test_without_slurm_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("one_machine_slurm.cluster.search_path", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"not installed: munged, slurmctld, .*slurm/install\.sh"):
        Cluster(Path("/tmp/slurm-nowhere")).start()


def test_install_without_apt_says_what_is_missing(tmp_path: Path) -> None:
    script = ["/bin/sh", str(ROOT / "slurm" / "install.sh")]
    done = subprocess.run(script, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "sbatch" in done.stderr.splitlines()[0]
    assert "apt-get" in done.stderr.splitlines()[1]


@pytest.mark.skipif(bool(missing_commands()), reason="it would install Slurm")
def test_install_does_nothing_where_slurm_is() -> None:
    done = subprocess.run(["/bin/sh", str(ROOT / "slurm" / "install.sh")], capture_output=True, text=True)
    assert done.returncode == 0
    assert "nothing to do" in done.stdout


def test_ports_are_free_and_below_those_of_outgoing_connections() -> None:
    ports = free_ports(10)
    assert len(set(ports)) == 10
    assert all(10000 <= port < 20000 for port in ports)


def _until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
