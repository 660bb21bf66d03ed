"""The fixes of messages delete nothing that users brought: only what bench made itself and can make again."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DELETES = re.compile(r"\brm (-r )?|\b[Dd]elete ")

MADE_BY_BENCH = {
    "bench/core/made.py": "what a task trained or drew for itself, in the cache",
    "bench/data/folder.py": "the note in the cache of which images were packed",
    "bench/data/imagenet/pack.py": "packed images in the cache",
    "bench/data/packed_folder.py": "a packed data set in the cache",
    "bench/data/text/latents.py": "packed latents in the cache",
    "bench/evaluation/evaluator.py": "the file of one repetition of an evaluation",
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
