"""`bench run --track`: what it prints and refuses, how it reaches jobs, and that nothing leaves the machine."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import Printed
from tests_support import TINY_PLUGIN
from tracked_runs import READERS

from bench.jobs.spec import JobSettings
from bench.runs.plan import Run
from bench.task.declaration import Sources
from bench.training import trackers
from bench.training.trackers import TRACKERS, is_installed

SMALL = ("--set", "iterations=12", "--set", "batch_size=4", "--set", "warmup=2", "--no-baselines")
TINY = ("run", "--task", "tiny", "--plugin", TINY_PLUGIN, *SMALL)
INSTALLED = [name for name in TRACKERS if is_installed(name)]


def test_a_tracker_that_is_not_here_is_refused_before_anything_is_written(
    bench: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trackers, "is_installed", lambda name: name == "tensorboard")
    shown = bench(*TINY, "--track", "tensorboard,wandb")
    assert shown.code == 2
    assert 'wandb, which is not installed; fix: pip install "distillation-bench[wandb]"' in shown.text
    assert "did you mean 'mlflow'?" in bench(*TINY, "--track", "mlfow").text
    assert "did you mean 'mlflow'?" in bench("reproduce", "table3", "--track", "mlfow").text
    assert not (tmp_path / "runs").exists()


def test_the_dry_run_says_where_trackers_keep_what_they_are_sent(
    bench: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trackers, "is_installed", lambda name: name in TRACKERS)
    plain = bench(*TINY, "--dry-run").text
    shown = bench(*TINY, "--dry-run", "--track", "tensorboard", "--track", "wandb,mlflow").text
    folder = tmp_path / "runs" / "trackers"
    assert f"tracked by tensorboard: tensorboard --logdir {folder}/tensorboard" in shown
    assert f"tracked by wandb: wandb sync {folder}/wandb/offline-run-*" in shown
    assert all(
        line in shown for line in plain.splitlines() if line.startswith("dmd2-")
    )  # the run has the same name
    monkeypatch.setenv("WANDB_MODE", "online")
    assert "tracked by wandb: as WANDB_MODE=online says" in bench(*TINY, "--dry-run", "--track", "wandb").text


def test_a_file_of_options_can_name_trackers(
    bench: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trackers, "is_installed", lambda name: name in TRACKERS)
    config = tmp_path / "options.toml"
    for value in ('"trackio"', '["trackio"]'):
        config.write_text(f'task = "tiny"\ntrack = {value}\nplugin = "{TINY_PLUGIN}"\n')
        assert "tracked by trackio: " in bench("run", "--config", config, "--dry-run").text


def test_trackers_travel_in_the_description_of_a_job_and_not_in_its_name(
    plan: Callable[..., Run], cache: Path, tmp_path: Path
) -> None:
    run = plan()
    plain, tracked = (JobSettings(tmp_path, Sources(cache), track=names) for names in ((), ("wandb", "mlflow")))
    expected, found = ({**one.run(run, "train").content} for one in (plain, tracked))
    assert found.pop("job")["track"] == ["wandb", "mlflow"] and expected.pop("job")["track"] == []
    assert found == expected


SWITCHES = ("CI", "DO_NOT_TRACK", "HF_HUB_OFFLINE", "NO_PROXY", "no_proxy", "PYTEST_CURRENT_TEST")
"""Variables that would keep a program from the network for another reason than ours."""
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
"""Variables that name the proxy through which programs, also those in Go, reach the network."""


@contextlib.contextmanager
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """Listen as a proxy that answers nothing; yield its address, and the first bytes of all that connect."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            with contextlib.suppress(OSError):  # the socket is closed at the end
                while True:
                    connection, _ = server.accept()
                    with connection:
                        heard.append(connection.recv(100))

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", heard


def test_the_listener_hears_what_goes_to_the_network() -> None:
    with listener() as (address, heard):
        look = "import urllib.request; urllib.request.urlopen('http://example.org')"
        environment = dict.fromkeys(PROXIES, address)
        subprocess.run([sys.executable, "-S", "-c", look], env=environment, capture_output=True)
    assert heard[0].startswith(b"GET http://example.org")


@pytest.mark.skipif(not INSTALLED, reason="no tracker is installed")
@pytest.mark.own_process
def test_jobs_send_their_logs_and_nothing_leaves_the_machine(
    bench: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with listener() as (address, heard):
        for name in SWITCHES:
            monkeypatch.delenv(name, raising=False)
        for name in PROXIES:
            monkeypatch.setenv(name, address)
        shown = bench(*TINY, *(text for name in INSTALLED for text in ("--track", name)))
    assert heard == []
    assert shown.code == 0 and all(f"tracked by {name}: " in shown.text for name in INSTALLED)
    runs = tmp_path / "runs"
    (folder,) = (runs / "tiny").iterdir()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    figures = [(name, line["iteration"], line[name]) for line in lines for name in line if name != "iteration"]
    monkeypatch.setenv("TRACKIO_DIR", str(runs / "trackers" / "trackio"))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for name in INSTALLED:
        sent, _, _ = READERS[name](runs / "trackers", "tiny", folder.name)
        assert sorted(one for one in sent if not one[0].startswith("result/")) == sorted(figures)
