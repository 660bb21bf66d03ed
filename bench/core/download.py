"""Download a file with a limit to its size and to the time that a server may take, and say what went wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from bench.core.errors import first_line
from bench.core.escape import printable
from bench.core.files import human_size
from bench.core.progress import Progress

if TYPE_CHECKING:
    from http.client import HTTPResponse

TIMEOUT = 30.0
"""Seconds without an answer after which a download gives up."""
SLOWEST = 1024
"""Bytes a second, on average over a window; a server that sends fewer would keep a command for days."""
WINDOW_SECONDS = 60.0
PART_BYTES = 1 << 20


class DownloadError(Exception):
    """A download failed; the text says why in a few words, on one line."""


def download(url: str, target: IO[bytes], name: str, most: int, progress: Progress) -> None:
    """Copy what a server sends for `url` to `target`, at most `most` bytes, with a bar of its KiB.

    Raises DownloadError if there is no answer, if it breaks off, is too long or too slow, or is a web page, as of
    a network that asks for a login; and the writer's own errors.
    """
    import http.client  # with urllib a tenth of the time that `bench list` takes
    import urllib.request

    try:
        answer = urllib.request.urlopen(url, timeout=TIMEOUT)
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a redirection to no address
        raise DownloadError(_reason(error)) from error
    with answer:
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        done = 0
        with progress.bar(f"{name} (KiB)", _kib(total or 0)) as bar:
            for part in _parts(answer):
                if done == 0 and part.lstrip().startswith(b"<"):
                    raise DownloadError("the answer is a web page, such as the login of a network")
                bar.advance(_kib(done + len(part)) - _kib(done))
                done += len(part)
                if done > most:
                    raise DownloadError(f"the answer is longer than {human_size(most)}")
                target.write(part)
            if total is not None and done < total:
                raise DownloadError(f"the answer ended after {done} of {total} bytes")


def _parts(answer: HTTPResponse) -> Iterator[bytes]:
    """Yield what a server sends as it comes. Raises DownloadError if it breaks off or is too slow."""
    import http.client

    begun, in_window = time.monotonic(), 0
    while True:
        try:
            part = answer.read1(PART_BYTES)  # what has come: `read` would wait for a whole part, however slow
        except http.client.IncompleteRead as error:
            raise DownloadError("the answer breaks off in the middle") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DownloadError(_reason(error)) from error
        if not part:
            return
        in_window += len(part)
        if time.monotonic() - begun > WINDOW_SECONDS:
            if in_window < SLOWEST * WINDOW_SECONDS:
                raise DownloadError(f"the server sends less than {human_size(SLOWEST)} a second")
            begun, in_window = time.monotonic(), 0
        yield part


def _reason(error: Exception) -> str:
    """Return a library's error on one line; the names of http.client's errors say more than their texts."""
    import http.client

    text = printable(first_line(error))
    return f"{type(error).__name__}: {text}" if isinstance(error, http.client.HTTPException) else text


def _kib(size: int) -> int:
    return -(-size // 1024)
