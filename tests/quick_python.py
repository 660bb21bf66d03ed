"""A Python that starts at once, for jobs and commands of tests: a fork of a process with the libraries imported.

`start_server` forks a server from the test process and writes an executable, which tests use in place of
`sys.executable`. Each call of it sends its arguments, environment, folder and open files to the server, passes
signals on, and ends as the fork ends; a killed call takes its fork with it. Our own packages are imported anew in
each fork, so that it starts as a new Python does, from where PYTHONPATH says if it is set.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import NoReturn

OURS = ("bench", "methods", "tasks", "slurm", "results")
LIBRARIES = (
    "accelerate",
    "diffusers.models.unets.unet_2d",
    "diffusers.models.unets.unet_2d_condition",
    "matplotlib.pyplot",
    "pandas",
    "rich.progress",
    "safetensors.torch",
    "scipy.linalg",
    "scipy.special",
    "sklearn.datasets",
    "submitit.core.submission",
    "torch._dynamo",
    "torch.distributed.fsdp",
    "typer",
)
"""Modules that jobs and commands import."""

BY_THEIR_NUMBERS = ("submitit.local._local",)
"""Modules whose process is known by its number, which is not that of a fork: a real Python runs them."""

MOST_FILES = 64
FIRST_COPY = 500
"""Numbers of open files from here on are free in a fork."""
PASSED_ON = (signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT, signal.SIGINT)


def main(path: str, *arguments: str) -> NoReturn:
    """Have the server run a Python with these arguments, and end as it ends."""
    if set(arguments) & set(BY_THEIR_NUMBERS):
        os.execv(sys.executable, [sys.executable, *arguments])
    ignored = [number for number in PASSED_ON if signal.getsignal(number) is signal.SIG_IGN]
    files = [number for one in Path("/proc/self/fd").iterdir() if _is_open(number := int(one.name))]
    leads_session = os.getsid(0) == os.getpid()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        started = [arguments, dict(os.environ), str(Path.cwd()), ignored, leads_session, files]
        request = json.dumps(started).encode()
        socket.send_fds(server, [struct.pack("I", len(request))], files)
        server.sendall(request)
        for number in set(PASSED_ON) - set(ignored):
            signal.signal(number, lambda number, _: server.sendall(bytes([number])))
        (code,) = struct.unpack("i", server.recv(4))
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _is_open(file: int) -> bool:
    try:
        os.fstat(file)
    except OSError:  # the one that listed them
        return False
    return True


def import_libraries() -> None:
    """Import what a server needs, in the process that will fork it."""
    import importlib

    for name in LIBRARIES:
        importlib.import_module(name)


def start_server(folder: Path) -> Path:
    """Fork a server from this process, which ends with it, and return the Python to call: a file in `folder`.

    Call it while this process has no threads of its own, which a fork would not have.
    """
    import_libraries()
    python, path = folder / "python", str(folder / "socket")
    command = shlex.join([sys.executable, "-I", "-S", __file__, path])
    python.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    python.chmod(0o755)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    starter = os.getpid()
    if os.fork():
        listener.close()
        return python
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.executable = str(python)  # for the processes that its forks start
    listener.settimeout(1)
    while os.getppid() == starter:
        try:
            client, _ = listener.accept()
        except TimeoutError:
            continue
        client.settimeout(None)
        if os.fork() == 0:
            listener.close()
            _keep(client)
        client.close()
    os._exit(0)


def _keep(client: socket.socket) -> NoReturn:
    """Fork the work of one client; pass signals on to it and its exit status back."""
    import select

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, files, _, _ = socket.recv_fds(client, 4, MOST_FILES)
    (size,) = struct.unpack("I", head)
    request = b""
    while len(request) < size:
        request += client.recv(size - len(request))
    child = os.fork()
    if child == 0:
        client.close()
        _work(files, *json.loads(request))
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


def _work(
    files: list[int],
    arguments: list[str],
    environment: dict[str, str],
    folder: str,
    ignored: list[int],
    leads_session: bool,
    targets: list[int],
) -> NoReturn:
    """Be a Python that was started with `-m MODULE ...` or `-c CODE ...`."""
    import runpy

    code = 1
    try:
        if leads_session:
            os.setsid()
        copies = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, FIRST_COPY) for file in files]
        for file in files:
            os.close(file)
        for copy, target in zip(copies, targets, strict=True):
            os.dup2(copy, target)
            os.close(copy)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        _forget()
        first = [] if "PYTHONSAFEPATH" in environment else [folder]
        sys.path[:0] = [*first, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
        at = next(i for i, argument in enumerate(arguments) if argument in ("-m", "-c"))
        kind, what = arguments[at : at + 2]
        sys.argv = [what if kind == "-m" else kind, *arguments[at + 2 :]]
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


def _forget() -> None:
    """Forget our own modules, the path to the tests, and what this process knows of others that it works with."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (PartialState, AcceleratorState, GradientState):
        state._reset_state()
    here = Path(__file__).resolve().parent
    hidden = {here} if "PYTHONPATH" not in os.environ else {here, here.parent}
    sys.path[:] = [one for one in sys.path if one and Path(one).resolve() not in hidden]
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]


if __name__ == "__main__":
    main(*sys.argv[1:])
