"""scikit-learn's digits: grey levels, and a split that is stratified, disjoint and always the same."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.data.images import Splits
from tasks.digits import data as digits

NOWHERE = Path("/nowhere")


@pytest.fixture(scope="module")
def splits() -> Splits:
    return digits.load(None, NOWHERE)


def test_golden_hashes(splits: Splits) -> None:
    assert splits.train.sha256 == "76bd74e44206b49fe2473b5b08861af9bb3e5596d02a23a365b5885248af9047"
    assert splits.held_out.sha256 == "676731840a1cfbdb2de2f51749383524fad6e2ed40f08ed84871927142f0d063"
    assert splits.source == "scikit-learn"


def test_split_is_disjoint_and_complete(splits: Splits) -> None:
    from sklearn.datasets import load_digits

    labels = load_digits().target
    held_out = digits.held_out_mask(labels, digits.HELD_OUT, digits.SPLIT_SEED)
    assert (len(splits.train), len(splits.held_out)) == (900, 897)
    assert np.array_equal(splits.held_out.labels, labels[held_out])
    assert np.array_equal(splits.train.labels, labels[~held_out])


def test_split_is_stratified(splits: Splits) -> None:
    train, held_out = np.bincount(splits.train.labels), np.bincount(splits.held_out.labels)
    assert len(train) == len(held_out) == 10
    assert np.all(np.abs(held_out - (train + held_out) * 897 / 1797) < 1)


@pytest.mark.parametrize("count", [0, 1, 37, 99, 100])
def test_mask_holds_the_count_and_each_class_its_share(count: int) -> None:
    labels = np.random.default_rng(1).integers(0, 4, 100)
    mask = digits.held_out_mask(labels, count, seed=0)
    assert mask.sum() == count
    for c in range(4):
        assert abs(mask[labels == c].sum() - (labels == c).sum() * count / 100) < 1


def test_mask_depends_on_the_seed_alone() -> None:
    labels = np.zeros(50, dtype=np.int64)
    first, again, other = (digits.held_out_mask(labels, 25, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_grey_levels(splits: Splits) -> None:
    assert splits.train.images.shape == (900, 1, 8, 8)
    levels = [0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255]
    assert np.array_equal(np.unique(splits.train.images), levels)


def test_locate_finds_the_package_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = digits.locate(None, NOWHERE)
    assert found is not None
    assert found.name == "sklearn"
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert digits.locate(None, NOWHERE) is None


def test_a_folder_that_would_not_be_read_is_refused(tmp_path: Path) -> None:
    for read in (digits.locate, digits.load):
        with pytest.raises(UserError, match="leave out --data"):
            read(tmp_path, NOWHERE)
