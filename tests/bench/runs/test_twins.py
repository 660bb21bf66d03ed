"""Networks are the same but for rounding if samplers of the teacher give the same numbers with both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.report.notes import differing_assets, rounded_networks
from bench.report.selection import Selection
from bench.runs.record import Record
from bench.runs.records import load_records, read_record, write_record
from bench.runs.result_files import RESULTS
from bench.runs.twins import Sampled, find_twins


def sampled(networks: str, fd: Sequence[float], plan: str = "ode", **others: Sequence[float]) -> Sampled:
    return Sampled(plan, networks, {"fd": fd, **others})


def test_the_first_of_equal_networks_stands_for_all() -> None:
    """6.18378 and 6.18379 are the FD of one teacher, made on two processors; 6.3 is that of another seed."""
    found = find_twins(
        [
            sampled("a", [6.26762, 5.90340]),
            sampled("b", [6.26761, 5.90343]),
            sampled("c", [6.26760, 5.90341]),
            sampled("d", [6.26762, 6.3]),
        ]
    )
    assert found == {"b": "a", "c": "a"}


@pytest.mark.parametrize(
    "other",
    [
        sampled("b", [6.0], plan="sde"),
        sampled("b", [6.0, 6.0]),
        sampled("b", [6.0], recall=[0.8]),
        Sampled("ode", "b", {"kid": [6.0]}),
        sampled("b", [float("nan")]),
        sampled("b", []),
    ],
    ids=["another plan", "other seeds", "another recall", "no metric that both have", "no number", "no value"],
)
def test_what_cannot_be_seen_is_not_assumed(other: Sampled) -> None:
    assert find_twins([sampled("a", [6.0], recall=[0.9]), other]) == {}


def test_a_metric_that_failed_on_both_sides_shows_nothing() -> None:
    assert find_twins([sampled("a", []), sampled("b", [])]) == {}


def test_a_share_that_agrees_by_chance_does_not_hide_another_teacher() -> None:
    few = [Sampled("sweep of accuracy", networks, {"accuracy": [1.0]}) for networks in "ab"]
    assert find_twins(few) == {"b": "a"}
    assert find_twins([*few, sampled("a", [6.0]), sampled("b", [6.5])]) == {}


def test_machines_that_measured_in_another_order_are_twins_all_the_same() -> None:
    found = find_twins(
        [
            sampled("b", [5.0], plan="sde"),
            sampled("c", [5.0], plan="sde"),
            sampled("a", [6.0]),
            sampled("b", [6.0]),
            sampled("d", [4.0], plan="ddim"),
            sampled("a", [4.0], plan="ddim"),
        ]
    )
    assert found == {"c": "b", "a": "b", "d": "b"}


def test_a_chain_of_networks_has_one_first() -> None:
    one, two, three = sampled("a", [6.0]), sampled("b", [6.0]), sampled("b", [5.0], plan="sde")
    assert find_twins([one, two, three, sampled("c", [5.0], plan="sde")]) == {"b": "a", "c": "a"}


@pytest.fixture
def made_again(tmp_path: Path) -> tuple[Path, Record, Record]:
    """Committed records of `fashion`, and a sampler and a student of somebody whose teacher differs."""

    def another(name: str, change: float) -> Record:
        (path,) = (RESULTS / "records" / "fashion").glob(f"{name}-*.json")
        record = read_record(path)
        weights = [asset.model_copy(update={"sha256": "e" * 64}) for asset in record.weights]
        metrics = [
            one.model_copy(update={"values": [value * (1 + change) for value in one.values]})
            for one in record.metrics
        ]
        made = record.provenance.model_copy(update={"created": "2030-01-01T00:00:00+00:00"})
        return record.model_copy(update={"weights": weights, "metrics": metrics, "provenance": made})

    return tmp_path, another("teacher-ode", 1e-5), another("tdm-1step-s0", 0.0)


def test_records_of_somebody_else_s_teacher_join_ours_if_its_sampler_agrees(
    made_again: tuple[Path, Record, Record],
) -> None:
    folder, sampler, student = made_again
    write_record(folder / "student.json", student)
    ours = RESULTS / "records"
    alone = {one.networks_sha256 for one in load_records([ours, folder]).records if one.task == "fashion"}
    write_record(folder / "sampler.json", sampler)
    together = [one for one in load_records([ours, folder]).records if one.task == "fashion"]
    assert len({one.networks_sha256 for one in together}) == len(alone) - 1
    (note,) = rounded_networks(together)
    assert "differ by rounding alone" in note
    assert differing_assets(together) == []


def test_a_run_that_is_named_by_its_folder_is_compared_with_ours(made_again: tuple[Path, Record, Record]) -> None:
    folder, sampler, student = made_again
    write_record(folder / "mine" / "record.json", student.model_copy(update={"run_id": "mine-s0-0123456789"}))
    named = [str(folder / "mine"), "dmd2#4e6674"]
    with pytest.raises(
        UserError, match=r"unless the teacher's samplers show.*fix: bench eval --task fashion --sampler"
    ):
        Selection(load_records([folder, RESULTS / "records"])).sides(named, "fashion")
    write_record(folder / "teacher" / "record.json", sampler)
    sides = Selection(load_records([folder, RESULTS / "records"])).sides(named, "fashion")
    assert [side.first.run_id for side in sides] == ["mine-s0-0123456789", "dmd2-s0-b743712f82"]
