"""The protocol's digest: the same for the same protocol, another for any change that changes a number."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from bench.task.protocol import Protocol, TeacherReference
from bench.task.text_rules import TextRules

PROTOCOL = Protocol(
    name="digits",
    samples=1800,
    repetitions=3,
    first_seed=0,
    labels="balanced",
    uint8="round",
    reference="897 held-out digits",
    features="digits-cnn32",
    metrics=("fd", "kid"),
)

CHANGES: dict[str, Any] = {
    "name": "fashion",
    "samples": 1801,
    "repetitions": 4,
    "first_seed": 1,
    "labels": "random",
    "uint8": "truncate",
    "reference": "900 training digits",
    "features": "inception",
    "metrics": ("kid", "fd"),
    "neighbours": 5,
    "smoke": True,
    "aggregate": "minimum",
    "covariance_start": "ones",
    "images_per_prompt": 4,
    "text": TextRules(512, 256),
    "plugins": {"mine": "ab"},
    "extractors": {"spatial": "inception-2015-12-05-spatial"},
    "teacher_reference": TeacherReference("teacher-ode", {"steps": 18}),
    "tf32": False,
    "sampling_precision": "bf16",
}


def test_every_field_is_tested() -> None:
    assert set(CHANGES) == {field.name for field in fields(Protocol)}


@pytest.mark.parametrize("field", CHANGES)
def test_digest_changes_with_every_field(field: str) -> None:
    assert replace(PROTOCOL, **{field: CHANGES[field]}).digest() != PROTOCOL.digest()


def test_equal_protocols_have_equal_digests() -> None:
    assert replace(PROTOCOL).digest() == PROTOCOL.digest()
    assert replace(PROTOCOL, neighbours=3, smoke=False).digest() == PROTOCOL.digest()


def test_digest_is_the_same_on_every_machine_and_day() -> None:
    """Stored records are grouped by it: a change here splits every table from the numbers before."""
    assert PROTOCOL.digest() == "245b5478dffb1278bcfd33b86a60700115d1aac1e80f847273af4f86f5339e7d"


def test_as_dict_survives_json() -> None:
    assert json.loads(json.dumps(PROTOCOL.as_dict())) == PROTOCOL.as_dict()


def test_every_field_is_part_of_the_digest() -> None:
    optional = ("teacher_reference", "tf32", "sampling_precision", "plugins")
    compared = replace(PROTOCOL, **{name: CHANGES[name] for name in optional})
    assert compared.as_dict().keys() == {field.name for field in fields(Protocol)}
    assert not {*optional} & PROTOCOL.as_dict().keys()  # older digests stand
