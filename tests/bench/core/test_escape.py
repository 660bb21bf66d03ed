"""Foreign text comes out harmless in a terminal."""

import pytest
from rich.console import Console

from bench.core.escape import csv_text, is_file_name, is_name, markdown, printable, rich_text, shell_path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – ünïcode 日本", "plain – ünïcode 日本"),
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("a\u202eright to left", "a\\u202eright to left"),
        ("\udcff", "\\udcff"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_text_of_several_lines_keeps_them() -> None:
    assert printable("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


@pytest.mark.parametrize("text", ["[/x]", "[red]a[/red]", "a\\[b", "tensor[0:3]"])
def test_brackets_are_no_markup(text: str) -> None:
    console = Console(width=40)
    with console.capture() as shown:
        console.print(rich_text(text))
    assert shown.get() == f"{text}\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dmd2_4step, betas=[0.0, 0.999]", "dmd2_4step, betas=[0.0, 0.999]"),
        ("12.3 [11.0, 13.5] (n=3)", "12.3 [11.0, 13.5] (n=3)"),
        ("a|b", "a\\|b"),
        ("a\\|b", "a\\\\\\|b"),
        ("two\nlines", "two\\\\nlines"),
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("&lt;b&gt; & c", "&amp;lt;b&amp;gt; & c"),
        ("`rm -r`", "\\`rm -r\\`"),
        ("**bold** _word_ __init__", "\\*\\*bold\\*\\* \\_word\\_ \\__init_\\_"),
        ("[x](javascript:1) ![y](z) [a][b]", "[x]\\(javascript:1) \\![y]\\(z) [a]\\[b]"),
        ("~~gone~~ $x$", "\\~\\~gone\\~\\~ \\$x\\$"),
        ("a\x1b[31m", "a\\\\x1b[31m"),
    ],
)
def test_markdown_shows_text_literally(text: str, shown: str) -> None:
    assert markdown(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *((one, one) for one in ("dmd2", "-1.5", "+3", "-1e-7", "-.5", "1=1", "", "a\nb", 'quoted "x", y')),
        ("=1+1", "'=1+1"),
        ("=HYPERLINK(0)", "'=HYPERLINK(0)"),
        ("-1+1|cmd", "'-1+1|cmd"),
        ("+cmd", "'+cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "\\r=1"),
        ("  =1", "'  =1"),
        ("\uff1d1", "'\uff1d1"),
        ("a\x00b\x1b", "a\\x00b\\x1b"),
    ],
)
def test_no_csv_field_is_a_formula_and_numbers_stay(text: str, shown: str) -> None:
    assert csv_text(text) == shown


@pytest.mark.parametrize("name", ["digits", "dmd2-4step", "my_task.v2", "größe", "a+b", "3d"])
def test_names_can_be_folders(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../evil", "a/b", "-x", "a b", "a\n", "a\x1b[31m", "x" * 201, "[red]", None, 3]
)
def test_what_leaves_its_folder_or_is_an_option_is_no_name(name: object) -> None:
    assert not is_name(name)


@pytest.mark.parametrize("name", ["mine.py", "my method.py", "it's (2).toml", "größe 日本.py", "a+b.py"])
def test_files_may_have_blanks_and_quotes(name: str) -> None:
    assert is_file_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".py", "..", "../a.py", "a\\b.py", "C:a.py", 'a"b.py', "-x.py", " a", "a ", "a\n", "a\u202e", "x" * 201],
)
def test_what_a_system_refuses_or_takes_for_an_option_is_no_file_name(name: str) -> None:
    assert not is_file_name(name)


@pytest.mark.parametrize(
    ("path", "word"), [("runs", "runs"), ("my runs", "'my runs'"), ("-x", "./-x"), ("it's", "'it'\"'\"'s'")]
)
def test_a_path_is_one_word_of_a_command_and_no_option(path: str, word: str) -> None:
    assert shell_path(path) == word
