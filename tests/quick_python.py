"""A Python for jobs that starts at once: a fork of the test's own process, which has imported torch long ago.

A job's script runs `python quick_python.py SOCKET -u -m MODULE ...`: that sends its arguments, environment,
folder and open files to the server, hands on the signals that it gets, and ends as the fork ends. If it is
killed, so is the fork. Our own packages are imported anew in each fork, from where the job's PYTHONPATH says.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import NoReturn

OURS = ("bench", "methods", "tasks", "slurm", "results")
IMPORTED_BEFORE = (
    "bench.runs.runner",
    "tasks.micro.prepared",
    "slurm.aftermath",
    "submitit.core.submission",
    "scipy.linalg",
    "scipy.special",
    "matplotlib.pyplot",
)
"""For the sake of the libraries that they import in turn."""

HANDED_ON = (signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT, signal.SIGINT)


def main(path: str, *arguments: str) -> NoReturn:
    """What a job starts: have the server do it, and end as it ends."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        asked = json.dumps([arguments, dict(os.environ), str(Path.cwd())]).encode()
        socket.send_fds(server, [struct.pack("I", len(asked))], [0, 1, 2])
        server.sendall(asked)
        for number in HANDED_ON:
            signal.signal(number, lambda number, _: server.sendall(bytes([number])))
        (code,) = struct.unpack("i", server.recv(4))
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def start_server(path: str) -> int:
    """Fork a server from this process; return its number. Whoever starts it kills it."""
    import importlib

    for name in IMPORTED_BEFORE:
        importlib.import_module(name)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    server = os.fork()
    if server:
        listener.close()
        return server
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _keep(client)
        client.close()


def _keep(client: socket.socket) -> NoReturn:
    """Fork the work of one client; hand signals on to it and its end back."""
    import select

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, files, _, _ = socket.recv_fds(client, 4, 3)
    (size,) = struct.unpack("I", head)
    asked = b""
    while len(asked) < size:
        asked += client.recv(size - len(asked))
    child = os.fork()
    if child == 0:
        client.close()
        _work(*json.loads(asked), files)
    for file in files:
        os.close(file)
    over = os.pidfd_open(child)
    while True:
        ready, _, _ = select.select([client, over], [], [])
        if over in ready:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            client.sendall(struct.pack("i", code))
            os._exit(0)
        number = client.recv(1)
        os.kill(child, number[0] if number else signal.SIGKILL)
        if not number:
            os._exit(1)


def _work(arguments: list[str], environment: dict[str, str], folder: str, files: list[int]) -> NoReturn:
    """Be a Python that was started with `-u -m MODULE ...`."""
    import runpy

    code = 1
    try:
        for target, file in enumerate(files):
            os.dup2(file, target)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        for number in (*HANDED_ON, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        _forget()
        sys.path[:0] = [one for one in environment.get("PYTHONPATH", "").split(os.pathsep) if one]
        module = arguments[arguments.index("-m") + 1]
        sys.argv = [module, *arguments[arguments.index("-m") + 2 :]]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


def _forget() -> None:
    """Forget our own modules, where they lie, and what this process knew of others that it works with."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (PartialState, AcceleratorState, GradientState):
        state._reset_state()
    here = Path(__file__).resolve().parents[1]
    sys.path[:] = [one for one in sys.path if one and Path(one).resolve() != here]
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]


if __name__ == "__main__":
    main(*sys.argv[1:])
