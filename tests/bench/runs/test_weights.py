"""`bench weights`: what exists, getting it, and that what is pinned is right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from command import Printed, bare
from inception_files import random_inception
from safetensors.torch import save_file

from bench.core.errors import UserError
from bench.core.files import file_sha256
from bench.core.progress import SilentProgress
from bench.features import weights
from bench.features.pinned import pin, read_pinned
from bench.features.published import INCEPTION
from bench.features.weights import FoundWeights, WeightsFile
from bench.runs.registry import load_catalogue
from bench.runs.weights import get_weights, pinned_for
from bench.task.declaration import Sources
from bench.task.pinned import PinnedAsset, pin_assets
from bench.task.pinned import read_pinned as read_assets

TEXTURE = Path(__file__).parents[3] / "examples" / "texture.py"
PLUGIN = ("--plugin", TEXTURE)


@pytest.fixture
def own(tmp_path: Path) -> tuple[str, Path]:
    """A cache of this test's own."""
    return "--cache", tmp_path / "cache"


@pytest.fixture
def filters(tmp_path: Path) -> Path:
    path = tmp_path / "texture.safetensors"
    save_file({"filters": torch.ones(2, 1, 3, 3)}, path)
    return path


def listed(done: Printed) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(done.text)["weights"]}


def test_every_weights_are_listed_with_what_reads_them_and_how_to_get_them(
    bench: Callable[..., Printed], own: tuple[str, Path]
) -> None:
    rows = listed(bench("weights", "list", "--json", *own, *PLUGIN))
    assert {"inception", "dinov2", "clip", "lpips", "hps", "texture"} <= rows.keys(), "plug-ins' too"
    assert {"fd", "is", "patch-fd", "sfid"} <= set(rows["inception"]["metrics"])
    assert rows["inception"]["sha256"].startswith("6726825d") and rows["inception"]["bytes"] == 95_628_359
    assert rows["inception"]["command"] == "bench weights get inception --download"
    assert rows["clip"]["command"] == "bench weights get clip --from PATH" and rows["clip"]["bytes"] is None
    assert all(row["place"] == "not here" and row["licence"] for row in rows.values())
    text = bench("weights", "list", "--metric", "fd-dinov2", *own).text
    assert "bench weights get dinov2 --from PATH" in text and "Apache-2.0" in text and "clip" not in text


def test_the_weights_of_a_task_come_with_its_teacher(bench: Callable[..., Printed], own: tuple[str, Path]) -> None:
    rows = listed(bench("weights", "list", "--task", "imagenet256", "--json", *own))
    assert rows.keys() == {"inception", "vae", "teacher"}
    assert bare(rows["teacher"]["command"]).startswith("bench prepare --task imagenet256 --teacher")
    assert "inception-torchscript" not in rows, "another file of the same network, which the task does not take"
    done = bench("weights", "list", "--task", "imagenet65", *own)
    assert done.code == 2 and "did you mean 'imagenet64'" in done.text


def test_a_file_is_pinned_listed_and_checked(
    bench: Callable[..., Printed], own: tuple[str, Path], filters: Path
) -> None:
    done = bench("weights", "get", "texture", "--from", filters, *own, *PLUGIN)
    assert done.code == 0 and f"pinned    {file_sha256(filters)[:12]}" in done.text
    row = listed(bench("weights", "list", "--json", *own, *PLUGIN))["texture"]
    assert (row["place"], row["path"], row["sha256"]) == ("pinned", str(filters), file_sha256(filters))
    done = bench("weights", "check", *own, *PLUGIN)
    assert done.code == 0 and "ok" in done.text and "loaded by texture" in done.text
    assert bench("weights", "get", "texture", *own, *PLUGIN).code == 0, "it is pinned already"


@pytest.mark.parametrize(
    "fault, reason",
    [
        ("changed", "its SHA-256 is .*; fix: bench weights get texture --from PATH"),
        ("gone", "no longer there; fix"),
    ],
)
def test_pinned_weights_that_are_no_longer_so_fail_by_name(
    fault: str, reason: str, bench: Callable[..., Printed], own: tuple[str, Path], filters: Path
) -> None:
    bench("weights", "get", "texture", "--from", filters, *own, *PLUGIN)
    if fault == "gone":
        filters.unlink()
    else:
        save_file({"filters": torch.zeros(2, 1, 3, 3)}, filters)
    done = bench("weights", "check", "--json", *own, *PLUGIN)
    (found,) = json.loads(done.text)["weights"]
    assert done.code == 1 and found["outcome"] == "FAILED"
    assert re.search(reason, found["text"])
    done = bench("weights", "get", "texture", *own, *PLUGIN)
    assert done.code == 2 and "fix: bench weights get texture --from PATH" in done.text


def test_weights_that_their_extractor_cannot_load_are_refused_before_anything_runs(
    bench: Callable[..., Printed], own: tuple[str, Path], filters: Path, tmp_path: Path
) -> None:
    save_file({"other": torch.ones(3)}, filters)
    done = bench("weights", "get", "texture", "--from", filters, *own, *PLUGIN)
    assert done.code == 2 and "extractor 'texture' cannot load" in done.text and "KeyError: 'filters'" in done.text
    assert read_pinned(tmp_path / "cache") == {}, "nothing is pinned"


def test_names_and_options_that_do_not_fit_are_refused_with_the_fix(
    bench: Callable[..., Printed], own: tuple[str, Path], filters: Path
) -> None:
    def error(*arguments: object) -> str:
        done = bench("weights", *arguments, *own)
        assert done.code == 2
        return done.text

    assert "unknown weights 'incepton'; did you mean 'inception'" in error("get", "incepton")
    assert "unknown weights 'incepton'" in error("check", "incepton")
    assert "fix: --download (91.2 MiB from https://" in error("get", "inception")
    assert "or --from PATH" in error("get", "inception")
    assert "the weights 'clip' are not named; fix: --from PATH" in error("get", "clip")
    assert "hf download facebook/dinov2-large --local-dir FOLDER" in error("get", "dinov2", "--download")
    assert "does not go with --download" in error("get", "lpips", "--from", filters, "--download")
    assert "does not go with several names" in error("get", "lpips", "clip", "--from", filters)
    assert "--own-weights is given without a path; fix: --from PATH" in error("get", "lpips", "--own-weights")
    assert "is not vgg16-397923af.pth: its SHA-256 is" in error("get", "lpips", "--from", filters)
    assert "unknown metric 'kidd'" in error("list", "--metric", "kidd")


def test_weights_that_are_not_here_fail_a_check_by_name(
    bench: Callable[..., Printed], own: tuple[str, Path]
) -> None:
    done = bench("weights", "check", "clip", *own)
    assert done.code == 1 and "not here; fix: bench weights get clip --from PATH" in done.text
    done = bench("weights", "check", *own)
    assert done.code == 0 and "bench weights list" in done.text


def test_a_task_takes_what_is_pinned_for_every_task_and_it_misses(
    bench: Callable[..., Printed], own: tuple[str, Path], filters: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    for name in ("clip", "inception", "hps"):
        pin(name, FoundWeights(filters, file_sha256(filters)), cache)
    coco = load_catalogue().tasks.get("coco10k")
    assert pinned_for(coco.located(cache), Sources(cache)) == {"clip": filters, "inception": filters}
    other = tmp_path / "clip.bin"
    other.touch()
    pin_assets(coco.pinned_path(cache), {"clip": PinnedAsset(str(other), "0" * 64, "clip")})
    assert pinned_for(coco.located(cache), Sources(cache)) == {"inception": filters}
    rows = listed(bench("weights", "list", "--task", "coco10k", "--json", *own))
    assert rows["clip"]["tasks"] == {"coco10k": str(other)} and rows["clip"]["path"] == str(filters)
    assert pinned_for(load_catalogue().tasks.get("digits"), Sources(cache)) == {}, "it takes no weights"


def test_what_the_user_took_whatever_its_hash_is_taken_for_every_task(
    bench: Callable[..., Printed], own: tuple[str, Path], filters: Path, tmp_path: Path
) -> None:
    """The flag was given when it was pinned, and its numbers have another name. Other files still need it."""
    torch.manual_seed(0)
    mine, cache = tmp_path / "mine.pth", tmp_path / "cache"
    torch.save(random_inception(16), mine)
    assert bench("weights", "get", "inception", "--from", mine, "--own-weights", *own).code == 0
    bench("prepare", "--task", "coco10k", *own)
    pinned = read_assets(load_catalogue().tasks.get("coco10k").pinned_path(cache))
    assert pinned["features"].name == f"inception-own-{file_sha256(mine)[:12]}-clean"
    other = bench("prepare", "--task", "coco30k", "--weights", f"inception={filters}", *own)
    assert "give --own-weights if they are your own" in other.text
    mine.write_bytes(b"other")
    changed = bench("prepare", "--task", "coco30k", *own)
    assert "mine.pth has changed since bench weights get pinned it as 'inception'; fix: " in changed.text


def test_a_published_file_is_downloaded_verified_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filters: Path
) -> None:
    content = filters.read_bytes()
    file = WeightsFile(
        "tiny.safetensors", "https://example.org/tiny", file_sha256(filters), len(content), "CC0-1.0"
    )
    asked = []

    def download(url: str, target: IO[bytes], *_: object) -> None:
        asked.append(url)
        target.write(content)

    monkeypatch.setattr(weights, "download", download)
    catalogue = load_catalogue([TEXTURE])
    texture = catalogue.extractors.get("texture")
    object.__setattr__(texture, "weights", (replace(texture.weights[0], file=file),))
    get = (catalogue, "texture", None, tmp_path / "cache", SilentProgress())
    with pytest.raises(UserError, match=r"tiny\.safetensors is not in .*; fix: --download"):
        get_weights(*get)
    found = get_weights(*get, download=True)
    assert found.path.read_bytes() == content and asked == [file.url]
    assert get_weights(*get) == found and len(asked) == 1
    content = content[:-1]
    found.path.unlink()
    with pytest.raises(UserError, match=r"the download from .* is not tiny\.safetensors: its SHA-256"):
        get_weights(*get, download=True)
    assert not found.path.exists()


def test_shell_completion_knows_the_names() -> None:
    from bench.cli.completion import weights_names

    assert weights_names("incep") == ["inception", "inception-torchscript"]


def test_weights_name_the_command_that_gets_them() -> None:
    assert INCEPTION.weights[0].command == "bench weights get inception --download"
