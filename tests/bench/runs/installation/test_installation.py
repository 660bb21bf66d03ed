"""Known-answer tests of an installation: a right one passes, and each fault fails where it lies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from command import Printed

from bench.features.base import FeatureExtractor
from bench.features.batch import Extract, ImageBatch
from bench.features.known import KnownImages
from bench.features.references.store import Description, checked_reference, save_reference
from bench.features.views import Features
from bench.metrics import frechet
from bench.runs.installation import arithmetic
from bench.runs.installation.arithmetic import arithmetic_checks
from bench.runs.installation.checked import Checked
from bench.runs.installation.extractors import extractor_checks
from bench.runs.installation.metrics import metric_checks
from bench.runs.installation.references import reference_checks
from bench.runs.plugins.kinds import KINDS
from bench.runs.registry import Entry

CPU = torch.device("cpu")


def outcomes(checks: Iterator[Checked]) -> dict[str, str]:
    return {f"{one.name}: {one.case}": one.outcome for one in checks}


def wrong(checks: Iterator[Checked]) -> list[str]:
    return [one.case for one in checks if one.outcome == "FAILED"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense covariances of fewer features, which take no time."""
    monkeypatch.setattr(arithmetic, "PAIRS", 24)


@pytest.mark.usefixtures("small")
def test_the_arithmetic_of_this_machine_is_right() -> None:
    found = list(arithmetic_checks(CPU))
    assert len(found) == 4 and not wrong(iter(found))


@pytest.mark.usefixtures("small")
def test_a_lapack_in_float32_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = scipy.linalg.eigh
    monkeypatch.setattr(
        scipy.linalg, "eigh", lambda a, b, **options: right(a.astype("f4"), b.astype("f4"), **options).astype("f8")
    )
    assert wrong(arithmetic_checks(CPU)) == ["Fréchet distance of 48 features, dense"]


@pytest.mark.usefixtures("small")
def test_wrong_singular_values_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = np.linalg.svd
    monkeypatch.setattr(np.linalg, "svd", lambda a, **options: right(a, **options)[:-1])
    assert wrong(arithmetic_checks(CPU)) == ["Fréchet distance of 48 features, without full rank"]


@pytest.mark.usefixtures("small")
def test_products_with_fewer_digits_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with TF32 or bfloat16, which a setting of torch allows for float32."""
    product, convolution = torch.Tensor.__matmul__, torch.nn.functional.conv2d

    def short(a: torch.Tensor) -> torch.Tensor:
        return a.bfloat16().float() if a.dtype == torch.float32 else a

    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: product(short(a), short(b)))
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda a, b: convolution(short(a), short(b)))
    assert wrong(arithmetic_checks(CPU)) == ["float32 matrix product", "float32 convolution"]


# Extractors.


class Means(FeatureExtractor):
    """Features without weights: the mean of each channel."""

    fault = ""

    def known_answers(self) -> tuple[KnownImages, ...]:
        grey = np.full((2, 3, 4, 4), 128, np.uint8)
        return (KnownImages("grey", grey, features=np.full((2, 3), 128.0), scores={"level": [128, 128]}),)

    def load(self, files: object, device: torch.device | str) -> Extract:  # noqa: ARG002
        calls = iter(range(1000))

        def extract(batch: ImageBatch) -> Features:
            rows = batch.images.double().mean(dim=(2, 3)).numpy()
            if self.fault == "batch":  # a normalisation left in training mode
                rows = rows - rows.mean(axis=0) + 128
            if self.fault == "noise":
                rows = rows + next(calls)
            if self.fault == "dead":
                rows = np.zeros_like(rows)
            if self.fault == "scale":
                rows = rows / 127.5
            return Features(rows, scores={"level": rows[:, 0]})

        return extract


def entry(fault: str) -> Entry[FeatureExtractor]:
    class Faulty(Means):
        pass

    Faulty.fault = fault
    thing = Faulty("means", "mean colours", (), "none", "3 features")
    return Entry("means", KINDS["extractor"], "a test", thing=thing)


@pytest.mark.parametrize(
    "fault, cases",
    [
        ("", []),
        ("batch", ["cpu: in 2 batches"]),
        ("noise", ["cpu: the same images again", "cpu: in 2 batches"]),
        ("dead", ["cpu: grey", "cpu: the same images again"]),
        ("scale", ["cpu: grey"]),
    ],
)
def test_a_fault_of_an_extractor_is_noticed(fault: str, cases: list[str]) -> None:
    found = list(extractor_checks(entry(fault), {}, CPU))
    assert len(found) == 3 and wrong(iter(found)) == cases


def test_a_device_with_other_features_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Means.load

    def load(self: Means, files: object, device: torch.device | str) -> Extract:
        extract = right(self, files, device)
        if device == "cpu":
            return extract
        return lambda batch: replace(extract(batch), features=extract(batch).features * 1.01)

    monkeypatch.setattr(Means, "load", load)
    assert "meta: as on the CPU" in wrong(extractor_checks(entry(""), {}, torch.device("meta")))


# References.


def test_a_stored_reference_is_tested_against_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(20, 12)) * np.logspace(0, -6, 12)
    about = Description("mine", "some network", 20, None, "a test", "0" * 64)
    mean, cov = rows.mean(axis=0), np.cov(rows, rowvar=False)
    folder = save_reference(checked_reference(mean, cov, about, "a test"), tmp_path)
    assert outcomes(reference_checks(tmp_path)) == {
        "mine: against itself, relative to its trace": "ok",
        "mine: moved and twice as wide, relative to its closed form": "ok",
    }
    with monkeypatch.context() as patch:  # a root that is always of the first alone
        patch.setattr(frechet, "_definite_trace_of_root", lambda a, _: (float(np.trace(a)), (1.0, 0, False)))
        assert wrong(reference_checks(tmp_path)) == ["moved and twice as wide, relative to its closed form"]
    np.savez(folder / "statistics.npz", mu=mean + 1, sigma=cov)
    assert len(wrong(reference_checks(tmp_path))) == 2, "its numbers are not those that its hash is of"


# The command.


def test_the_command_shows_every_number_and_fails_if_one_is_wrong(
    bench: Callable[..., Printed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.runs.installation.check.resize_checks", lambda _: iter(()))
    ask = ("metrics", "check", "--cache", tmp_path, "--metric", "fd,clip", "--metric", "kid")
    done = bench(*ask)
    assert done.code == 0 and "known answers are right; 1 not checked" in done.text
    assert "bench weights get clip" in done.text, "the command that gets what is missing"
    monkeypatch.setattr("bench.metrics.kernel._cube", lambda x, y, **_: np.ones((len(x), len(y))))
    done = bench(*ask, "--json")
    found = json.loads(done.text)
    assert done.code == 1 and found["wrong"] == 2 and "torch" in found["versions"]
    kid = [one for one in found["checks"] if one["name"] == "kid"]
    assert kid[0]["expected"] != kid[0]["found"] and kid[0]["difference"] > kid[0]["tolerance"]


def test_an_unknown_metric_is_refused_with_the_nearest(bench: Callable[..., Printed]) -> None:
    done = bench("metrics", "check", "--metric", "kidd")
    assert done.code == 2 and "unknown metric 'kidd'; did you mean 'kid'" in done.text


PLUGIN = """
from bench.metrics.base import Measured, Metric
from bench.metrics.info import MetricInfo

class Strange(Metric):
    info = MetricInfo("strange", "Strange", "lower", 1, "a stranger's", "a test")
    def update(self, batch): pass
    def result(self): return Measured(1.0, 1, {})
"""


def test_a_strangers_metric_without_a_known_answer_is_said_and_does_not_fail(
    bench: Callable[..., Printed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.runs.installation.check.resize_checks", lambda _: iter(()))
    (tmp_path / "strange.py").write_text(PLUGIN)
    ask = ("metrics", "check", "--plugin", tmp_path / "strange.py", "--metric", "strange", "--cache", tmp_path)
    done = bench(*ask)
    assert done.code == 0 and "strange" in done.text and "no known answer; fix: give the class one" in done.text
    (tmp_path / "strange.py").write_text(
        PLUGIN + "    @classmethod\n    def known_answers(cls, info):\n        raise OSError('no disk')\n"
    )
    done = bench(*ask)
    assert done.code == 1 and "FAILED: OSError: no disk" in done.text


def test_every_entry_without_a_class_fails_by_name() -> None:
    broken: Entry = Entry("gone", KINDS["metric"], "a test", thing=None, point=None)
    (found,) = metric_checks(broken)
    assert found.outcome == "FAILED" and found.name == "gone"
