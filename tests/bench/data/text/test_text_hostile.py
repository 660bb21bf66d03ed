"""Foreign lists of prompts and captions: whatever bytes, a result or one line that names the file."""

import json
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.core.errors import UserError
from bench.data.packed_folder import open_array
from bench.data.text.coco import is_captions_file, read_captions
from bench.data.text.prompts import PromptList, read_literal_pickle, read_prompts

SETTINGS = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
SEEDS = {
    ".txt": b"a cat\na dog\n",
    ".tsv": b"Prompt\tCategory\na cat\tx\na dog\ty\n",
    ".json": b'{"annotations": [{"image_id": 1, "caption": "a cat"}], "images": [{"id": 1, "file_name": "a"}]}',
    ".pkl": pickle.dumps({"caption": ["a cat", "a dog"]}),
    ".parquet": b"PAR1\x15\x04\x15\x10PAR1",
}


@pytest.mark.parametrize("suffix", SEEDS)
@SETTINGS
@given(junk=st.binary(max_size=40), place=st.integers(0, 100), keep=st.integers(0, 100))
def test_any_bytes_are_prompts_or_one_line(
    tmp_path: Path, suffix: str, junk: bytes, place: int, keep: int
) -> None:
    path = tmp_path / f"list{suffix}"
    path.write_bytes(SEEDS[suffix][:place] + junk + SEEDS[suffix][keep:])
    for read in (read_prompts, read_captions):
        try:
            found = read(path)
        except UserError as error:
            assert path.name in str(error)
            assert "\n" not in str(error)
        else:
            assert isinstance(found, PromptList)
            assert found.prompts


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"[" * 200_000),
        ("a.json", b"[" + b"1" * 10_000 + b"]"),
        ("a.json", rb'["\ud800"]'),
        ("a.json", b'{"prompt": ["a"], "prompt": ["b"]}'),
        ("a.tsv", b"prompt\tprompt\na\tb\n"),
        ("a.pkl", pickle.dumps(["a"]) + pickle.dumps(["lost"])),
        ("a.pkl", pickle.dumps(["\ud800"])),
    ],
)
def test_what_would_be_lost_or_end_in_a_traceback_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="a\\."):
        read_prompts(tmp_path / name)


def test_deep_json_is_no_captions_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"[" * 200_000)
    with pytest.raises(UserError, match="is not JSON"):
        read_captions(tmp_path / "a.json")


@pytest.mark.parametrize("suffix", SEEDS)
def test_a_pipe_or_an_endless_device_does_not_hang(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    for path in (tmp_path / f"pipe{suffix}", tmp_path / f"zero{suffix}"):
        assert not is_captions_file(path)
        for read in (read_prompts, read_captions, read_literal_pickle):
            with pytest.raises(UserError, match="regular file"):
                read(path)


def test_a_caption_that_is_null_is_not_the_word_none(tmp_path: Path) -> None:
    content = {"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "caption": None}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="NoneType"):
        read_captions(tmp_path / "a.json")


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"\x93NUMPY\x01\x00\x0a\x00" + b"(" * 10])
def test_an_array_that_is_none_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npy"):
        open_array(tmp_path / "a.npy", float, (1,))
