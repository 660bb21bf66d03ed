"""Prompt lists: read alike from every form, and pickles read without running anything."""

import copyreg
import json
import os
import pickle
import random
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_data import shared_file

from bench.core.errors import UserError
from bench.core.files import digest
from bench.core.safe_pickle import UnsafePickleError
from bench.data.text.prompts import PromptList, read_literal_pickle, read_prompts

PROMPTS = ['a "red" shoe', "two bags\tleft", " padded ", "Zoë\n", "a red shoe", "a red shoe"]


# Forms


def test_a_text_file_loses_blanks_and_empty_lines_as_in_the_official_code(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(" a cat \n\n\t\nZoë's dog\r\na cat\n", encoding="utf-8")
    read = read_prompts(tmp_path / "list.txt")
    assert read.prompts == ("a cat", "Zoë's dog", "a cat")
    assert (read.name, read.source, len(read)) == ("list", "list.txt", 3)
    assert read.unique().prompts == ("a cat", "Zoë's dog")
    assert read.unique().name == "list-unique"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", [list, tuple])
def test_a_pickle_is_read_as_stored(tmp_path: Path, protocol: int, kind: type) -> None:
    (tmp_path / "list.pkl").write_bytes(pickle.dumps(kind(PROMPTS), protocol))
    assert read_prompts(tmp_path / "list.pkl").prompts == tuple(PROMPTS)


def test_a_pickle_or_json_of_columns(tmp_path: Path) -> None:
    columns = {"id": [1, 2], "caption": ["a", "b"], "note": ["c", "d"]}
    (tmp_path / "list.pkl").write_bytes(pickle.dumps(columns))
    (tmp_path / "list.json").write_text(json.dumps(columns))
    for name in ("list.pkl", "list.json"):
        assert read_prompts(tmp_path / name).prompts == ("a", "b")
        assert read_prompts(tmp_path / name, column="note").prompts == ("c", "d")


def test_a_table_keeps_quotes_and_blanks(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text('Prompt\tCategory\n"G I G" painted \tArts\n a "b"\tFood\n')
    read = read_prompts(tmp_path / "list.tsv", name="parti")
    assert read.prompts == ('"G I G" painted ', ' a "b"')
    assert read.name == "parti"


def test_parquet_files_with_a_known_a_chosen_and_an_only_column(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow (extra `imagenet`) is not installed")
    import pyarrow.parquet as pq

    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"url": ["u"] * 6, "TEXT": PROMPTS, "n": [1] * 6}), path)
    assert read_prompts(path).prompts == tuple(PROMPTS)
    assert read_prompts(path, column="url").prompts == ("u",) * 6
    pq.write_table(pa.table({"words": PROMPTS, "n": [1] * 6}), path)
    assert read_prompts(path).prompts == tuple(PROMPTS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"list.parquet is not a parquet file or is cut short .*fix:"):
        read_prompts(path)


def test_coco_s_captions_in_their_order(tmp_path: Path) -> None:
    rows = [{"image_id": i, "id": 9 - i, "caption": caption} for i, caption in enumerate(PROMPTS)]
    (tmp_path / "captions_val2014.json").write_text(json.dumps({"images": [], "annotations": rows}))
    assert read_prompts(tmp_path / "captions_val2014.json").prompts == tuple(PROMPTS)


def test_the_hash_is_of_the_prompts_alone(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(PROMPTS))
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(PROMPTS))
    lists = [read_prompts(tmp_path / "a.json"), read_prompts(tmp_path / "b.pkl", name="other")]
    assert lists[0].sha256 == lists[1].sha256 == digest(PROMPTS)
    assert PromptList.of("x", ["a", "b"], "").sha256 != PromptList.of("x", ["a\nb"], "").sha256


def test_the_30k_captions() -> None:
    """30,000 lines and 29,436 texts, as measured; 16 texts fewer differ in the blanks around them alone."""
    path = shared_file("captions_coco14_test.txt")
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    assert (len(lines), len(set(lines))) == (30_000, 29_436)
    read = read_prompts(path)
    assert (len(read), len(read.unique())) == (30_000, 29_420)
    assert list(read) == [line.strip() for line in lines]


def test_a_json_list_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('["a", "b"]', encoding="utf-8-sig")
    assert read_prompts(tmp_path / "list.json").prompts == ("a", "b")


# Errors name what is wrong, with a fix


def test_a_missing_file_answers_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "captions_coco14_test.txt").write_text("a\n")
    with pytest.raises(
        UserError, match=r"captions_coco_test.txt: no such file; did you mean captions_coco14_test"
    ):
        read_prompts(tmp_path / "captions_coco_test.txt")
    (tmp_path / "captions_coco14_test.txt").unlink()
    (tmp_path / "lists.txt").mkdir()
    with pytest.raises(UserError, match=r"lists.txt is a folder, but a regular file is expected"):
        read_prompts(tmp_path / "lists.txt")
    with pytest.raises(UserError, match=r"unknown kind of prompt file '.tvs'; did you mean '.tsv'"):
        read_prompts(tmp_path / "a.tvs")


def test_a_missing_column_answers_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text("Words\tCategory\na\tb\n")
    with pytest.raises(UserError, match=r"unknown column 'Word'; did you mean 'Words'\?"):
        read_prompts(tmp_path / "list.tsv", column="Word")
    with pytest.raises(
        UserError, match=r"has the columns Words, Category; fix: name the column of prompts prompt or"
    ):
        read_prompts(tmp_path / "list.tsv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"\n \n", "a.txt holds no prompts"),
        ("a.txt", b"caf\xe9\n", "a.txt is not UTF-8 text"),
        ("a.tsv", b"", "holds no rows"),
        ("a.tsv", b"Prompt\tNote\na\n", "line 2 has 1 fields, but its header has 2 "),
        ("a.json", b'["a", "b', "is not JSON or is cut short"),
        ("a.json", b'["a", 3]', "prompt 1 is a number, not text; fix: give an array of texts, or"),
        ("a.json", b'{"annotations": [{"id": 3}]}', "its annotations are not captions"),
        ("a.json", b'{"images": 3}', "holds an object, not a list of prompts; fix: give an array of texts, or"),
        ("a.json", b"", "a.json is empty, and no JSON; fix: give an array of texts, or"),
        ("a.json", b'["a",]', r"a.json is not JSON \(.*; fix: give an array of texts, or"),
        ("a.txt", "a cat".encode("utf-16-le"), "a.txt is not UTF-8 text .it has zero bytes, as UTF-16 has"),
        ("a.pkl", pickle.dumps("a"), "holds a text, not a list of prompts"),
        ("a.pkl", pickle.dumps(["a", None]), "prompt 1 is null, not text"),
        ("a.pkl", pickle.dumps(PROMPTS)[:-30], "not a whole pickle of plain data"),
        ("a.pkl", b"", "not a whole pickle of plain data"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_prompts(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) or name in str(caught.value)


# Pickles that would run something


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """The file that appears if anything in a pickle runs."""
    return tmp_path / "something-ran"


def refused(path: Path, data: bytes, marker: Path, reason: str) -> None:
    path.write_bytes(data)
    with pytest.raises(UnsafePickleError, match=reason) as caught:
        read_prompts(path)
    assert not marker.exists()
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_marker_would_appear(marker: Path) -> None:
    """What the tests below refuse does run in the ordinary reader."""
    pickle.loads(pickle.dumps(Call(os.system, f"touch {marker}")))
    assert marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_shell_command_is_refused_by_name(tmp_path: Path, marker: Path, protocol: int) -> None:
    data = pickle.dumps(["a", Call(os.system, f"touch {marker}")], protocol)
    refused(tmp_path / "list.pkl", data, marker, r"asks for (posix|nt)\.system")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Call(eval, "1"), "eval"),
        (Call(getattr, "a", "b"), "getattr"),
        (OrderedDict(a=["b"]), "collections.OrderedDict"),
        (np.array(["a"]), "numpy"),
        (Path("a"), "pathlib"),
    ],
)
def test_what_is_harmless_is_refused_by_name_too(tmp_path: Path, marker: Path, value: object, name: str) -> None:
    refused(tmp_path / "list.pkl", pickle.dumps([value]), marker, f"asks for .*{name}.*save the prompts as text")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", r"asks for os.system"),
        (b"(S'true'\nios\nsystem\n.", r"asks for os.system"),
        (b"Pelsewhere\n.", "an object outside the file"),
        (b"\x80\x02]r" + struct.pack("<I", 1 << 30) + b".", "numbers an object 1073741824"),
        (b"\x80\x02]\x8c\x01a)Rb.", "not a whole pickle of plain data"),
    ],
)
def test_other_ways_in(tmp_path: Path, marker: Path, data: bytes, reason: str) -> None:
    refused(tmp_path / "list.pkl", data, marker, reason)


def test_the_extension_registry_is_refused(tmp_path: Path, marker: Path) -> None:
    """A registered name that was used before comes from a cache, which `find_class` never sees."""
    copyreg.add_extension("posix", "system", 0x7FFF)
    try:
        data = pickle.dumps([Call(os.system, f"touch {marker}")], 4)
        refused(tmp_path / "list.pkl", data, marker, "pickle's extension registry")
    finally:
        copyreg.remove_extension("posix", "system", 0x7FFF)


def test_a_damaged_pickle_never_raises_anything_else(tmp_path: Path) -> None:
    """Bytes changed and cut off at random: refused, or read as texts."""
    whole, draw = pickle.dumps([*PROMPTS, *PROMPTS], 4), random.Random(0)
    refusals = 0
    for _ in range(400):
        data = bytearray(whole[: draw.randrange(1, len(whole) + 1)] if draw.random() < 0.2 else whole)
        for _ in range(draw.randrange(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        (tmp_path / "list.pkl").write_bytes(data)
        try:
            read_prompts(tmp_path / "list.pkl")
        except UserError:
            refusals += 1
    assert refusals > 100


def test_a_list_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.pkl").write_bytes(b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".")
    with pytest.raises(UserError, match="prompt 0 is an array, not text"):
        read_prompts(tmp_path / "list.pkl")
    (tmp_path / "list.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="is not JSON"):
        read_prompts(tmp_path / "list.json")


def test_numbers_and_containers_are_data(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True, (b"x", {"y"})], 3: "z"}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value, 4))
    assert read_literal_pickle(tmp_path / "a.pkl") == value
