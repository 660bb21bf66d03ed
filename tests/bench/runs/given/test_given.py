"""Images from outside are measured as a sampler's are, to the bit, and stand in tables under their own name."""

from __future__ import annotations

import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command import Printed
from given_forms import shards_of, write_folder, zip_of
from tests_support import TINY_PLUGIN

from bench.core.errors import UserError
from bench.core.files import file_sha256
from bench.evaluation.image_source import SampledImages
from bench.runs.given.plan import checked_name
from bench.runs.plan import BaselineRun
from bench.runs.records import read_record
from bench.runs.repeat import command_of
from bench.runs.runner import Runner
from bench.task.base import PreparedTask

Evaluate = Callable[..., Printed]


@pytest.fixture(scope="module")
def made(tiny: PreparedTask) -> np.ndarray:
    """What the teacher's first sampler makes in both repetitions: 2 x 120 images."""
    sampler = tiny.sampled(tiny.task.baselines["teacher-ode"]).sampler
    source, samples = SampledImages(sampler, tiny), tiny.task.protocol.samples
    batches = [source.batch(repetition, 0, samples).images for repetition in range(2)]
    return torch.cat(batches).numpy()


@pytest.fixture
def folder(made: np.ndarray, tmp_path: Path) -> Path:
    return write_folder(tmp_path / "mine", made)


@pytest.fixture
def evaluate(bench: Callable[..., Printed]) -> Evaluate:
    return lambda *arguments: bench("eval", "--task", "tiny", "--plugin", TINY_PLUGIN, *arguments)


def record_in(printed: Printed) -> Path:
    """The record's file, whose path is printed first."""
    assert printed.code == 0, printed.text
    line = next(line for line in printed.text.splitlines() if line.startswith("record: "))
    return Path(line.removeprefix("record: "))


def test_a_folder_a_zip_and_shards_give_the_numbers_of_the_sampler_that_made_them(
    folder: Path, runner: Runner, evaluate: Evaluate, tmp_path: Path
) -> None:
    run = BaselineRun(runner.prepared.task, tmp_path / "own", runner.prepared.task.baselines["teacher-ode"])
    own = runner.baseline(run)
    forms = {
        "folder": folder,
        "zip": zip_of(folder, tmp_path / "mine.zip"),
        "shards": shards_of(folder, tmp_path / "shards"),
        "pattern": tmp_path / "shards" / "{000..001}.tar",
    }
    ids = set()
    for name, path in forms.items():
        runs = tmp_path / name
        record = read_record(record_in(evaluate("--images", path, "--name", "mine", "--runs", runs)))
        assert record.metrics == own.metrics
        assert record.method.name == "mine" and record.sampler["images"] == "given"
        ids.add(record.run_id)
    assert len(ids) == 1, "the pixels alone are the identity"


def test_a_function_gives_the_numbers_of_the_sampler_whose_images_it_returns(
    made: np.ndarray, runner: Runner, evaluate: Evaluate, tmp_path: Path
) -> None:
    np.save(tmp_path / "made.npy", made)
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import numpy as np\n"
        f"IMAGES = np.load({str(tmp_path / 'made.npy')!r})\n"
        "def draw(classes, seeds):\n"
        f"    assert all((seed - {runner.prepared.task.protocol.first_seed}) % 120 % 10 == c\n"
        "               for c, seed in zip(classes, seeds))\n"
        f"    return IMAGES[[seed - {runner.prepared.task.protocol.first_seed} for seed in seeds]]\n"
    )
    run = BaselineRun(runner.prepared.task, tmp_path / "own", runner.prepared.task.baselines["teacher-ode"])
    record = read_record(record_in(evaluate("--sampler", f"{plugin}:draw")))
    assert record.metrics == runner.baseline(run).metrics
    assert record.sampler == {"images": "function", "file": "mine.py", "function": "draw"}
    assert record.checkpoint is not None and record.checkpoint.sha256 == file_sha256(plugin)


def test_the_file_of_a_function_is_packed_with_its_record(
    evaluate: Evaluate, bench: Evaluate, tmp_path: Path
) -> None:
    mine, out = tmp_path / "mine.py", tmp_path / "mine.zip"
    mine.write_text(
        "import numpy as np\n"
        "def draw(classes, seeds):\n"
        "    return np.stack([np.full((1, 8, 8), seed % 256, np.uint8) for seed in seeds])\n"
    )
    run = record_in(evaluate("--sampler", f"{mine}:draw")).parent
    pack = "records", "pack", "--plugin", TINY_PLUGIN, "--allow", "dirty,smoke", run, "--out", out
    mine.rename(tmp_path / "moved.py")
    refused = bench(*pack)
    assert refused.code == 2 and "the file of its function, mine.py, is gone or was changed" in refused.text
    assert f"fix: put it back at {mine} as it was, or evaluate again" in refused.text
    (tmp_path / "moved.py").rename(mine)
    assert bench(*pack).code == 0
    with zipfile.ZipFile(out) as archive:
        assert archive.read(f"plugins/{file_sha256(mine)}/mine.py") == mine.read_bytes()
    checked = bench("records", "check", out, "--plugin", TINY_PLUGIN)
    assert "the file of a function of these runs, which nothing here has run" in checked.text
    assert f"--sampler {tmp_path}/mine/plugins/{file_sha256(mine)}/mine.py:draw" in checked.text


def test_the_images_of_one_repetition_give_a_single_value(folder: Path, evaluate: Evaluate) -> None:
    for number in range(120, 240):
        (folder / f"{number:06d}.png").unlink()
    record = read_record(record_in(evaluate("--images", folder)))
    fd = next(one for one in record.metrics if one.name == "fd")
    assert len(fd.values) == 1 and fd.low is None and fd.std is None
    assert record.sampler["repetitions"] == 1 and record.method.name == "mine"


def test_a_black_image_is_measured_like_any_other(made: np.ndarray, evaluate: Evaluate, tmp_path: Path) -> None:
    black = made.copy()
    black[3] = 0
    printed = [
        evaluate("--images", write_folder(tmp_path / name, images))
        for name, images in (("mine", made), ("black", black))
    ]
    mine, other = (read_record(record_in(one)).metrics for one in printed)
    assert [one.samples for one in other] == [one.samples for one in mine]
    assert mine[0].values[0] != other[0].values[0] and mine[0].values[1] == other[0].values[1]


def test_the_record_says_what_is_not_known(folder: Path, evaluate: Evaluate, bench: Evaluate) -> None:
    path = record_in(evaluate("--images", folder, "--name", "my model"))
    record = read_record(path)
    assert record.cost.network_evaluations is None and record.cost.parameters is None
    assert record.run_id.startswith("my-model-") and record.kind == "baseline"
    assert record.checkpoint is not None and record.checkpoint.weights == "none"
    assert (path.parent / "sheet.png").is_file()
    assert command_of(record) == shlex.join(record.provenance.argv)
    table = bench("report", "--task", "tiny", "--plugin", TINY_PLUGIN, "--wide")
    assert table.code == 0 and "my model" in table.text and "images given" in table.text
    assert "nan" not in table.text


def test_the_same_name_as_a_method_or_a_sampler_is_refused(tiny: PreparedTask) -> None:
    for name in ("dmd2", "teacher-ode", "…", "-"):
        with pytest.raises(UserError, match='fix: --name "my model"'):
            checked_name(name, tiny.task, ["dmd2"])
    assert checked_name("my model 2", tiny.task, ["dmd2"]) == "my model 2"
