"""Comparisons: the test that fits each pair, its verdict, and a statement where there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.core.run_folder import RECORD, SCORES
from bench.evaluation.image_scores import SingleScores, write_scores
from bench.metrics.intervals import bca_interval
from bench.report.blocks import to_markdown, to_rich
from bench.report.comparison.comparing import Compared, compared
from bench.report.comparison.data import to_data
from bench.report.comparison.significance import Comparison, one_sample, paired, welch
from bench.report.comparison.text import blocks, decimals_of, signed
from bench.report.selection import Selection
from bench.report.sides import Found, Side
from bench.runs.record import Asset, NetworkPasses, Record
from bench.runs.records import Loaded, load_records
from bench.runs.registry import load_catalogue
from bench.runs.result_files import RESULTS
from bench.runs.suites.reading import load_suite
from bench.runs.suites.settled import settled

Records = Callable[..., Record]


def side(*records: Record, label: str = "", whole: bool = True, folder: Path = Path("nowhere")) -> Side:
    found = tuple(Found(record, folder / RECORD) for record in records)
    return Side(label or records[0].method.name, found, whole)


def method(make: Records, name: str, *values: float) -> Side:
    """Return a method with one value per training seed, each of one generation seed."""
    return side(*(make(name, seed, (value,)) for seed, value in enumerate(values)))


def sampler(make: Records, *values: float) -> Side:
    return side(make("teacher-ode", None, values, kind="baseline"))


def test_two_methods_are_tested_by_welch_over_training_seeds(make_record: Records) -> None:
    sides = [method(make_record, "dmd2", 6.0, 6.2, 5.9), method(make_record, "gan", 9.0, 9.9, 9.4)]
    found = compared(sides)
    (pair,) = found.metrics[0].pairs
    assert (pair.kind, pair.test) == ("training seeds", welch([6.0, 6.2, 5.9], [9.0, 9.9, 9.4]))
    assert pair.test is not None and pair.p == pair.test.p and found.differ(pair)
    assert not compared(sides, level=0.9999).differ(pair)


def test_the_error_of_a_sampler_counts_and_the_sign_is_that_of_first_minus_second(make_record: Records) -> None:
    teacher, student = sampler(make_record, 5.0, 5.2), method(make_record, "dmd2", 6.0, 6.2, 5.9)
    forth, back = (compared(sides).metrics[0].pairs[0] for sides in ([teacher, student], [student, teacher]))
    assert forth.kind == back.kind == "sampler"
    assert forth.test is not None and back.test is not None
    assert forth.test.difference == -back.test.difference == pytest.approx(5.1 - 18.1 / 3)
    assert forth.p == back.p
    assert back.test == welch([6.0, 6.2, 5.9], [5.0, 5.2])
    assert (forth.test.n, back.test.n) == ((2, 3), (3, 2))


def test_a_samplers_value_of_one_generation_seed_is_taken_as_exact_and_that_is_said(make_record: Records) -> None:
    found = compared([method(make_record, "dmd2", 6.0, 6.2, 5.9), sampler(make_record, 5.1)])
    (pair,) = found.metrics[0].pairs
    assert (pair.kind, pair.test) == ("exact sampler", one_sample([6.0, 6.2, 5.9], 5.1))
    assert "is taken as exact: the true p is larger" in text(found)


def test_a_verdict_on_single_trainings_is_not_one_on_their_methods(make_record: Records) -> None:
    one, other = side(make_record("dmd2", 0, (6.0, 6.2, 5.9))), side(make_record("gan", 0, (9.0, 9.1, 9.0)))
    teacher = sampler(make_record, 3.0, 3.1, 3.0)
    sde = side(make_record("teacher-sde", None, (1.0, 1.1, 1.05), kind="baseline"))
    assert "| these students differ at 95 % |" in text(compared([one, other]))
    assert "| this student differs at 95 % |" in text(compared([one, teacher]))
    assert "| differ at 95 % |" in text(compared([teacher, sde]))


def test_pairs_without_a_test_are_counted(make_record: Records) -> None:
    sides = [method(make_record, "dmd2", 6.0, 6.2, 5.9), method(make_record, "gan", 9.0, 9.9, 9.4)]
    found = compared([*sides, method(make_record, "dmd", 7.0)])
    assert "FD: 1 of 3 pairs differ at 95 %, 2 without a test" in text(found)


def test_unequal_trainings_are_said(make_record: Records) -> None:
    """By the counted passes, or by the training images where a record has no count; samplers have no training."""

    def spending(name: str, images: int, passes: int = 0, steps: int = 1) -> Side:
        counted = {"student": NetworkPasses(forward=passes, backward=0)} if passes else {}
        changes = {"generated_images": images, "passes": counted, "network_evaluations": steps}
        records = [make_record(name, seed, (6.0 + seed,)) for seed in range(2)]
        return side(*(one.model_copy(update={"cost": one.cost.model_copy(update=changes)}) for one in records))

    def unequal(*sides: Side) -> list[str]:
        return [line for line in compared([*sides, sampler(make_record, 5.0)]).warnings if "Not equal" in line]

    few, many = spending("dmd2", 64_000, 300_000), spending("gan", 32_000, 290_000)
    assert unequal(few, many) == []
    (line,) = unequal(few, spending("gan", 64_000, 150_000))
    assert line.startswith("Not equal: passes of a training: dmd2 300,000; gan 150,000. A test says that results")
    (line,) = unequal(few, spending("gan", 32_000))
    assert "training images of a training: dmd2 64,000; gan 32,000." in line
    (line,) = unequal(few, spending("gan", 64_000, 300_000, steps=4))
    assert "network evaluations of an image: dmd2 1; gan 4." in line
    assert unequal(few) == []


def test_other_data_behind_the_numbers_is_warned_of(make_record: Records) -> None:
    records = [
        make_record(name).model_copy(update={"data": [Asset(role="reference", sha256=sha256 * 64, bytes=1)]})
        for name, sha256 in (("dmd2", "a"), ("gan", "b"))
    ]
    found = compared([side(record) for record in records])
    assert "Warning: the reference of these records differ" in text(found)
    assert to_data(found)["warnings"] == list(found.warnings)


def test_single_runs_are_paired_over_the_generation_seeds_that_they_share(make_record: Records) -> None:
    first, second = (6.0, 6.2, 5.9), (6.5, 6.6, 6.3)
    sides = [side(make_record("dmd2", 0, first)), side(make_record("gan", 0, second))]
    (pair,) = compared(sides).metrics[0].pairs
    assert (pair.kind, pair.test) == ("generation seeds", paired(first, second))
    assert "about these two students and not about the methods" in " ".join(text(compared(sides)).split())


def test_single_runs_are_paired_over_prompts_where_images_have_scores(
    make_record: Records, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    images = {name: rng.normal(mean, 1.0, (2, 40)) for name, mean in (("dmd2", 0.0), ("gan", 1.0))}
    sides = []
    for name, values in images.items():
        (tmp_path / name).mkdir()
        places = np.indices(values.shape).reshape(2, -1)
        write_scores(tmp_path / name / SCORES, {"fd": SingleScores.of(*places, values.ravel())})
        sides.append(side(make_record(name), folder=tmp_path / name))
    (pair,) = compared(sides).metrics[0].pairs
    means = [values.mean(axis=0).tolist() for values in images.values()]
    expected = paired(*means)
    assert pair.kind == "prompts" and pair.test is not None
    assert (pair.test.t, pair.test.n) == (pytest.approx(expected.t), (40,))
    assert pair.bootstrap == pytest.approx(bca_interval(np.subtract(*means)), rel=1e-9)
    shown = text(compared(sides))
    assert "| pair | difference | 95 % interval | bootstrap | p | verdict |" in shown
    low, high = (f"{end:+.2f}".replace("-", "−") for end in pair.bootstrap)
    assert f"[{low}, {high}]" in shown and width(compared(sides)) <= 80
    assert to_data(compared(sides))["metrics"][0]["pairs"][0]["bootstrap"] == pair.bootstrap


def test_scores_of_other_images_are_not_paired(make_record: Records, tmp_path: Path) -> None:
    sides = []
    for name, count in (("dmd2", 4), ("gan", 5)):
        (tmp_path / name).mkdir()
        scores = SingleScores.of([0] * count, range(count), map(float, range(count)))
        write_scores(tmp_path / name / SCORES, {"fd": scores})
        sides.append(side(make_record(name, 0, (1.0, 2.0, count)), folder=tmp_path / name))
    (pair,) = compared(sides).metrics[0].pairs
    assert pair.kind == "generation seeds" and pair.bootstrap is None


@pytest.mark.parametrize("images", [None, "two", 0])
def test_a_strangers_odd_number_of_images_per_prompt_is_told(
    make_record: Records, tmp_path: Path, images: object
) -> None:
    sides = []
    for name in ("dmd2", "gan"):
        (tmp_path / name).mkdir()
        write_scores(tmp_path / name / SCORES, {"fd": SingleScores.of([0] * 4, range(4), [0.0, 1.0, 2.0, 3.0])})
        record = make_record(name)
        odd = record.model_copy(update={"protocol": record.protocol | {"images_per_prompt": images}})
        sides.append(side(odd, folder=tmp_path / name))
    assert compared(sides).metrics[0].pairs[0].why == f"the protocol has {images!r} images per prompt"


def test_pairs_without_a_test_say_why(make_record: Records) -> None:
    def why(*sides: Side) -> str:
        return compared(sides).metrics[0].pairs[0].why

    three, equal = method(make_record, "dmd2", 1.0, 2.0, 3.0), method(make_record, "gan", 4.0, 4.0)
    assert why(three, method(make_record, "gan", 4.0)) == "gan has one training seed; fix: train two more"
    assert why(equal, method(make_record, "dmd2", 5.0, 5.0)) == "no spread, so no test"
    assert why(equal, method(make_record, "dmd2", 4.0, 4.0)) == "equal, without any spread"
    one = side(make_record("gan", 0, (4.0,)))
    assert why(one, side(make_record("dmd2", 0, (5.0,)))).startswith("one generation seed has no test")
    missing = make_record("gan", 0, (4.0,))
    without = missing.model_copy(update={"metrics": []})
    assert why(side(without), three) == "gan has no value"


def test_of_several_pairs_the_p_is_adjusted(make_record: Records) -> None:
    sides = [method(make_record, name, *values) for name, values in VALUES.items()]
    pairs = compared(sides).metrics[0].pairs
    assert len(pairs) == 3
    plain = [pair.test.p for pair in pairs if pair.test is not None]
    smallest = plain.index(min(plain))
    assert pairs[smallest].p == pytest.approx(3 * plain[smallest])


VALUES = {"dmd2": (6.0, 6.2, 5.9), "gan": (9.0, 9.9, 9.4), "dmd": (7.0, 7.7, 7.1)}


def test_unknown_metrics_and_levels_are_refused(make_record: Records) -> None:
    sides = [method(make_record, "dmd2", 1.0, 2.0), method(make_record, "gan", 3.0, 4.0)]
    with pytest.raises(UserError, match=r"unknown metric with results here: 'df'; .*fd"):
        compared(sides, ["df"])
    for level in (0.0, 1.0, 95.0, float("nan")):
        with pytest.raises(UserError, match="--level is a confidence between 0 and 1"):
            compared(sides, level=level)


# As text


def text(found: Compared) -> str:
    return to_markdown(blocks(found))


HOSTILE = "<b>|x|</b>\x1b[31m[link](x) \u202e"


def test_hostile_names_are_harmless(make_record: Records) -> None:
    sides = [side(make_record(name, 0), label=f"{name}{HOSTILE}") for name in ("a", "b")]
    shown = text(compared(sides))
    assert "<b>" not in shown and "\x1b" not in shown and "\u202e" not in shown
    lengths = {line.count(" | ") for line in shown.splitlines() if HOSTILE[:3] in line}
    assert len(lengths) <= 1


def width(found: Compared) -> int:
    import io

    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=80, force_terminal=False).print(to_rich(blocks(found)))
    assert "\x1b" not in out.getvalue()
    return max(map(len, out.getvalue().splitlines()))


def test_a_terminal_of_80_columns_is_enough(make_record: Records) -> None:
    sides = [side(make_record(name, 0), label=f"{name} {HOSTILE}") for name in ("a", "b", "c")]
    assert width(compared(sides)) <= 80


def test_data_has_every_number(make_record: Records) -> None:
    found = compared([method(make_record, name, *values) for name, values in VALUES.items()])
    (metric,) = to_data(found)["metrics"]
    assert metric["values"][0]["values"] == (6.0, 6.2, 5.9)
    first = metric["pairs"][0]
    assert (first["first"], first["second"], first["n"]) == ("dmd2", "gan", [3, 3])
    assert first["low"] < first["difference"] < first["high"] and first["p"] <= first["p_holm"]


@pytest.mark.parametrize(
    ("error", "decimals"), [(0.0087, 3), (0.0012, 4), (0.5, 1), (0.11, 2), (40.0, 0), (1e-9, 6)]
)
def test_differences_have_the_decimals_of_their_error(error: float, decimals: int) -> None:
    assert decimals_of(error) == decimals


def test_a_bound_close_to_zero_has_the_decimals_that_show_its_side() -> None:
    near = Comparison("paired t", 0.0107, 0.0107 / 4.3035, 2, (3,))
    assert 0 < near.interval()[0] < 1e-5 and near.p < 0.05
    assert signed(near, 0.95)[1] == f"+{near.interval()[0]:.6f}"
    assert signed(welch([1.0, 1.2, 0.9], [2.0, 2.6, 2.1]), 0.95)[0] == "−1.20"


def test_the_bounds_of_an_interval_have_the_decimals_of_their_value(make_record: Records) -> None:
    found = compared([method(make_record, "dmd2", 0.7, 0.95), method(make_record, "gan", 0.5, 0.6)])
    assert "| 0.825 | [-0.763, 2.413] |" in text(found)


# The committed records


@pytest.fixture(scope="module")
def table3() -> Compared:
    loaded: Loaded = load_records([RESULTS / "records"])
    suite = load_suite("table3")
    rows = settled(suite.scale("micro"), load_catalogue(), RESULTS)
    return compared(Selection(loaded).suite(suite, rows), ["fd", "recall"])


def verdicts(found: Compared, metric: str) -> set[tuple[str, str]]:
    labels = [one.first.method.name for one in found.sides]
    (pairs,) = (one.pairs for one in found.metrics if one.name == metric)
    return {(labels[pair.first], labels[pair.second]) for pair in pairs if found.differ(pair)}


def test_which_rows_of_table_3_differ_on_fashion(table3: Compared) -> None:
    """docs/compare.md says so."""
    assert verdicts(table3, "fd") == set()
    recall = verdicts(table3, "recall")
    assert len(recall) == 21 and ("gan", "gan-ttur") in recall


def test_its_text_has_all_pairs(table3: Compared) -> None:
    shown = text(table3)
    assert shown.count("no difference shown") == 28 + 28 - 21
    assert "FD (fashion-cnn64): 0 of 28 pairs differ at 95 %" in shown
    assert "| lr | 0.0006 | 3, 4, 5, 6 |\n| lr | 0.0003 | 7, 8 |" in shown
    rows: Sequence[str] = [line for line in shown.splitlines() if line.startswith("| 1 − ")]
    assert len(rows) == 14
