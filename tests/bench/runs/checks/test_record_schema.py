"""A file that is no record says everything that is wrong with it, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from example_records import EXAMPLE, GONE, Found, Written, changed

from bench.runs.checks.check import Checker


def test_a_committed_record_has_no_finding(found_in: Found) -> None:
    assert found_in() == []


def test_every_wrong_field_is_named_with_its_value(found_in: Found) -> None:
    found = found_in(
        {
            "cost.parameters": GONE,
            "cost.threads": "many",
            "kind": "teacher",
            "metrics.0.level": 95,
            "run_id": "../../etc/passwd",
            "best": True,
        }
    )
    assert len(found) == 6 and all(line.startswith("error: ") for line in found)
    text = "\n".join(found)
    for part in (
        "cost.parameters is missing",
        "cost.threads is 'many', but must be a valid integer",
        "kind is 'teacher', but must be 'method' or 'baseline'",
        "metrics.0.level is 95, but must be less than 1",
        "run_id: '../../etc/passwd' is not a name",
        "best is no field of a record of version 1, and is True",
    ):
        assert part in text


def test_a_changed_protocol_disagrees_with_its_digest(found_in: Found) -> None:
    found = found_in({"protocol.samples": 1801, "protocol_sha256": EXAMPLE["protocol_sha256"]})
    assert found == [
        "error: protocol_sha256 is not the digest of protocol; fix: send the record that bench wrote, unchanged"
    ]


def test_nan_and_infinity_are_refused(found_in: Found) -> None:
    for value in (float("nan"), float("inf")):
        assert "metrics.0.value is" in found_in({"metrics.0.value": value})[0]


def test_a_number_as_text_is_none(found_in: Found) -> None:
    text = "\n".join(found_in({"metrics.0.value": "93.4", "train_seed": True, "cost.threads": "1"}))
    for part in ("metrics.0.value is '93.4', but must be", "train_seed is True, but", "cost.threads is '1', but"):
        assert part in text


def of_bytes(checker: Checker, path: Path, content: bytes) -> list[str]:
    """Return the findings on a file of these bytes."""
    path.write_bytes(content)
    return [str(one) for one in checker.check_file(path).findings]


def test_what_is_no_json_is_one_error(checker: Checker, tmp_path: Path) -> None:
    for content in (b"", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 10_000):
        (line,) = of_bytes(checker, tmp_path / "x.json", content)
        assert line.startswith("error: ")


def test_a_key_that_is_given_twice_is_an_error(checker: Checker, tmp_path: Path) -> None:
    """Readers disagree on which one counts, so that a page may show another number than the check saw."""
    content = json.dumps(EXAMPLE).replace('"task":', '"task": "fashion", "task":', 1)
    found = of_bytes(checker, tmp_path / f"{EXAMPLE['run_id']}.json", content.encode())
    assert any("the key 'task' is given twice" in line for line in found)


def test_thousands_of_errors_are_counted(found_in: Found) -> None:
    found = found_in({f"unknown{number}": number for number in range(60)})
    assert len(found) == 51 and found[-1] == "error: 10 more fields are wrong"


def test_a_file_of_megabytes_is_no_record(checker: Checker, tmp_path: Path) -> None:
    (line,) = of_bytes(checker, tmp_path / "x.json", b" " * (5 << 20))
    assert "larger than 4.0 MiB" in line


def test_deep_nesting_is_refused_or_read(found_in: Found) -> None:
    deep: list[object] = []
    for _ in range(150):
        deep = [deep]
    assert isinstance(found_in({"protocol.reference": deep}), list)


def test_a_file_by_another_name_than_its_runs_is_found(checker: Checker, written: Written) -> None:
    found = checker.check_file(written(name="mine")).findings
    assert any("the file is not called dmd2-s1-e03abe5945.json" in str(one) for one in found)


ODD = (None, True, -1, 2**62, 1e308, "", "\x00\u202e=<b>[/]|$%", [], [[1]], {}, {"a": []})


def places(value: object, way: str = "") -> Iterator[str]:
    """Yield the dotted places of everything in a record."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        if "." not in str(key):
            yield f"{way}{key}"
            yield from places(item, f"{way}{key}.")


def test_no_odd_value_anywhere_ends_the_check(checker: Checker, tmp_path: Path) -> None:
    path = tmp_path / f"{EXAMPLE['run_id']}.json"
    for number, place in enumerate(places(EXAMPLE)):
        path.write_text(json.dumps(changed(EXAMPLE, {place: ODD[number % len(ODD)]})))
        assert "".join(map(str, checker.check_file(path).findings)).isprintable(), place


def test_a_record_of_a_later_version_is_not_blamed_for_its_new_fields(found_in: Found) -> None:
    (line,) = found_in({"schema_version": 2, "new": 1})
    assert line.startswith("error: a record of version 2, which this installation cannot read; fix: install")
