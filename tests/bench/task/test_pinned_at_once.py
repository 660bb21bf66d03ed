"""Several commands that pin at once, each something else: all of it is pinned."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.features import pinned as weights
from bench.task.pinned import PinnedAsset, pin_assets, read_pinned

PINNER = """
import sys; from pathlib import Path
from bench.features.pinned import pin; from bench.features.weights import FoundWeights
from bench.task.pinned import PinnedAsset, pin_assets
cache, own = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    pin(f"{own}{number}", FoundWeights(cache, "0" * 64), cache)
    pin_assets(cache / "task.json", {f"{own}{number}": PinnedAsset("/a", "0" * 64, own)})
"""


def test_what_two_commands_pin_at_once_is_all_pinned(tmp_path: Path) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PINNER, str(tmp_path), own],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for own in ("clip", "lpips")
    ]
    for one in both:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
    for one in both:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in both:
        one.communicate()
    assert len(weights.read_pinned(tmp_path)) == len(read_pinned(tmp_path / "task.json")) == 100


def test_an_asset_joins_those_that_are_pinned_with_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "chosen" / "task.json"
    teacher, data = PinnedAsset("/teacher", "1" * 64, "the teacher"), PinnedAsset("data", "2" * 64, "images")
    pin_assets(path, {"teacher": teacher})
    assert list(pin_assets(path, {"data": data})) == ["teacher", "data"]
    assert read_pinned(path)["teacher"] == teacher and read_pinned(path)["data"].path == str(tmp_path / "data")
