"""Each way in which a record's values can disagree is found."""

from __future__ import annotations

import json
from typing import Any

import pytest
from example_records import COMMITTED, EXAMPLE, GONE, Found

from bench.core.files import digest
from bench.metrics.catalogue import RATE
from bench.metrics.intervals import t_interval
from bench.report.study.statistics import share
from bench.runs.registry import load_catalogue

FD, KID, PRECISION = range(3)
CAPTIONED = json.loads(next((COMMITTED / "scenes-flow").glob("dmd2-4step-s0-*.json")).read_text())
VALUES = EXAMPLE["metrics"][FD]["values"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"metrics.0.value": 60.0}, "metric 'fd': value is 60.0, but the Student-t summary of its values gives"),
        ({"metrics.0.values.0": VALUES[0] + 1e-6}, "metric 'fd': value is"),
        ({"metrics.0.std": 0.1}, "metric 'fd': std is 0.1, but"),
        ({"metrics.0.low": None}, "metric 'fd': low is None, but"),
        ({"metrics.0.high": 1e9}, "metric 'fd': high is 1000000000.0, but"),
        ({"metrics.0.level": 0.5}, "metric 'fd': low is"),
        ({"metrics.0.values": VALUES[:2]}, "metric 'fd': 2 values, but the protocol has 3 repetitions"),
        ({"metrics.0.values": []}, "metric 'fd': no value, and 0 values by generation seed"),
        ({"metrics.0.value": None}, "metric 'fd': no value, and 3 values by generation seed"),
        ({"metrics.0.samples": 50_000}, "metric 'fd': 50000 samples, but the protocol has 1800"),
        ({"metrics.0.diagnostics": [{}]}, "metric 'fd': 1 diagnostics for 3 values"),
        ({"metrics.0.values.1": 1e300}, "metric 'fd': 1e+300 is no value of any metric"),
        ({"metrics.0.direction": "higher"}, "metric 'fd': higher is said to be better, but lower is"),
        ({"metrics.2.values.0": 1.25}, "metric 'precision': 1.25 is not between 0 and 1"),
        ({"metrics.0.values.0": -1.0}, "metric 'fd': -1 is not between 0 and inf"),
        ({"metrics.1": EXAMPLE["metrics"][FD]}, "metrics has several results of 'fd'"),
        ({"metrics.3": GONE}, "no value of recall, which the protocol declares"),
        ({"metrics.3.name": "beauty"}, "values of beauty, which the protocol does not declare"),
        ({"metrics": []}, "no metrics, although the status is ok"),
    ],
)
def test_values_that_disagree_are_an_error(found_in: Found, values: dict[str, Any], said: str) -> None:
    assert any(line.startswith(f"error: {said}") for line in found_in(values)), found_in(values)


def with_values(record: dict[str, Any], name: str, values: list[float]) -> dict[str, Any]:
    """Changes that give a metric of a record other values, with the right summary of them."""
    (place,) = [place for place, metric in enumerate(record["metrics"]) if metric["name"] == name]
    found = t_interval(values)
    summary = {"value": found.mean, "std": found.std, "low": found.low, "high": found.high, "values": values}
    return {f"metrics.{place}.{key}": value for key, value in summary.items()}


def values_of(record: dict[str, Any], name: str) -> list[float]:
    (found,) = [metric["values"] for metric in record["metrics"] if metric["name"] == name]
    return list(found)


@pytest.mark.parametrize("name", ["alignment", "kinds", "colours", "diversity", "accuracy"])
def test_halved_values_contradict_what_the_record_says_of_them(found_in: Found, name: str) -> None:
    record = EXAMPLE if name == "accuracy" else CAPTIONED
    halved = [value / 2 for value in values_of(record, name)]
    found = found_in(with_values(record, name, halved), record)
    assert found and all(line.startswith(f"error: metric {name!r}: repetition ") for line in found)


def test_swapped_values_contradict_what_the_record_says_of_them(found_in: Found) -> None:
    swap = {"alignment": "colours", "colours": "diversity", "diversity": "alignment"}
    for name, other in swap.items():
        found = found_in(with_values(CAPTIONED, name, values_of(CAPTIONED, other)), CAPTIONED)
        assert any(f"metric {name!r}: repetition 2: " in line for line in found)
    shares = with_values(EXAMPLE, "precision", values_of(EXAMPLE, "recall"))  # of 897 images, and not of 1800
    assert any("no whole number of generated images, of which there are 1800" in line for line in found_in(shares))


def test_rounding_of_another_machine_is_accepted(found_in: Found) -> None:
    metric = EXAMPLE["metrics"][FD]
    close = {f"metrics.0.{name}": metric[name] * (1 + 1e-13) for name in ("value", "std", "low", "high")}
    assert found_in(close) == []


def test_a_value_that_rounding_takes_beyond_its_range_is_accepted(found_in: Found) -> None:
    """As evaluation accepts it; the Inception score of equal images is 1 - 2e-16."""
    above = 1 + 1e-9
    summary = {"values": [above] * 3, **dict.fromkeys(("value", "low", "high"), above), "std": 0.0}
    assert found_in({"metrics.2": {**EXAMPLE["metrics"][PRECISION], **summary}}) == []


def test_equal_distances_are_a_warning(found_in: Found) -> None:
    (line,) = found_in(
        {
            "metrics.0": {
                **EXAMPLE["metrics"][FD],
                "values": [9.0] * 3,
                **dict.fromkeys(("value", "low", "high"), 9.0),
                "std": 0.0,
            }
        }
    )
    assert line.startswith("warning: metric 'fd': all 3 values are 9, but generation seeds give different ones")


def test_the_minimum_of_the_repetitions_is_the_value_where_the_protocol_says_so(found_in: Found) -> None:
    minimum = {"protocol.aggregate": "minimum", "metrics.0.low": None, "metrics.0.high": None}
    assert not any("error" in line for line in found_in({**minimum, "metrics.0.value": min(VALUES)}))
    assert any("but the minimum of its values gives" in line for line in found_in(minimum))


def test_a_heading_of_another_metric_is_a_warning(found_in: Found) -> None:
    (line,) = found_in({"metrics.0.title": "FID"})
    assert line.startswith("warning: metric 'fd': its heading is 'FID', but it is 'FD (")


def test_a_metric_that_is_not_registered_is_a_note(found_in: Found) -> None:
    names = ["fd", "kid", "precision", "beauty", "accuracy"]
    found = found_in({"metrics.3.name": "beauty", "protocol.metrics": names})
    assert any(line.startswith("note: metric 'beauty': not registered here") for line in found)


def test_an_odd_list_of_metrics_in_a_protocol_is_survived(found_in: Found) -> None:
    assert any("no value of [1]" in line for line in found_in({"protocol.metrics": [[1], {"a": None}]}))


def study(won: int, lost: int, value: float, low: float, high: float) -> dict[str, Any]:
    """Return the changes that make the example the record of a user study."""
    protocol = {"name": "study", "kind": "user study", "samples": 128, "repetitions": 1}
    metric = {
        **EXAMPLE["metrics"][FD],
        "name": "preference",
        "title": "preference",
        "direction": "higher",
        "samples": 128,
        "value": value,
        "values": [value],
        "std": None,
        "low": low,
        "high": high,
        "diagnostics": [{"pairs_won": won, "pairs_lost": lost}],
    }
    name = f"{EXAMPLE['run_id']}-{digest([EXAMPLE['run_id'], digest(protocol)])[:6]}"
    return {"protocol": protocol, "metrics": [metric], "run_id": name, "provenance.argv": []}


def test_the_interval_of_a_study_is_that_of_its_pairs(found_in: Found) -> None:
    """The interval of Clopper and Pearson, as `bench study read` gives it."""
    for won, lost in ((15, 5), (128, 0), (0, 7)):
        preferred = share(won, won + lost)
        assert preferred.value is not None and preferred.low is not None and preferred.high is not None
        assert found_in(study(won, lost, preferred.value, preferred.low, preferred.high)) == []
    (line,) = found_in(study(15, 5, 0.75, 0.6, share(15, 20).high or 0))
    assert line.startswith("error: metric 'preference': low is 0.6, but 15 won and 5 lost pairs give 0.508954")
    assert any("value is 0.9, but 15 won" in line for line in found_in(study(15, 5, 0.9, 0.5, 0.9)))
    (line,) = found_in(study(0, 0, 0.5, 0.0, 1.0))
    assert "a study without the numbers of pairs" in line


def test_every_rate_is_known_to_be_one() -> None:
    """The range of a metric is stated beside its description."""
    ranges = {entry.name: entry.load().range for entry in load_catalogue().metrics}
    assert {name for name, range_ in ranges.items() if range_ == RATE} == {
        *("precision", "recall", "accuracy"),
        *("alignment", "kinds", "colours"),
        *("geneval", "dpg", "dpg-official", "ocr", "vqascore", "saturation"),
    }
