"""Protocols made from a task's own have names from which they are made again, and digests of their own."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from bench.core.errors import UserError
from bench.runs.protocols.derived import require_samples, seeds_of, under_protocol, with_selection_seeds
from bench.runs.registry import Catalogue
from bench.task.base import Task


def task(catalogue: Catalogue, name: str = "fashion") -> Any:
    return catalogue.tasks.get(name)


def test_a_choice_has_seeds_that_no_reported_number_uses(catalogue: Catalogue) -> None:
    own: Task = task(catalogue)
    made = with_selection_seeds(own, 1000, 2).protocol
    assert seeds_of(own.protocol) == (0, 29_999) and seeds_of(made) == (30_000, 31_999)
    assert (made.name, made.samples, made.repetitions) == ("fashion.sweep-1000x2", 1000, 2)
    assert made.digest() != own.protocol.digest()
    assert replace(made, name="fashion", samples=10_000, repetitions=3, first_seed=0) == own.protocol
    assert with_selection_seeds(own).protocol.name == "fashion.sweep-10000"


def test_the_seeds_follow_those_of_every_protocol_of_the_task(catalogue: Catalogue) -> None:
    own = task(catalogue, "imagenet256")
    for name in own.protocols:
        first, _ = seeds_of(with_selection_seeds(own.under(name), 100).protocol)
        assert all(first > seeds_of(one)[1] for one in own.protocols.values())


@pytest.mark.parametrize(
    "name",
    [
        "fashion",
        "fashion.sweep-1000",
        "fashion.sweep-500x3",
        "fashion.fd+recall",
        "fashion.fd.sweep-500",
        "fashion.bf16",
        "fashion.bf16.fd.sweep-500",
    ],
)
def test_a_name_says_how_its_protocol_is_made(catalogue: Catalogue, name: str) -> None:
    made = under_protocol(task(catalogue), name, catalogue)
    assert made.protocol.name == name
    assert under_protocol(task(catalogue), name, catalogue).protocol.digest() == made.protocol.digest()


def test_different_names_have_different_digests(catalogue: Catalogue) -> None:
    names = ("fashion", "fashion.fd", "fashion.sweep-500", "fashion.sweep-500x2", "fashion.fd.sweep-500")
    names += ("fashion.bf16", "fashion.bf16.fd")
    made = [under_protocol(task(catalogue), name, catalogue).protocol.digest() for name in names]
    assert all(one != other for one, other in combinations(made, 2))


@pytest.mark.parametrize(
    "name",
    [
        "fashon",
        "fashion.sweep-0",
        "fashion.sweep-",
        "fashion.fid",
        "fashon.fd",
        ".fd",
        ".bf16",
        "fashion.bf16.bf16",
        "fashion.fd.bf16",
    ],
)
def test_a_name_of_no_protocol_is_refused(catalogue: Catalogue, name: str) -> None:
    with pytest.raises(UserError, match="unknown protocol of task 'fashion'"):
        under_protocol(task(catalogue), name, catalogue)


def test_a_refusal_names_the_protocols_that_can_be_made(catalogue: Catalogue) -> None:
    with pytest.raises(
        UserError, match=r"'nope'; valid: fashion; each NAME is there also as NAME\.bf16 \(networks"
    ):
        under_protocol(task(catalogue), "nope", catalogue)


def test_a_protocol_in_bf16_differs_in_the_precision_alone(catalogue: Catalogue) -> None:
    own: Task = task(catalogue)
    made = under_protocol(own, "fashion.bf16", catalogue).protocol
    assert replace(made, name="fashion", sampling_precision="fp32") == own.protocol
    assert made.as_dict() == {**own.protocol.as_dict(), "name": "fashion.bf16", "sampling_precision": "bf16"}


def test_samples_that_do_not_fit_are_refused(catalogue: Catalogue) -> None:
    with pytest.raises(UserError, match="is more than the 10000 of protocol 'fashion'; fix: --samples 10000"):
        with_selection_seeds(task(catalogue), 10_001)
    with pytest.raises(UserError, match="no multiple of the 2 images of a prompt; fix: --samples 500"):
        with_selection_seeds(task(catalogue, "scenes"), 501)
    few = with_selection_seeds(task(catalogue), 100).protocol
    with pytest.raises(UserError, match="'fd' requires at least 500 images, not 100; fix: --samples 500"):
        require_samples(few, [catalogue.metrics.get("fd")])
    require_samples(replace(few, smoke=True), [catalogue.metrics.get("fd")])
