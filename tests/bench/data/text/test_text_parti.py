"""PartiPrompts and our own 128 of them."""

import random
from collections import Counter
from pathlib import Path

import pytest
from shared_data import shared_file

from bench.core.errors import UserError
from bench.data.text.parti import largest_remainder, parti, parti_128
from bench.data.text.prompts import read_table

SIZES = {"a": 300, "b": 57, "c": 40, "d": 3}


def write_parti(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("Prompt\tCategory\tChallenge\tNote\n" + "".join(f"{p}\t{c}\tBasic\t\n" for p, c in rows))
    return path


@pytest.fixture
def rows() -> list[tuple[str, str]]:
    return [(f'the "{number}" of {name} ', name) for name, size in SIZES.items() for number in range(size)]


def test_all_prompts_each_once(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    listed = parti(write_parti(tmp_path / "p.tsv", rows + rows[:7]))
    assert listed.prompts == tuple(prompt for prompt, _ in rows)
    assert listed.name == "parti"
    assert listed.categories == tuple(name for _, name in rows), "by which scores are split"


def test_each_category_has_its_share(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    chosen = parti_128(write_parti(tmp_path / "p.tsv", rows))
    category = dict(rows)
    shares = Counter(category[prompt] for prompt in chosen)
    assert shares == {"a": 96, "b": 18, "c": 13, "d": 1}  # of 96, 18.24, 12.8, 0.96
    assert chosen.name == "parti-128-ours"
    assert chosen.categories == tuple(category[prompt] for prompt in chosen)
    assert len(set(chosen)) == 128


def test_the_choice_does_not_depend_on_the_order_of_the_file(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    shuffled = random.Random(1).sample(rows, len(rows))
    chosen = parti_128(write_parti(tmp_path / "p.tsv", rows))
    again = parti_128(write_parti(tmp_path / "q.tsv", shuffled))
    assert set(again) == set(chosen)
    places = {prompt: place for place, (prompt, _) in enumerate(shuffled)}
    assert [places[prompt] for prompt in again] == sorted(places[prompt] for prompt in again)


def test_shares_sum_and_stay_within_one_of_their_quota() -> None:
    draw = random.Random(0)
    for _ in range(200):
        sizes = {str(n): draw.randrange(1, 400) for n in range(draw.randrange(1, 20))}
        count = draw.randrange(0, sum(sizes.values()) + 1)
        shares = largest_remainder(sizes, count)
        assert sum(shares.values()) == count
        for name, size in sizes.items():
            assert abs(shares[name] - count * size / sum(sizes.values())) < 1
            assert shares[name] <= size


def test_files_that_do_not_serve(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    with pytest.raises(UserError, match="has 127 prompts, but parti-128-ours needs 128"):
        parti_128(write_parti(tmp_path / "p.tsv", rows[:127]))
    (tmp_path / "q.tsv").write_text("Prompt\n" + "".join(f"{prompt}\n" for prompt, _ in rows))
    with pytest.raises(UserError, match=r"q.tsv has no column Category; fix: name PartiPrompts.tsv"):
        parti_128(tmp_path / "q.tsv")


def test_google_s_file() -> None:
    path = shared_file("PartiPrompts.tsv")
    everything, ours = parti(path), parti_128(path)
    assert (len(everything), len(ours)) == (1632, 128)
    categories = {row["Prompt"]: row["Category"] for row in read_table(path)}
    counts, shares = Counter(categories.values()), Counter(categories[prompt] for prompt in ours)
    assert len(shares) == 12
    assert all(abs(shares[name] - counts[name] * 128 / 1632) < 1 for name in counts)
    # A change of this hash is a change of the list, which must then have another name.
    assert ours.sha256 == "2ca197557cfa2f81e7af2484ebe9c6b7a65d35f331627b45d2fef58a2c3d116d"
