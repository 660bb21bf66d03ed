"""The commit of the code is read without a lock in the user's checkout, which a killed command would leave."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from bench.core import commit as module


def test_git_locks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "")

    monkeypatch.setattr(subprocess, "run", run)
    module.commit()
    assert asked and all(command[:2] == ["git", "--no-optional-locks"] for command in asked)
