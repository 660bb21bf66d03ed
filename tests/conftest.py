"""What all tests share: one thread, no network, no GPU, and a Python that starts at once."""

from __future__ import annotations

import multiprocessing
import os
import traceback

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # expected numbers are the CPU's

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import quick_python as server
import torch

torch.set_num_threads(1)

QUICK_PYTHON = pytest.StashKey[Path]()
SLOWEST_FILES = (
    "test_imagenet64.py",
    "test_taken_away.py",
    "test_command_ends.py",
    "test_faults.py",
    "test_style.py",
    "test_text.py",
    "test_flow_text.py",
    "test_imagenet256.py",
    "test_submission.py",
    "test_local_cluster.py",
    "test_runs.py",
    "test_devices.py",
    "test_sharding.py",
    "test_inception.py",
    "test_resume.py",
    "test_cli.py",
    "test_best.py",
    "test_distributed.py",
    "test_text_pretraining.py",
    "test_one_base.py",
    "test_flow_training.py",
    "test_reproduce.py",
    "test_trackers.py",
    "test_track.py",
)
"""The slowest first: half a minute and more above, ten seconds below."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest files first, so that all workers end at about the same time."""
    places = {name: place for place, name in enumerate(SLOWEST_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """A test that changes the number of threads must not slow the next one down."""
    torch.set_num_threads(1)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the server of `quick_python` before the first test, while this process has no threads."""
    if any("quick_python" in getattr(item, "fixturenames", ()) for item in session.items):
        # pytest's own folders are too long for the path of a socket.
        folder = Path(tempfile.mkdtemp(prefix="quick-python-", dir="/tmp"))
        session.config.stash[QUICK_PYTHON] = server.start_server(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the files of the server, which ends with this process."""
    if QUICK_PYTHON in config.stash:
        shutil.rmtree(config.stash[QUICK_PYTHON].parent, ignore_errors=True)


@pytest.fixture(scope="session")
def quick_python(pytestconfig: pytest.Config) -> Path:
    """A Python whose libraries are imported already: a program to call in place of `sys.executable`."""
    return pytestconfig.stash[QUICK_PYTHON]


@pytest.fixture
def kept_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the gradients of a step where a test can read them; otherwise they are freed at once."""
    from bench.training.trained_model import TrainedModel

    monkeypatch.setattr(TrainedModel, "release_gradients", lambda _: None)


@pytest.fixture(scope="module")
def quick_jobs(quick_python: Path) -> Iterator[None]:
    """Start the jobs of commands that tests call in this process by `quick_python`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(quick_python))
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test with the mark `own_process` in a fork of this process.

    The threads that it starts, such as autograd's for a second device, then do not keep later tests from forking.
    """
    if pyfuncitem.get_closest_marker("own_process") is None:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work() -> None:
        try:
            pyfuncitem.obj(**arguments)
        except BaseException:
            sender.send(traceback.format_exc())
            os._exit(1)
        os._exit(0)

    child = context.Process(target=work)
    child.start()
    sender.close()
    try:
        raised = receiver.recv()
    except EOFError:
        raised = ""
    child.join()
    if child.exitcode:
        pytest.fail(raised or f"the test's process ended with code {child.exitcode}", pytrace=False)
    return True
