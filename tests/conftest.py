"""What all tests share: one thread, no network, no GPU."""

import multiprocessing
import os
import traceback

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # expected numbers are the CPU's

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """A test that changes the number of threads must not slow the next one down."""
    torch.set_num_threads(1)


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
