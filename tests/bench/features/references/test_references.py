"""References on disk: whole or not at all, one set of numbers to a name, never read damaged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.features.references.store import (
    Description,
    ReferenceStatistics,
    checked_reference,
    list_references,
    load_reference,
    save_reference,
)

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(30, 4))
ABOUT = Description("reals", "pixels", 30, "edm", "reals.npy", "0" * 64)


def reference(rows: np.ndarray = ROWS, about: Description = ABOUT, kept: int = 0) -> ReferenceStatistics:
    kept_rows = rows[:kept].astype(np.float32) if kept else None
    return checked_reference(rows.mean(0), np.cov(rows, rowvar=False), about, "here", kept_rows)


@pytest.mark.parametrize("kept", [0, 5])
def test_what_is_saved_loads_bit_for_bit(kept: int, tmp_path: Path) -> None:
    saved = reference(kept=kept)
    save_reference(saved, tmp_path)
    found = load_reference(tmp_path, "reals")
    assert np.array_equal(found.mean, saved.mean) and np.array_equal(found.cov, saved.cov)
    assert found.description == saved.description and found.description.kept == kept
    if kept:
        assert found.rows is not None and np.array_equal(found.rows, ROWS[:5].astype(np.float32))
    else:
        assert found.rows is None
    assert list_references(tmp_path) == [saved.description]


def test_identity_is_of_the_numbers_and_the_network() -> None:
    first = reference().description.sha256
    assert reference(about=replace(ABOUT, name="other", source="b")).description.sha256 == first
    assert reference(about=replace(ABOUT, features="inception")).description.sha256 != first
    assert reference(ROWS + 1e-9).description.sha256 != first
    assert reference(kept=5).description.sha256 != first
    assert reference(kept=6).description.sha256 != reference(kept=5).description.sha256


def test_other_numbers_of_the_same_name_are_refused(tmp_path: Path) -> None:
    save_reference(reference(), tmp_path)
    assert save_reference(reference(), tmp_path) == tmp_path / "reals"
    with pytest.raises(UserError, match="there is another reference 'reals'"):
        save_reference(reference(2 * ROWS), tmp_path)


@pytest.mark.parametrize("name", ["../reals", "", "a b", ".hidden"])
def test_a_name_must_be_a_folders(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a valid name of a reference"):
        save_reference(reference(about=replace(ABOUT, name=name)), tmp_path)


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    save_reference(reference(), tmp_path)
    with pytest.raises(UserError, match="reals"):
        load_reference(tmp_path, "real")


@pytest.mark.parametrize("file", ["statistics.npz", "features.npy"])
def test_changed_numbers_are_damage(file: str, tmp_path: Path) -> None:
    folder = save_reference(reference(kept=5), tmp_path)
    if file == "statistics.npz":
        np.savez(folder / file, mu=ROWS[0], sigma=np.eye(4))
    else:
        np.save(folder / file, ROWS[5:10].astype(np.float32))
    with pytest.raises(UserError, match="is damaged: its numbers are not those described"):
        load_reference(tmp_path, "reals")
    (folder / file).write_bytes((folder / file).read_bytes()[:20])
    with pytest.raises(UserError, match=f"is damaged.*fix: rm -r {folder}, then import it again"):
        load_reference(tmp_path, "reals")


def test_a_damaged_description_names_its_file(tmp_path: Path) -> None:
    folder = save_reference(reference(), tmp_path)
    (folder / "reference.json").write_text("{")
    with pytest.raises(UserError, match=r"reference\.json is damaged"):
        load_reference(tmp_path, "reals")
