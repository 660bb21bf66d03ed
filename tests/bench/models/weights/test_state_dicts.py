"""Files of weights from anybody: whatever the bytes, tensors or one line that names the file."""

from __future__ import annotations

import io
import os
import pickle
import struct
import time
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.safe_pickle import refuse_opcodes
from bench.features.references.array_pickle import read_array_pickle
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.text.published import load_published
from bench.models.weights.checkpoints import load_edm_denoiser
from bench.models.weights.restricted_pickle import read_official_pickle
from bench.models.weights.state_dicts import file_kind, read_state_dict

STATE = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}


def torch_bytes(value: Any, old: bool = False) -> bytes:
    written = io.BytesIO()
    torch.save(value, written, _use_new_zipfile_serialization=not old)
    return written.getvalue()


FORMS = {"safetensors": save(STATE), "torch": torch_bytes(STATE), "torch, old": torch_bytes(STATE, old=True)}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_bit_for_bit(form: str, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(FORMS[form])
    found = read_state_dict(tmp_path / "weights")
    assert found.keys() == STATE.keys() and all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_a_training_s_average_is_read_wherever_it_lies(tmp_path: Path) -> None:
    trained = {name: value + 1 for name, value in STATE.items()}
    for name, training, expected in (
        ("model", {"model": trained, "ema": STATE, "opt": {"state": {}}}, STATE),
        ("before", {"state_dict": trained, "ema": STATE, "epoch": 3}, STATE),
        ("after", {"ema": STATE, "state_dict": trained}, STATE),
        ("within", {"state_dict": {"ema": STATE, "model": trained}}, STATE),
        ("below", {"ema": {"state_dict": STATE, "decay": 0.99}, "state_dict": trained}, STATE),
        ("alone", {"state_dict": trained, "ema": None}, trained),
    ):
        torch.save(training, tmp_path / name)
        found = read_state_dict(tmp_path / name)
        assert found.keys() == expected.keys(), name
        assert all(torch.equal(found[key], expected[key]) for key in expected), name
    torch.save({"model": trained, "opt": {}}, tmp_path / "raw")
    with pytest.raises(UserError, match=r"more than a network's weights by name, such as 'model' \(a dict\)"):
        read_state_dict(tmp_path / "raw")


def test_a_header_whose_length_begins_like_a_pickle(tmp_path: Path) -> None:
    """One safetensors file of 32 has a header of 128 mod 256 bytes, and the first byte of every pickle is 128."""
    path = tmp_path / "weights.safetensors"
    for length in range(300):
        save_file(STATE, path, metadata={"padding": "x" * length})
        assert file_kind(path) == "safetensors", length
        assert read_state_dict(path).keys() == STATE.keys()


READERS = {
    "state dict": read_state_dict,
    "EDM's pickle": read_official_pickle,
    "EDM denoiser": load_edm_denoiser,
    "array pickle": read_array_pickle,
    "student": lambda path: load_published(path, StableDiffusionDenoiser, _Teacher()),  # type: ignore[arg-type]
}


class _Teacher(nn.Module):
    """A network that no random bytes are a student of."""

    config: ClassVar[dict[str, Any]] = {}


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A whole file that was cut, had bytes changed, or had something put in."""
    whole = draw(st.sampled_from([*FORMS.values(), pickle.dumps({"ema": {"a": (1, 2)}}, 4)]))
    kind = draw(st.sampled_from(["cut", "change", "insert"]))
    place = draw(st.integers(0, len(whole) - 1))
    if kind == "cut":
        return whole[:place]
    return whole[:place] + draw(st.binary(min_size=1, max_size=8)) + whole[place + (kind == "change") :]


@pytest.mark.parametrize("reader", READERS)
@settings(deadline=None, max_examples=60)
@given(content=st.binary(max_size=200) | damaged())
def test_whatever_the_bytes_the_answer_is_weights_or_one_line(
    reader: str, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any-{os.getpid()}"
    path.write_bytes(content)
    try:
        READERS[reader](path)
    except UserError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error) and "\x1b" not in str(error)
    except AttributeError:
        # Bytes that happened to stay a whole state dict reach the stand-in for a teacher.
        assert reader == "student" and read_state_dict(path)


HEADERS = [
    {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
    {"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}},
    {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
    {
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    },
    {"__metadata__": {"a": 1}},
    {"a": None},
]


@pytest.mark.parametrize("header", HEADERS)
def test_a_safetensors_header_that_lies(header: dict[str, Any], tmp_path: Path) -> None:
    import json

    text = json.dumps(header).encode()
    (tmp_path / "lies.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(UserError, match=r"lies\.safetensors"):
        read_state_dict(tmp_path / "lies.safetensors")


def test_a_deep_or_endless_header(tmp_path: Path) -> None:
    path = tmp_path / "deep.safetensors"
    for length, text in ((100_000, b'{"a":' * 20_000), (2**63, b"{}"), (99_999_999, b"{}")):
        path.write_bytes(struct.pack("<Q", length) + text)
        with pytest.raises(UserError, match=r"deep\.safetensors"):
            read_state_dict(path)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (torch.ones(1).expand(1 << 20, 1 << 20), r"\[1048576, 1048576\] from 4 bytes"),
        (torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8), "quantised"),
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.ones(3, device="meta"), "laid out as|more than weights"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_tensors_that_are_more_than_their_bytes(value: Tensor, problem: str, tmp_path: Path) -> None:
    torch.save({"a": value}, tmp_path / "odd.bin")
    with pytest.raises(UserError, match=problem):
        read_state_dict(tmp_path / "odd.bin")


def test_a_torch_file_that_expands(tmp_path: Path) -> None:
    path = tmp_path / "bomb.bin"
    with zipfile.ZipFile(io.BytesIO(FORMS["torch"])) as whole, zipfile.ZipFile(path, "w") as bomb:
        for member in whole.infolist():
            content = whole.read(member)
            if "/data/" in member.filename:
                content = bytes(1 << 24)
            bomb.writestr(member.filename, content, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 18
    with pytest.raises(UserError, match=r"is compressed, and torch compresses nothing"):
        read_state_dict(path)


def nested_tuples(depth: int) -> bytes:
    """A dictionary whose key is a tuple of two tuples of two tuples ...: hashing takes 2^depth steps."""
    content = b"\x80\x02}q\x00K\x01\x85q\x01"
    for level in range(1, depth):
        content += b"h" + bytes([level]) + b"h" + bytes([level]) + b"\x86q" + bytes([level + 1])
    return content + b"K\x01s."


def test_tuples_that_take_for_ever_to_hash(tmp_path: Path) -> None:
    path = tmp_path / "tuples"
    begun = time.perf_counter()
    for reader in (read_official_pickle, read_array_pickle):
        path.write_bytes(nested_tuples(64))
        with pytest.raises(UserError, match=r"tuple that expands to more than 65,536 members"):
            reader(path)
    whole = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(FORMS["torch"])) as source, zipfile.ZipFile(whole, "w") as target:
        for member in source.infolist():
            is_pickle = member.filename.endswith("data.pkl")
            target.writestr(member.filename, nested_tuples(64) if is_pickle else source.read(member))
    path.write_bytes(whole.getvalue())
    with pytest.raises(UserError, match=r"tuple that expands"):
        read_state_dict(path)
    assert time.perf_counter() - begun < 10


def test_dictionaries_that_are_shared_expand_to_a_limit(tmp_path: Path) -> None:
    """40 dictionaries, each with the next one twice, are 2^40 when they are written out."""
    value: Any = 1
    for _ in range(40):
        value = {"a": value, "b": value}
    (tmp_path / "shared.pkl").write_bytes(pickle.dumps(value))
    begun = time.perf_counter()
    for reader in (read_array_pickle, read_official_pickle):
        with pytest.raises(UserError, match=r"shared\.pkl"):
            reader(tmp_path / "shared.pkl")
    assert time.perf_counter() - begun < 10


@settings(deadline=None, max_examples=100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner)
        ),
        max_leaves=20,
    ),
    st.integers(0, 5),
)
def test_plain_pickles_of_every_protocol_pass_the_guard(value: Any, protocol: int) -> None:
    file = io.BytesIO(pickle.dumps(value, protocol))
    refuse_opcodes(file)
    assert pickle.load(file) == value


@pytest.mark.parametrize("reader", READERS)
def test_a_named_pipe_and_a_device_do_not_hang(reader: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a named pipe"), ("zero", "a character device")):
        with pytest.raises(UserError, match=rf"{name} is {kind}, but a regular file"):
            READERS[reader](tmp_path / name)
