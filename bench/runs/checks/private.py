"""Text in a record that should not be published: paths and names of a machine, secrets, hostile characters."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import re
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from bench.core.escape import printable
from bench.runs.argv import MACHINE_PATH
from bench.runs.checks.finding import UNCHANGED, Finding, error, shortened, warning
from bench.runs.record import Record
from bench.runs.tuning.record import Tuning

RELATIVE_PATH = re.compile(r"^(?:--[\w-]+=)?(?:\.{1,2}/|[\w.-]+/)[\w./-]*$")
OWN_FOLDERS = ("--runs", "--cache")
"""Options with folders that this package fills: a relative one below the working folder is made anywhere."""
HOST = re.compile(
    r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*|\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b"
    r"|\b[\w-]+(?:\.[\w-]+)*\.(?:local|lan|internal|intranet|corp|cluster)\b"
)
"""USER@HOST, an address of the Internet, or a name in a private network."""
SECRET = re.compile(
    r"hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|AKIA[0-9A-Z]{16}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?i:(?:token|secret|passw(?:or)?d|api_?key|access_?key|credential)s?)(?:=|:\s*)\S+"
    r"|\w+://[^\s/:@]+:[^\s/@]+@\S+"
)
"""Tokens of well-known services, NAME=VALUE of a telling name, and a password in an address."""
SECRET_OPTION = re.compile(r"(?i)--?[\w-]*(?:token|secret|passw(?:or)?d|api-?key|credential)s?")
NO_HOSTS = tuple(f"provenance.{name}" for name in ("packages.", "python", "platform", "cpu", "gpu"))
"""Places of versions and clock rates, which may look like addresses."""
ANYBODY = {"root", "user", "users", "ubuntu", "admin", "runner", "localhost", "debian", "bench", "test"}
"""Names of users and machines that say nothing about anybody."""
LONGEST = 1000
"""Letters of a text, or of a line of a traceback."""

FIX_PATH = (
    "run again with paths relative to the working folder, or with the folders in BENCH_RUNS and BENCH_CACHE; "
    "a run's id does not depend on them"
)
FIX_RELATIVE = "set BENCH_RUNS and BENCH_CACHE next time, unless it is a file of the repository"
FIX_PLUGIN = "send it in a bundle, as bench records pack does, unless it is a file of the repository"
FIX_SECRET = "revoke it, keep it in the environment, and run again"


def private_findings(record: Record | Tuning) -> Iterator[Finding]:
    """Yield every text of a result or a tuning that names a machine or a person, holds a secret, or is hostile."""
    own = _own_names()
    argv = record.provenance.argv
    plugins = {f"provenance.argv.{place}" for place, option in enumerate(argv, 1) if option == "--plugin"}
    made = set(_made_anywhere(argv))
    for where, text in _texts(record.model_dump(mode="json"), ""):
        if len(text) > LONGEST:
            yield error(f"{where} is a text of {len(text):,} letters", UNCHANGED)
            continue
        if secret := SECRET.search(text):
            yield error(f"{where} has what looks like a secret, {secret[0][:4]}...", FIX_SECRET)
            continue  # it is not repeated in another message
        if text != printable(text):
            yield error(f"{where} has control characters or direction marks: {printable(text)[:80]!r}", UNCHANGED)
        if path := MACHINE_PATH.search(text):
            yield error(f"{where} has a path of one machine, {shortened(path[0])}", FIX_PATH)
        elif where.startswith("provenance.argv.") and where not in made and RELATIVE_PATH.match(text):
            fix = FIX_PLUGIN if where in plugins else FIX_RELATIVE
            yield warning(f"{where} has a path that depends on the working folder, {shortened(text)}", fix)
        if not where.startswith(NO_HOSTS) and (host := HOST.search(text)):
            yield error(f"{where} names a machine or an account, {shortened(host[0])}", FIX_PATH)
        if name := next((name for name in own if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)), None):
            yield error(f"{where} has {name!r}, the name of this machine or of its user", FIX_PATH)
    for option, value in itertools.pairwise(argv):
        if SECRET_OPTION.fullmatch(option):
            yield error(f"provenance.argv has a secret behind {option}, {value[:2]}...", FIX_SECRET)


def _made_anywhere(argv: Sequence[str]) -> Iterator[str]:
    """Yield the places of the package's own folders in a command line, where they are below the working folder."""
    for place, (before, word) in enumerate(itertools.pairwise(["", *argv])):
        option, _, joined = word.partition("=")
        path = word if before in OWN_FOLDERS else joined if option in OWN_FOLDERS else None
        if path is not None and ".." not in path.split("/"):
            yield f"provenance.argv.{place}"


def _texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Yield every text in plain data with its place; the keys of dictionaries are texts too.

    Messages of errors have several lines, and each is a text.
    """
    if isinstance(value, str):
        yield from ((where, line) for line in (value.split("\n") if where.startswith("error.") else [value]))
    elif isinstance(value, dict):
        for key, item in value.items():
            place = f"{where}.{key}" if where else str(key)
            if not str(key).isidentifier():
                yield f"{where} (a key)", str(key)
            yield from _texts(item, place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{where}.{index}")


def _own_names() -> list[str]:
    """Return the names of this machine and of its user, where they say more than that it is one."""
    names = {socket.gethostname(), socket.gethostname().partition(".")[0]}
    with contextlib.suppress(OSError, KeyError, ImportError):  # an account without a name
        names.add(getpass.getuser())
    return sorted(name for name in names if len(name) > 3 and name.lower() not in ANYBODY)
