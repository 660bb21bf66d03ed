"""Official pickles are read bit for bit, and nothing that a file asks for is ever run."""

import copyreg
import io
import math
import os
import pickle
import re
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edm_files import Official, official_module, official_modules, write_official
from torch import nn

from bench.core.errors import UserError
from bench.core.safe_pickle import UnsafePickleError
from bench.models.weights.restricted_pickle import read_official_pickle

STATE = {
    "model.map_layer0.weight": torch.randn(4, 3),
    "model.enc.8x8_conv.weight": torch.randn(2, 3, 3, 3).half(),
    "model.enc.8x8_down.conv0.weight": torch.randn(2, 2, 3, 3, dtype=torch.float64),
    "model.enc.8x8_down.conv0.resample_filter": torch.full((1, 1, 2, 2), 0.25),
    "model.dec.8x8_in0.qkv.bias": torch.randn(6),
    "model.out_conv.bias": torch.tensor(3.0),
}
"""Weights of several types and shapes: the reader does not know EDM's."""


# Official files


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_weights_are_read_bit_for_bit_in_order(tmp_path: Path, protocol: int) -> None:
    read = read_official_pickle(write_official(tmp_path / "net.pkl", STATE, protocol=protocol))
    assert read.class_name == "EDMPrecond"
    assert list(read.state_dict) == list(official_module(STATE, {}).state_dict())
    assert set(read.state_dict) == set(STATE)
    for name, tensor in STATE.items():
        assert read.state_dict[name].dtype == tensor.dtype
        assert torch.equal(read.state_dict[name], tensor)


def test_attributes_are_returned(tmp_path: Path) -> None:
    attributes = {"": {"sigma_data": 0.5, "use_fp16": True}, "model.out_conv": {"eps": np.float64(1e-5)}}
    read = read_official_pickle(write_official(tmp_path / "net.pkl", STATE, attributes))
    assert read.attributes[""]["sigma_data"] == 0.5
    assert read.attributes[""]["use_fp16"] is True
    assert read.attributes["model.out_conv"]["eps"] == 1e-5  # a numpy scalar in the file


def test_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    values = {"when": np.datetime64("2020-01-01"), "nested": [[1]], "text": "abc"}
    read = read_official_pickle(write_official(tmp_path / "net.pkl", STATE, {"model": values}))
    assert read.attributes["model"]["text"] == "abc"
    assert not {"when", "nested"} & set(read.attributes["model"])


def test_numpy_s_old_name_of_its_scalars_is_read(tmp_path: Path) -> None:
    """numpy 1 wrote numpy.core, numpy 2 writes numpy._core; protocol 3 has both as plain text."""
    path = write_official(tmp_path / "net.pkl", STATE, {"": {"init_scale": np.sqrt(1 / 3)}}, protocol=3)
    old, new = b"cnumpy.core.multiarray\nscalar", b"cnumpy._core.multiarray\nscalar"
    written = path.read_bytes()
    assert old in written or new in written
    for name in (old, new):
        path.write_bytes(written.replace(new, name).replace(old, name))
        assert read_official_pickle(path).attributes[""]["init_scale"] == math.sqrt(1 / 3)


def test_shared_and_strided_tensors_keep_their_numbers(tmp_path: Path) -> None:
    base = torch.arange(24.0)
    module = official_module({}, {})
    module.register_buffer("row", base[4:8])
    module.register_buffer("turned", base.reshape(4, 6).T)
    module.register_buffer("empty", torch.zeros(0, 3))
    read = read_official_pickle(write_module(tmp_path / "net.pkl", module))
    assert read.state_dict["row"].tolist() == [4, 5, 6, 7]
    assert torch.equal(read.state_dict["turned"], base.reshape(4, 6).T)
    assert read.state_dict["empty"].shape == (0, 3)


def test_buffers_that_are_not_saved_and_missing_parameters_are_left_out(tmp_path: Path) -> None:
    module = official_module({}, {})
    module.register_buffer("kept", torch.ones(1))
    module.register_buffer("dropped", torch.ones(1), persistent=False)
    module.register_parameter("none", None)
    assert list(read_official_pickle(write_module(tmp_path / "net.pkl", module)).state_dict) == ["kept"]


def write_module(path: Path, module: Any, key: str = "ema") -> Path:
    """Write one module as the official files hold it."""
    with official_modules():
        path.write_bytes(pickle.dumps({key: module}, protocol=4))
    return path


# Files that would run something


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """The file that appears if anything in a pickle runs."""
    return tmp_path / "something-ran"


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def refused(path: Path, data: bytes, marker: Path, reason: str) -> None:
    """Assert that a file with these bytes is refused for this reason and runs nothing."""
    path.write_bytes(data)
    with pytest.raises(UnsafePickleError, match=reason) as caught:
        read_official_pickle(path)
    assert not marker.exists()
    text = str(caught.value)
    assert str(path) in text
    assert text.isprintable()
    assert caught.value.__suppress_context__


def test_the_marker_would_appear(marker: Path) -> None:
    """What the tests below refuse does run in the ordinary reader."""
    pickle.loads(pickle.dumps(Call(os.system, f"touch {marker}")))
    assert marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_shell_command_is_refused_by_name(tmp_path: Path, marker: Path, protocol: int) -> None:
    data = pickle.dumps({"ema": Call(os.system, f"touch {marker}")}, protocol=protocol)
    refused(tmp_path / "net.pkl", data, marker, r"asks for (posix|nt)\.system")


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (eval, "eval"),
        (exec, "exec"),
        (getattr, "getattr"),
        (__import__, "__import__"),
        (open, "open"),
        (torch.load, "torch"),
        (pickle.loads, "loads"),
        (Counter, "Counter"),
        (np.load, "numpy"),
    ],
)
def test_python_s_own_functions_are_refused_by_name(
    tmp_path: Path, marker: Path, function: Callable[..., Any], name: str
) -> None:
    source = f"open({str(marker)!r}, 'w')"
    refused(tmp_path / "net.pkl", pickle.dumps({"ema": Call(function, source)}), marker, f"asks for.*{name}")


GLOBALS = {
    "a dotted name": b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.",
    "a dotted name past torch": b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93.",
    "the old opcode": b"cos\nsystem\n.",
    "an instance": b"(S'true'\nios\nsystem\n.",
    "an object": b"(cos\nsystem\nS'true'\no.",
    "another name of a listed module": b"\x80\x04\x8c\x0dtorch.storage\x8c\x0c_load_from_b\x93.",
}


@pytest.mark.parametrize("data", GLOBALS.values(), ids=list(GLOBALS))
def test_every_way_to_name_something_is_closed(tmp_path: Path, marker: Path, data: bytes) -> None:
    refused(tmp_path / "net.pkl", data, marker, "asks for")


@pytest.mark.parametrize("data", [b"Pnumber 1\n.", b"\x80\x02K\x01Q."], ids=["text", "binary"])
def test_persistent_ids_are_refused(tmp_path: Path, marker: Path, data: bytes) -> None:
    refused(tmp_path / "net.pkl", data, marker, "persistent id")


def test_the_extension_registry_is_refused_even_when_it_knows_the_code(
    tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A code that was used once in the process is answered from a cache, without asking for its name."""
    monkeypatch.chdir(tmp_path)  # where the harmless twin of the attack leaves its file
    copyreg.add_extension("posix", "system", 200)
    try:
        data = pickle.dumps(Call(os.system, f"touch {marker}"), protocol=2)
        pickle.loads(data.replace(str(marker).encode(), b"x" * len(str(marker))))
        refused(tmp_path / "net.pkl", data, marker, "extension registry")
    finally:
        copyreg.remove_extension("posix", "system", 200)
        copyreg.clear_extension_cache()


def test_hooks_that_hold_functions_are_refused(tmp_path: Path, marker: Path) -> None:
    module = official_module(STATE, {})
    module._forward_hooks[0] = os.system  # type: ignore[assignment]
    write_module(tmp_path / "net.pkl", module)
    refused(tmp_path / "net.pkl", (tmp_path / "net.pkl").read_bytes(), marker, "asks for")


def test_the_source_text_is_never_run(tmp_path: Path) -> None:
    """The fixture's text raises if run, and the official function is gone when the file is read."""
    assert read_official_pickle(write_official(tmp_path / "net.pkl", STATE)).state_dict


# A pickle inside the pickle


class Nested:
    """Pickles as torch's call that reads a storage from bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.storage._load_from_bytes, (self.data,)


def saved(value: Any, new_format: bool = False) -> bytes:
    """The bytes of torch.save."""
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=new_format)
    return buffer.getvalue()


class View:
    """Pickles as torch's call that makes a tensor of a storage."""

    def __init__(self, storage: Any, offset: Any = 0, size: Any = (2,), stride: Any = (1,)) -> None:
        self.arguments = (storage, offset, size, stride, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, ...]:
        return torch._utils._rebuild_tensor_v2, self.arguments


class Module(Official):
    """An official module with one buffer, whatever that is."""

    def __init__(self, buffer: Any) -> None:
        super().__init__()
        self.__dict__["official_class"] = "EDMPrecond"
        self._buffers["b"] = buffer


def with_buffer(path: Path, buffer: Any) -> bytes:
    return write_module(path, Module(buffer)).read_bytes()


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch's storages with a type are what official files hold
    TYPED = saved(torch.arange(4.0).storage())


def test_a_view_of_good_bytes_is_read(tmp_path: Path) -> None:
    """The refusals below are of what is wrong in them, not of how these tests write files."""
    with_buffer(tmp_path / "net.pkl", View(Nested(TYPED), 1, (2,), (2,)))
    assert read_official_pickle(tmp_path / "net.pkl").state_dict["b"].tolist() == [1, 3]


def test_a_malicious_storage_is_refused(tmp_path: Path, marker: Path) -> None:
    evil = Call(os.system, f"touch {marker}")
    for data in (pickle.dumps(evil), saved(evil), saved(evil, new_format=True), b"", b"garbage"):
        whole = with_buffer(tmp_path / "net.pkl", View(Nested(data)))
        refused(tmp_path / "net.pkl", whole, marker, "torch refuses")


@pytest.mark.parametrize("value", [torch.ones(4), [1], {"a": torch.ones(1)}], ids=["tensor", "list", "dict"])
def test_bytes_of_something_else_are_no_storage(tmp_path: Path, marker: Path, value: Any) -> None:
    whole = with_buffer(tmp_path / "net.pkl", View(Nested(saved(value))))
    refused(tmp_path / "net.pkl", whole, marker, "as a storage")


GEOMETRIES: dict[str, tuple[Any, Any, Any, str]] = {
    "past the end": (0, (5,), (1,), "beyond its storage"),
    "offset past the end": (3, (2,), (1,), "beyond its storage"),
    "an empty one past the end": (5, (0,), (1,), "beyond its storage"),
    "a long stride": (0, (2,), (4,), "beyond its storage"),
    "overlapping rows": (0, (2, 3), (1, 1), "beyond its storage"),
    "a negative offset": (-1, (2,), (1,), "whole numbers"),
    "a negative size": (0, (-2,), (1,), "whole numbers"),
    "a negative stride": (3, (2,), (-1,), "whole numbers"),
    "a bool": (0, (True,), (1,), "whole numbers"),
    "a fraction": (0.0, (2,), (1,), "whole numbers"),
    "a list": (0, [2], [1], "whole numbers"),
    "too few strides": (0, (2, 2), (1,), "whole numbers"),
    "stride 0": (0, (2**40,), (0,), "stride 0"),
}


@pytest.mark.parametrize(("offset", "size", "stride", "reason"), GEOMETRIES.values(), ids=list(GEOMETRIES))
def test_impossible_geometry_is_refused(
    tmp_path: Path, marker: Path, offset: Any, size: Any, stride: Any, reason: str
) -> None:
    whole = with_buffer(tmp_path / "net.pkl", View(Nested(TYPED), offset, size, stride))
    refused(tmp_path / "net.pkl", whole, marker, reason)


@pytest.mark.parametrize("buffer", [1.0, "text", [1.0], Nested(TYPED), View("no storage"), View(Nested(b""))])
def test_a_buffer_must_be_a_tensor(tmp_path: Path, marker: Path, buffer: Any) -> None:
    refused(tmp_path / "net.pkl", with_buffer(tmp_path / "net.pkl", buffer), marker, "tensor|storage")


# Shapes that no official file has


def test_cycles_are_refused(tmp_path: Path, marker: Path) -> None:
    module = nn.ModuleDict()
    module._modules["again"] = module
    root = official_module({}, {})
    root.add_module("model", module)
    refused(tmp_path / "net.pkl", write_module(tmp_path / "net.pkl", root).read_bytes(), marker, "within itself")


def test_a_module_held_twice_is_refused(tmp_path: Path, marker: Path) -> None:
    """Forty levels of it would have 2^40 parameters."""
    root = module = official_module({}, {})
    for _ in range(3):
        child = official_module({}, {})
        module.add_module("left", child)
        module.add_module("right", child)
        module = child
    refused(tmp_path / "net.pkl", write_module(tmp_path / "net.pkl", root).read_bytes(), marker, "twice")


def test_deep_modules_are_refused(tmp_path: Path, marker: Path) -> None:
    root = module = official_module({}, {})
    for _ in range(40):
        module.add_module("child", nn.ModuleDict())
        module = module._modules["child"]  # type: ignore[assignment]
    refused(tmp_path / "net.pkl", write_module(tmp_path / "net.pkl", root).read_bytes(), marker, "deeper than 32")


class WithState(OrderedDict):
    """A dictionary that carries attributes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, (), {"keys": "overridden"}


def test_attributes_on_dictionaries_are_refused(tmp_path: Path, marker: Path) -> None:
    refused(tmp_path / "net.pkl", pickle.dumps({"ema": WithState()}), marker, "attributes on a dictionary")


def test_a_number_that_would_fill_the_memory_is_refused(tmp_path: Path, marker: Path) -> None:
    """The unpickler's table of numbered objects is as long as the largest number: here 32 GiB."""
    data = b"\x80\x04}r" + (2**32 - 1).to_bytes(4, "little") + b"."
    refused(tmp_path / "net.pkl", data, marker, "exhaust the memory")


@pytest.mark.parametrize(
    ("top", "reason"),
    [
        ([1], "a list where a dictionary"),
        ({"other": 1}, "no key 'ema', only other"),
        ({}, "no key 'ema', only none"),
        ({"ema": {}}, "a dict under 'ema'"),
        ({"ema": None}, "a NoneType under 'ema'"),
    ],
)
def test_other_things_are_named(tmp_path: Path, marker: Path, top: Any, reason: str) -> None:
    refused(tmp_path / "net.pkl", pickle.dumps(top), marker, re.escape(reason))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x04", b"garbage", b"\x80\x04\xff\xff.", b"\x80\x63}."])
def test_garbage_is_refused(tmp_path: Path, marker: Path, data: bytes) -> None:
    refused(tmp_path / "net.pkl", data, marker, "not a whole pickle")


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.9, 0.999])
def test_a_cut_off_file_is_refused(tmp_path: Path, marker: Path, keep: float) -> None:
    whole = write_official(tmp_path / "net.pkl", STATE).read_bytes()
    refused(tmp_path / "net.pkl", whole[: int(keep * len(whole))], marker, "not a whole pickle")


def test_a_damaged_file_never_raises_anything_else(tmp_path: Path, marker: Path) -> None:
    """Some damage hits numbers and is read; the rest is refused in one line."""
    whole = write_official(tmp_path / "net.pkl", STATE).read_bytes()
    generator = torch.Generator().manual_seed(0)
    outcomes: Counter[str] = Counter()
    for _ in range(200):
        damaged = bytearray(whole)
        place, value = (int(torch.randint(n, (), generator=generator)) for n in (len(whole), 256))
        damaged[place] = value
        (tmp_path / "net.pkl").write_bytes(damaged)
        try:
            read_official_pickle(tmp_path / "net.pkl")
            outcomes["read"] += 1
        except UserError as error:
            assert str(error).isprintable()
            outcomes["refused"] += 1
    assert outcomes["refused"] > 10
    assert not marker.exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.pkl is missing"):
        read_official_pickle(tmp_path / "nothing.pkl")


def test_a_slice_does_not_keep_its_whole_storage(tmp_path: Path) -> None:
    module = official_module({}, {})
    module.register_buffer("slice", torch.arange(1000.0)[:2])
    read = read_official_pickle(write_module(tmp_path / "net.pkl", module)).state_dict
    assert read["slice"].untyped_storage().nbytes() == 8
