"""Processes that start at once: each is forked from a server that has imported what jobs use, and has no threads.

The server is a Python of its own, started before the caller knows what it will fork. The caller and the server
speak JSON lines over a socket. The server ends as the caller ends, however that does: then the socket closes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from bench.core.errors import UserError
from bench.core.imports import load_class
from bench.core.temporaries import scratch_folder

PRELOADED = ("torch._dynamo", "scipy.linalg", "bench.jobs.start")
"""Modules that every job imports."""
POLL_SECONDS = 0.02
REPEAT_SECONDS = 30.0
"""Seconds after which a process receives the signal to stop again."""
REPEATS = 20
"""How often it does, before it is killed: code that never returns would keep its run locked for ever."""


class ForkServer:
    """The caller's end of a server."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self._process, self._connection = process, connection
        self._buffer = b""
        self._pids: list[int] = []
        self._codes: dict[int, int] = {}
        self._lost = False

    def fork(self, target: str, arguments: Sequence[Any], environment: Mapping[str, str]) -> int:
        """Call the function `module:name` with JSON arguments in a new process; return its number.

        Raises UserError if the server has ended.
        """
        request = json.dumps({"target": target, "arguments": arguments, "environment": dict(environment)})
        try:
            self._connection.sendall(request.encode() + b"\n")
        except OSError:
            self._lost = True
        before = len(self._pids)
        while len(self._pids) == before and not self._lost:
            self._read(wait=True)
        if self._lost:
            raise UserError("the process that starts jobs has ended; fix: run the same command again")
        return self._pids[-1]

    def ended(self, pid: int) -> bool:
        """Return whether a forked process, or the server that soon ends it, has ended."""
        self._read()
        return pid in self._codes or self._lost

    def code(self, pid: int) -> int | None:
        """Return the exit code of a process that has ended; None where it is not known."""
        return self._codes.get(pid)

    def send(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to a forked process, unless it has just ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def call(self, target: str, *arguments: Any) -> Any:
        """Call a function in a new process and wait for it; return its result, as JSON has it.

        Raises UserError as the function does, and if its process dies.
        """
        with scratch_folder() as folder:
            reply = folder / "reply.json"
            pid = self.fork(f"{__name__}:answer", [str(reply), target, arguments], {})
            try:
                while not self.ended(pid):
                    time.sleep(POLL_SECONDS)
            except BaseException:
                self.send(pid, signal.SIGTERM)
                raise
            if not reply.is_file():
                raise UserError(
                    f"{target} ended with code {self.code(pid)} and no answer; "
                    "fix: free memory if the system killed it, and run again"
                )
            found = json.loads(reply.read_text(encoding="utf-8"))
        if "error" in found:
            raise UserError(found["error"])
        return found["value"]

    def _read(self, wait: bool = False) -> None:
        """Read the messages of the server."""
        while not self._lost and select.select([self._connection], [], [], None if wait else 0)[0]:
            wait = False
            try:
                data = self._connection.recv(1 << 16)
            except OSError:
                data = b""
            self._lost = not data
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            for line in lines:
                reason = json.loads(line)
                if "code" in reason:
                    self._codes[reason["pid"]] = reason["code"]
                else:
                    self._pids.append(reason["pid"])


@contextmanager
def fork_server(threads: int, modules: Sequence[str] = ()) -> Iterator[ForkServer]:
    """Start a server that imports what jobs use, and `modules`; its processes have this many CPU threads each."""
    ours, theirs = socket.socketpair()
    # A folder called `tasks` in the working folder must not hide ours. Asked of CUDA's runtime, the number of GPUs
    # would keep forked processes from using them.
    environment = {"OMP_NUM_THREADS": str(threads), "PYTHONSAFEPATH": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    with ours:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno()), *PRELOADED, *modules],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=2,
            env={**os.environ, **environment},
            start_new_session=True,  # a terminal's Ctrl-C is for the caller, which has its processes end in order
        )
        theirs.close()
        try:
            yield ForkServer(process, ours)
        finally:
            ours.close()
            process.terminate()  # it may still be importing
            process.wait()


def follow_parent() -> None:
    """Send this process SIGTERM once the process that started it has ended, and kill it if it hangs."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        for _ in range(REPEATS):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(REPEAT_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="follow the parent", daemon=True).start()


def answer(reply: str, target: str, arguments: Sequence[Any]) -> None:
    """Call a function and write its result, or the user's mistake, into a file."""
    try:
        found = {"value": load_class(target)(*arguments)}
    except UserError as error:
        found = {"error": str(error)}
    Path(reply).write_text(json.dumps(found), encoding="utf-8")


def serve(descriptor: int, modules: Sequence[str]) -> None:
    """Import `modules`, and fork a process for each request until the caller has ended."""
    connection = socket.socket(fileno=descriptor)
    gc.disable()  # all that an import makes is kept, so to search it for garbage again and again is in vain
    for name in modules:
        with contextlib.suppress(Exception):  # the process that uses it imports it again, and says what is wrong
            importlib.import_module(name)
    gc.freeze()  # the processes share these objects, and do not search them either
    awake, wake = socket.socketpair()
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    buffer, closed = b"", False
    while not closed:
        ready, _, _ = select.select([connection, awake], [], [])
        if awake in ready:
            awake.recv(1 << 12)
            for pid, code in _reaped():
                _say(connection, {"pid": pid, "code": code})
        if connection in ready:
            data = connection.recv(1 << 16)
            closed = not data
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    for one in (connection, awake, wake):
                        one.close()
                    _be(json.loads(line))
                _say(connection, {"pid": pid})


def _say(connection: socket.socket, reason: dict[str, int]) -> None:
    try:
        connection.sendall(json.dumps(reason).encode() + b"\n")
    except OSError:
        return  # the caller has ended; the main loop notices it, too


def _reaped() -> Iterator[tuple[int, int]]:
    """Yield the processes that have ended since the last call, with their exit codes."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def _be(request: dict[str, Any]) -> NoReturn:
    """Run the request in the forked process, and exit."""
    code = 1
    try:
        gc.enable()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.update(request["environment"])
        follow_parent()
        load_class(request["target"])(*request["arguments"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2:])
