"""Tars as people make them: links, several joined, litter, what no file can be; nothing is left out."""

import io
import tarfile
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import UserError
from bench.data.tar_files import Contents, Part, search


def tar(*members: tuple[str, bytes | str], kinds: dict[str, bytes] = {}) -> bytes:
    """A tar of files (bytes) and of links or other members (a link's target) of the types in `kinds`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.linkname, info.type = content, kinds.get(name, tarfile.SYMTYPE)
                made.addfile(info)
            else:
                info.size = len(content)
                made.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def contents(data: bytes) -> tuple[Contents, dict[str, bytes]]:
    found = search(io.BytesIO(data), "x.tar")
    return found, {entry.name: data[entry.offset : entry.offset + entry.size] for entry in found.entries}


def refused(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        search(io.BytesIO(data), "x.tar")
    assert "fix: " in str(caught.value)


def test_a_name_with_the_separators_of_windows_is_refused_for_them() -> None:
    refused(tar(("n\\1.png", b"one")), r"x\.tar holds n\\1\.png, with a backslash in its name where folders end")


def test_links_are_the_files_that_they_lead_to() -> None:
    kinds = {"hard": tarfile.LNKTYPE}
    made = tar(("n/1", b"one"), ("n/soft", "1"), ("hard", "n/1"), ("m/up", "../n/soft"), kinds=kinds)
    _, files = contents(made)
    assert files == dict.fromkeys(("n/1", "n/soft", "hard", "m/up"), b"one")


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "missing", "loop", "folder"])
def test_a_link_that_leads_to_no_file_of_the_tar_is_refused_by_name(target: str) -> None:
    made = tar(("loop", target), ("folder", ""), kinds={"folder": tarfile.DIRTYPE})
    refused(made, f"x.tar: loop is a link to {target}, which is not a file in it")


def test_tars_joined_end_to_end_are_all_read() -> None:
    found, files = contents(tar(("a", b"1")) + tar(("b", b"2")) + tar(("c", b"3")))
    assert files == {"a": b"1", "b": b"2", "c": b"3"}
    assert [entry.name for entry in found.entries] == ["a", "b", "c"]


def test_a_joined_tar_that_is_cut_short_or_no_tar_is_refused() -> None:
    first, second = tar(("a", b"1")), tar(("b", b"2"))
    refused(first + second[:700], "x.tar is cut short or damaged")
    refused(first + b"garbage", "x.tar is cut short or damaged at byte")
    refused(first + tar(("a", b"2")), "x.tar holds a twice")


def test_litter_is_counted_and_not_read() -> None:
    names = ("__MACOSX/n/._1.png", "n/._1.png", ".ipynb_checkpoints/1.png", "n/.DS_Store", "n/.x", "n/Thumbs.db")
    found, files = contents(tar(("./n/1.png", b"1"), *((name, b"x") for name in names)))
    assert files == {"n/1.png": b"1"}
    assert found.skipped == Counter(
        {"__MACOSX": 1, "._*": 1, ".ipynb_checkpoints": 1, ".DS_Store": 1, "hidden files": 1, "Thumbs.db": 1}
    )


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, b"Z"])
def test_a_member_that_is_no_file_is_refused_by_name(kind: bytes) -> None:
    refused(tar(("odd.png", ""), kinds={"odd.png": kind}), "x.tar: odd.png is not a file")


def test_a_file_with_holes_is_refused_by_name() -> None:
    refused(tar(("odd.png", ""), kinds={"odd.png": tarfile.GNUTYPE_SPARSE}), "x.tar: odd.png is stored with holes")


def with_size(data: bytes, field: bytes) -> bytes:
    """Put another size into a tar's first header, with the right checksum."""
    header = bytearray(data[:512])
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


@pytest.mark.parametrize(
    "field", [b"77777777777\0", b"\xff" * 12, b"\x80" + b"\xff" * 11], ids=["8G", "-1", "2^88"]
)
def test_a_size_that_cannot_be_is_refused_at_once(field: bytes) -> None:
    refused(with_size(tar(("a", b"1"), ("b", b"2")), field), "x.tar is (cut short or damaged|not a tar)")


def test_a_tar_in_a_tar_is_read_in_place() -> None:
    inner = tar(("1.png", b"one"), ("2.png", "1.png"))
    outer = tar(("n01.tar", inner))
    (entry,) = contents(outer)[0].entries
    within = search(Part(io.BytesIO(outer), entry), "n01.tar")  # type: ignore[arg-type]
    assert [(e.name, outer[entry.offset + e.offset :][: e.size]) for e in within.entries] == [
        ("1.png", b"one"),
        ("2.png", b"one"),
    ]


_SOUND = tar(("n/1.png", b"one"), ("n/2.png", "1.png"), (".DS_Store", b"x")) + tar(("n/3.png", b"three" * 300))


@given(st.integers(0, len(_SOUND)), st.binary(max_size=24), st.booleans())
@settings(max_examples=100, deadline=None)
def test_whatever_the_bytes_the_answer_is_all_members_or_a_refusal(at: int, put: bytes, cut: bool) -> None:
    data = _SOUND[:at] + put + (b"" if cut else _SOUND[at + len(put) :])
    try:
        found, files = contents(data)
    except UserError as error:
        assert str(error).startswith("x.tar")
    else:
        assert sum(found.skipped.values()) + len(files) == 4 or cut
        assert all(len(files[entry.name]) == entry.size for entry in found.entries)
