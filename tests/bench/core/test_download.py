"""Downloads from servers that break off, send something else, lie about lengths, redirect in a circle or stall."""

from __future__ import annotations

import gzip
import http.server
import io
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from bench.core import download as downloads
from bench.core.download import DownloadError, download
from bench.core.progress import SilentProgress

CONTENT = bytes(range(256)) * 16


class Server(http.server.BaseHTTPRequestHandler):
    """A server that behaves as its path says."""

    ways: dict[str, Callable[[Server], object]]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.ways[self.path[1:]](self)

    def send(self, content: bytes, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(content)

    def stall(self) -> None:
        self.send(CONTENT[:9], Content_Length=len(CONTENT))
        time.sleep(0.5)

    def drip(self) -> None:
        self.send(b"", Content_Length=len(CONTENT))
        for byte in CONTENT:
            try:
                self.wfile.write(bytes([byte]))
            except OSError:  # the other side has given up
                return
            time.sleep(0.01)


Server.ways = {
    "whole": lambda it: it.send(CONTENT, Content_Length=len(CONTENT)),
    "no-length": lambda it: it.send(CONTENT),
    "negative": lambda it: it.send(CONTENT, Content_Length=-1),
    "text": lambda it: it.send(CONTENT, Content_Length="many"),
    "cut": lambda it: it.send(CONTENT[:1000], Content_Length=len(CONTENT)),
    "chunk": lambda it: it.send(b"zz\r\n", Transfer_Encoding="chunked"),
    "page": lambda it: it.send(b"\n<!DOCTYPE html><p>Log in</p>", Content_Type="text/html"),
    "long": lambda it: it.send(CONTENT * 3),
    "circle": lambda it: it.send(b"", 302, Location="/circle"),
    "no-address": lambda it: it.send(b"", 302, Location="http://[nowhere"),
    "no-host": lambda it: it.send(b"", 302, Location=f"http://{'a' * 80}.org/"),
    "file": lambda it: it.send(b"", 302, Location="file:///etc/hostname"),
    "garbage": lambda it: it.wfile.write(b"\0\xff\x1b[31m\n" * 9),
    "unavailable": lambda it: it.send(b"", 503),
    "silent": lambda _: time.sleep(0.5),
    "stalls": Server.stall,
    "drips": Server.drip,
    "compressed": lambda it: it.send(gzip.compress(CONTENT), Content_Encoding="gzip"),
}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of the server on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def fetched(url: str) -> bytes:
    target = io.BytesIO()
    download(url, target, "file", 2 * len(CONTENT), SilentProgress())
    return target.getvalue()


@pytest.mark.parametrize("way", ["whole", "no-length", "negative", "text"])
def test_a_whole_answer_is_taken_whatever_it_says_of_its_length(way: str, site: str) -> None:
    assert fetched(f"{site}/{way}") == CONTENT


def test_what_is_compressed_on_the_way_is_not_unpacked_and_has_another_hash(site: str) -> None:
    assert gzip.decompress(fetched(f"{site}/compressed")) == CONTENT


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("cut", "the answer ended after 1000 of 4096 bytes"),
        ("chunk", "the answer breaks off in the middle"),
        ("page", "a web page, such as the login of a network"),
        ("long", r"longer than 8\.0 KiB"),
        ("circle", "HTTP Error 302: .*infinite loop"),
        ("no-address", "Invalid IPv6 URL"),
        ("no-host", "label (empty or )?too long"),
        ("file", "Redirection to url 'file:///etc/hostname' is not allowed"),
        ("garbage", r"BadStatusLine: \\x00ÿ\\x1b"),
        ("unavailable", "HTTP Error 503: Service Unavailable"),
        ("silent", "timed out"),
        ("stalls", "timed out"),
        ("drips", r"the server sends less than 1\.0 KiB a second"),
    ],
)
def test_what_goes_wrong_is_said_on_one_line(
    way: str, reason: str, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    monkeypatch.setattr(downloads, "WINDOW_SECONDS", 0.3)
    with pytest.raises(DownloadError, match=reason) as caught:
        fetched(f"{site}/{way}")
    assert "\n" not in str(caught.value)
