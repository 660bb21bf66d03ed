"""A job on this machine ends with the command that started it, however that ends: kill -9 asks nobody.

The command holds a lock for as long as it lives; the system lets go of it. Its jobs look whether it is held.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

LOOK_SECONDS = 1.0
REPEAT_SECONDS = 30.0
"""After which a job is told again that it should stop: while Python starts, a signal is lost."""


@contextlib.contextmanager
def alive() -> Iterator[Path]:
    """Yield a file that is locked while the work inside runs, for jobs to `follow`."""
    with tempfile.NamedTemporaryFile(prefix="bench-alive-") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield Path(file.name)


def is_alive(path: Path) -> bool:
    """Say whether the command that yielded this file by `alive` still runs."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def follow(path: Path) -> None:
    """Send this process SIGTERM once its command (`alive`) or the process that started it is gone."""
    starter = os.getppid()

    def watch() -> None:
        while os.getppid() == starter and is_alive(path):
            time.sleep(LOOK_SECONDS)
        while True:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(REPEAT_SECONDS)

    threading.Thread(target=watch, name="follow the command", daemon=True).start()
