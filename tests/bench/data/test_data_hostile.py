"""Foreign parquet files and LMDBs: refused in one line where they ask for too much, or would lose something."""

import os
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.data.imagenet import parquet as imagenet_parquet
from bench.data.imagenet.official_lmdb import OfficialLMDB
from bench.data.imagenet.parquet import Parquet
from bench.data.text import prompts
from bench.data.text.latent_lmdb import LatentLMDB
from bench.data.text.prompts import read_prompts

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
lmdb = pytest.importorskip("lmdb")


def test_a_small_parquet_file_of_much_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "MAX_TEXT", 1 << 20)
    many = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, "int32")), pa.array(["x" * 10_000]))
    pq.write_table(pa.table({"prompt": many}), tmp_path / "a.parquet", compression="zstd", store_schema=False)
    assert (tmp_path / "a.parquet").stat().st_size < 1000
    with pytest.raises(UserError, match=r"a\.parquet holds more than 1\.0 MiB of text"):
        read_prompts(tmp_path / "a.parquet")


def test_a_parquet_column_is_not_lost_to_another_of_its_name(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet has two columns 'prompt'"):
        read_prompts(tmp_path / "a.parquet")


def test_a_parquet_file_of_too_many_rows_is_refused_before_its_labels_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagenet_parquet, "MAX_ROWS", 2)
    pq.write_table(pa.table({"image": [{"bytes": b"x"}] * 3, "label": [0, 1, 2]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet claims 3 images, more than 2"):
        Parquet(tmp_path / "a.parquet")


def test_a_pipe_among_parquet_files_or_as_an_lmdb_does_not_hang(tmp_path: Path) -> None:
    for name in ("a.parquet", "data.mdb"):
        os.mkfifo(tmp_path / name)
    for read in (Parquet, OfficialLMDB, LatentLMDB):
        with pytest.raises(UserError, match="is a named pipe, but a regular file is expected"):
            read(tmp_path)


@pytest.mark.parametrize("count", [b"-1", b"1" + b"0" * 30, b"9" * 5000, b""])
def test_an_lmdb_that_claims_an_impossible_number_of_items_is_refused(tmp_path: Path, count: bytes) -> None:
    with lmdb.open(str(tmp_path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"images_shape", count + b" 3 64 64" if count else count)
        transaction.put(b"labels_shape", count)
        transaction.put(b"latents_shape", count + b" 4 8 8" if count else count)
    for read in (OfficialLMDB, LatentLMDB):
        with pytest.raises(UserError, match=r"is missing|so it is not the official LMDB") as caught:
            read(tmp_path)
        assert len(str(caught.value)) < 600
