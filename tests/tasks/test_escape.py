"""Foreign text comes out harmless in a terminal."""

import pytest
from rich.console import Console

from tasks.escape import printable, rich_text


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
