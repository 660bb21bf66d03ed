"""Nothing that names a machine or a person, and no secret, is accepted in a record."""

from __future__ import annotations

import getpass
import socket

import pytest
from example_records import EXAMPLE, Found

ARGV = EXAMPLE["provenance"]["argv"]


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("/home/alice/runs", "'/home/alice/runs'"),
        ("--cache=/scratch/cache", "'/scratch/cache'"),
        ("init_from=/data", "'/data'"),
        ("~/runs", "'~/runs'"),
        ("~alice/runs", "'~alice/runs'"),
        ("C:\\Users\\alice", r"'C:\\Users\\alice'"),
        ("D:/runs", "'D:/runs'"),
        (r"\\server\share\runs", r"'\\\\server\\share\\runs'"),
        ("file:///etc/passwd", "'file:///etc/passwd'"),
        ("node7:/scratch/runs", "'/scratch/runs'"),
        ('["/lustre/x", 1]', "'/lustre/x'"),
    ],
)
def test_a_path_of_one_machine_is_an_error(found_in: Found, word: str, shown: str) -> None:
    (line,) = found_in({"provenance.argv": [*ARGV, word]})
    assert line.startswith(f"error: provenance.argv.{len(ARGV)} has a path of one machine, {shown}")
    assert "BENCH_RUNS and BENCH_CACHE" in line


@pytest.mark.parametrize(
    "place", ["method.origin", "protocol.reference", "method.recipe.lpips_weights", "metrics.0.title"]
)
def test_a_path_is_found_in_every_text(found_in: Found, place: str) -> None:
    assert any(
        f"{place} has a path of one machine, '/home/bob/x'" in line for line in found_in({place: "/home/bob/x"})
    )


@pytest.mark.parametrize(
    "word", ["runs", "and/or", "https://example.org/a/b", "5/3", "ViT-B/32", "1 / samples", "~5 s", "fd+kid", "s:"]
)
def test_what_only_looks_like_a_path_is_accepted(found_in: Found, word: str) -> None:
    assert found_in({"method.origin": word}) == []


@pytest.mark.parametrize("word", ["run/cache", "../runs", "./runs/x", "--data=my/images", "--cache=../cache"])
def test_a_relative_path_in_a_command_line_is_a_warning(found_in: Found, word: str) -> None:
    (line,) = found_in({"provenance.argv": [*ARGV, word]})
    assert line.startswith(f"warning: provenance.argv.{len(ARGV)} has a path that depends on the working folder")
    assert "fix: set BENCH_RUNS and BENCH_CACHE" in line


@pytest.mark.parametrize("words", [["--cache", "run/cache"], ["--runs", "./x/runs"], ["--cache=run/cache"]])
def test_folders_that_the_command_makes_anywhere_have_no_finding(found_in: Found, words: list[str]) -> None:
    """Nothing is read from them that another machine could lack."""
    assert found_in({"provenance.argv": [*ARGV, *words]}) == []


def test_the_relative_path_of_a_plugin_is_no_matter_of_folders(found_in: Found) -> None:
    (line,) = found_in({"provenance.argv": [*ARGV, "--plugin", "examples/mine.py"]})
    assert line.startswith("warning: ") and "fix: send it in a bundle, as bench records pack does" in line


@pytest.mark.parametrize("word", ["alice@node7", "10.1.2.3:29500", "gpu-01.cluster", "login.cs.internal"])
def test_a_machine_or_an_account_is_an_error(found_in: Found, word: str) -> None:
    (line,) = found_in({"provenance.argv": [*ARGV, word]})
    assert "names a machine or an account" in line and line.startswith("error: ")


def test_versions_and_clock_rates_are_no_machines(found_in: Found) -> None:
    more = {
        "provenance.packages.torch": "2.15.0.1",
        "provenance.cpu": "CPU@2.5GHz",
        "provenance.python": "3.11.7.1",
    }
    assert found_in(more) == []


def test_the_name_of_this_machine_and_of_its_user_are_errors(
    found_in: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "mordor7.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "frodo")
    (line,) = found_in({"provenance.argv": [*ARGV, "out-of-mordor7"]})
    assert "has 'mordor7', the name of this machine or of its user" in line
    (line,) = found_in({"method.origin": "plug-in frodo.py"})
    assert "has 'frodo'" in line
    assert found_in({"method.origin": "plug-in frodos.py"}) == []


@pytest.mark.parametrize(
    "word",
    [
        "hf_abcdefghijklmnopqrstuvwx",
        "ghp_0123456789abcdefghijklmnop",
        "AKIAIOSFODNN7EXAMPLE",
        "WANDB_API_KEY=0123456789abcdef",
        "--token=correct-horse",
        "password: correct-horse",
        "https://alice:correct-horse@example.org/x",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_a_secret_is_an_error_that_does_not_repeat_it(found_in: Found, word: str) -> None:
    (line,) = found_in({"provenance.argv": [*ARGV, word]})
    assert line.startswith("error: ") and "what looks like a secret" in line and "revoke it" in line
    assert word not in line and "horse" not in line


def test_the_word_behind_a_telling_option_is_a_secret(found_in: Found) -> None:
    (line,) = found_in({"provenance.argv": [*ARGV, "--hf-token", "correct-horse"]})
    assert line.startswith("error: provenance.argv has a secret behind --hf-token, co...")


@pytest.mark.parametrize("text", ["a\x1b[31mb", "a\u202eb", "a\nb", "a\x00b", "\ufeffa"])
def test_hostile_characters_are_an_error_and_written_out(found_in: Found, text: str) -> None:
    found = found_in({"metrics.0.title": text})
    (line,) = [line for line in found if "control characters or direction marks" in line]
    assert text not in line and line.isprintable()


def test_a_text_of_a_thousand_letters_is_an_error(found_in: Found) -> None:
    assert any(
        "metrics.0.title is a text of 100,000 letters" in line
        for line in found_in({"metrics.0.title": "a" * 100_000})
    )


def test_keys_are_texts_too(found_in: Found) -> None:
    assert any(
        "has a path of one machine, '/home/eve'" in line for line in found_in({"sampler": {"/home/eve": 1}})
    )
