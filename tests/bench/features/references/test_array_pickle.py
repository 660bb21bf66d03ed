"""Pickles of arrays are read as data; a file that asks for more is refused, and runs nothing."""

import copyreg
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.features.references.array_pickle import read_array_pickle

CONTENT = {"fid": {"mu": np.arange(4.0), "sigma": np.eye(4)}, "count": 7, "name": "reals"}


@pytest.mark.parametrize("protocol", range(3, 6))
def test_arrays_are_read_bit_for_bit(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "reference.pkl").write_bytes(pickle.dumps(CONTENT, protocol=protocol))
    found = read_array_pickle(tmp_path / "reference.pkl")
    np.testing.assert_array_equal(found["fid"]["mu"], np.arange(4.0))
    np.testing.assert_array_equal(found["fid"]["sigma"], np.eye(4))
    assert (found["count"], found["name"]) == (7, "reals")


class Command:
    """Pickles as a shell command that leaves a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.marker}",)


def refused(path: Path, data: bytes, reason: str) -> None:
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"{path} is refused.*{reason}"):
        read_array_pickle(path)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_shell_command_is_refused_by_name(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps({"fid": Command(tmp_path / "ran")}, protocol=protocol)
    refused(tmp_path / "evil.pkl", data, "asks for (posix|nt).system")
    assert not (tmp_path / "ran").exists()


def test_the_extension_registry_is_refused_even_when_it_knows_the_code(tmp_path: Path) -> None:
    """A code that was used once in the process is answered from a cache, without asking for its name."""
    marker = tmp_path / "ran"
    copyreg.add_extension("posix", "system", 201)
    try:
        data = pickle.dumps({"fid": Command(marker)}, protocol=2)
        pickle.loads(data)
        assert marker.exists(), "the ordinary reader runs it"
        marker.unlink()
        refused(tmp_path / "evil.pkl", data, "extension registry")
        assert not marker.exists()
    finally:
        copyreg.remove_extension("posix", "system", 201)
        copyreg.clear_extension_cache()


def test_a_number_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    """The unpickler's table of numbered objects is as long as the largest number: here 32 GiB."""
    data = b"\x80\x04}r" + (2**32 - 1).to_bytes(4, "little") + b"."
    refused(tmp_path / "evil.pkl", data, "exhaust the memory")


@pytest.mark.parametrize("data", [b"", b"\x80\x04", b"\x80\x04\xff.", pickle.dumps(CONTENT)[:-9]])
def test_a_damaged_file_is_refused(tmp_path: Path, data: bytes) -> None:
    refused(tmp_path / "cut.pkl", data, "")
