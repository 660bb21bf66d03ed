"""The tasks of benchmarks of composition, as they are declared."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.task.declaration import Sources
from bench.task.pinned import read_pinned
from tasks.compositional import TASK_DPG, TASK_GENEVAL, TASK_OCR


def test_every_prompt_of_a_published_file_has_its_images() -> None:
    assert (TASK_GENEVAL.protocol.samples, TASK_DPG.protocol.samples) == (553 * 4, 1065 * 4)
    assert TASK_OCR.protocol.samples == 1018
    assert TASK_DPG.under("dpg-as-official").protocol.metrics == ("dpg-official", "dpg")


def test_the_benchmark_s_file_is_no_weights_of_a_single_task() -> None:
    """It is pinned for every task, so that a metric reads it on any."""
    for task in (TASK_GENEVAL, TASK_DPG):
        assert task.benchmark is not None
        assert task.benchmark.name not in task.weight_names


def test_declaring_them_imports_no_torch() -> None:
    code = "import sys, tasks.compositional, bench.features.compositional; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_prompts_that_quote_no_text_are_refused_when_they_are_named(tmp_path: Path) -> None:
    """Not after the images of all prompts before them were made."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text('a sign that says "open"\na red cat\n')
    with pytest.raises(UserError, match=r"prompts\.txt: prompt 'a red cat' has no text in double quotes"):
        TASK_OCR.pin(Sources(tmp_path, prompts=prompts), SilentProgress())
    assert read_pinned(TASK_OCR.pinned_path(tmp_path)) == {}
