"""Fixes of messages delete only what bench made and can make again; their commands exist with their options."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from bench.cli import command_line

ROOT = Path(__file__).parent.parent
DELETES = re.compile(r"\brm (-r )?|\b[Dd]elete ")

MADE_BY_BENCH = {
    "bench/core/made.py": "what a task trained or drew for itself, in the cache",
    "bench/data/folder.py": "the note in the cache of which images were packed",
    "bench/data/imagenet/pack.py": "packed images in the cache",
    "bench/data/packed_folder.py": "a packed data set in the cache",
    "bench/data/text/latents.py": "packed latents in the cache",
    "bench/evaluation/repetition.py": "the file of one repetition of an evaluation",
    "bench/evaluation/teacher_images.py": "the teacher's images in the cache",
    "bench/features/pinned.py": "the note in the cache of which weights were named",
    "bench/features/references/store.py": "a reference in the cache",
    "bench/features/weights.py": "a download in the cache",
    "bench/cli/metrics.py": "references in the cache",
    "bench/runs/packing/pack.py": "a record that the user chooses to replace",
    "bench/runs/repeat.py": "the folder of a sampler's run",
    "bench/runs/students/trained.py": "the note that a training is over",
    "bench/task/pairs.py": "teacher pairs in the cache",
    "bench/task/pinned.py": "the note in the cache of what was prepared",
    "bench/training/best.py": "the best student so far, as the message says",
    "bench/training/checkpoint.py": "a checkpoint or a training, as the message says",
    "slurm/submission.py": "the list of a submission's jobs, as the message says",
    "tasks/imagenet/task.py": "the note in the cache of what was prepared",
}
"""What the messages of each file tell to delete."""


def _messages(path: Path) -> list[str]:
    """Return a file's strings, those of f-strings among them, without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]


def test_each_file_whose_messages_delete_something_is_known() -> None:
    files = [path for part in ("bench", "methods", "tasks", "slurm") for path in (ROOT / part).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in files if any(map(DELETES.search, _messages(path)))}
    assert found == MADE_BY_BENCH.keys(), "a fix that deletes must only delete what bench can make again"


CODE = ("bench", "methods", "tasks", "slurm", "examples", "benchmarks")
COMMAND = re.compile(r"(?:^|(?<=[\s`(\"']))bench (?P<words>[a-z]+(?: [a-z]+)?)(?=(?P<rest>[^;`\n]*))")
"""A command in a text; `rest` may go on with prose, which has options of its own behind a comma."""
PROSE = ("wrote", "alone", "knows", "starts", "from", "does", "sets")
"""Words behind `bench` where it is the program's name and no command."""
LATER = re.compile(r", (?:or|then|and|measure) |(?<=\s)bench [a-z]|\s#")
"""What comes after a command in the same sentence."""
MAIN = get_command(command_line())


def _texts() -> Iterator[tuple[str, str]]:
    """Yield every text that may name a command, with its place; what is filled in is an X."""
    for path in (path for part in CODE for path in sorted((ROOT / part).rglob("*.py"))):
        for node in _literals(ast.parse(path.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            text = "".join(str(one.value) if isinstance(one, ast.Constant) else "X" for one in parts)
            yield f"{path.relative_to(ROOT)}:{node.lineno}", text
    for path in sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")} - {ROOT / "CHANGELOG.md"}):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8").replace("\\\n", " ")


def _literals(node: ast.AST) -> Iterator[ast.JoinedStr | ast.Constant]:
    """Yield the texts of a file, an f-string as a whole."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from _literals(child)


def _wrong(words: list[str], rest: str) -> str:
    """Say which command or option of a text is none; empty if all exist."""
    command, left = MAIN, list(words)
    while isinstance(command, TyperGroup) and left:
        if left[0] not in command.commands:  # prose may follow the name of a group
            return f"no command {left[0]}" if command is MAIN else ""
        command = command.commands[left.pop(0)]
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
    unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", LATER.split(rest)[0])) - known
    return f"{command.name} takes no {', '.join(sorted(unknown))}" if unknown else ""


def test_each_command_in_a_message_or_a_page_exists_and_takes_its_options() -> None:
    found = [
        (place, one["words"].split(), one["rest"]) for place, text in _texts() for one in COMMAND.finditer(text)
    ]
    commands = [one for one in found if one[1][0] not in PROSE]
    assert len(commands) > 300
    assert not [f"{place}: {wrong}" for place, words, rest in commands if (wrong := _wrong(words, rest))]


@pytest.mark.parametrize(
    ("words", "rest"),
    [("prepare", " --seed 1"), ("records pack", " RUN --method x"), ("fetch", ""), ("status", " a --cache X")],
)
def test_a_command_that_is_none_is_found(words: str, rest: str) -> None:
    assert _wrong(words.split(), rest)
