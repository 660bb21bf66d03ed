"""The training loop: an iteration does not depend on how its batch is divided."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.core.run_folder import METRICS
from bench.runs.registry import Catalogue, load_catalogue
from bench.task.base import PreparedTask
from bench.training.cadence import Cadence
from bench.training.distiller import TrainingContext
from bench.training.log import read_lines
from bench.training.trainer import Trainer


def trainer(catalogue: Catalogue, tiny: PreparedTask, folder: Path, method: str, **values: object) -> Trainer:
    """Return a trainer of a built-in method on the tiny task."""
    entry = catalogue.methods.get(method)
    recipe = entry.recipe(tiny.task.name, "micro", {"iterations": 10, "batch_size": 12, **values})
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(0)
    context = TrainingContext(accelerator, tiny.teacher, None, lambda _: pytest.fail("no pairs here"))
    return Trainer(entry.load()(recipe, context), tiny, 0, folder, accelerator)


@pytest.mark.parametrize("turn", [1, 2, 5, 10])
def test_the_log_has_the_generators_terms_however_rare_its_turns_are(
    catalogue: Catalogue, tiny: PreparedTask, tmp_path: Path, turn: int
) -> None:
    """With a turn in every fifth iteration, no tenth iteration is one."""
    values = {"iterations": 60, "batch_size": 4, "critic_updates_per_generator_update": turn}
    one = trainer(catalogue, tiny, tmp_path, "dmd2", **values)
    one.run(Cadence(60, 60), SilentProgress(), lambda _: {})
    lines = read_lines(tmp_path / METRICS)
    terms = {"loss/dm", "loss/gan", "image_gradient/dm", "image_gradient/gan", "gradient/generator"}
    turns = [line["iteration"] for line in lines if terms <= line.keys()]
    assert len(turns) >= 5
    assert all((iteration - 1) % turn == 0 for iteration in turns)
    assert {10, 20, 30, 40, 50, 60} <= {line["iteration"] for line in lines if "loss/denoising" in line}


def test_the_log_has_the_terms_of_every_network_that_has_turns(tiny: PreparedTask, tmp_path: Path) -> None:
    """With the auxiliary network's turns in even iterations, from 0, every tenth one is the student's."""
    file = Path(__file__).parents[3] / "examples" / "moment_matching.py"
    values = {"iterations": 60, "batch_size": 4, "alarms": "off"}
    one = trainer(load_catalogue([file]), tiny, tmp_path, "moment-matching", **values)
    one.run(Cadence(60, 60), SilentProgress(), lambda _: {})
    lines = read_lines(tmp_path / METRICS)
    for term, rest in (("loss/denoising", 1), ("gradient/auxiliary", 1), ("loss/moment", 0)):
        turns = [line["iteration"] for line in lines if term in line]
        assert len(turns) >= 5 and {iteration % 2 for iteration in turns} == {rest}, term


@pytest.mark.parametrize("method", ["dmd2", "gan-ttur"])
def test_micro_batches_give_the_gradients_of_the_whole_batch(
    catalogue: Catalogue, tiny: PreparedTask, tmp_path: Path, method: str
) -> None:
    norms = {}
    for parts in (1, 3):
        one = trainer(catalogue, tiny, tmp_path, method, gradient_accumulation=parts)
        norms[parts] = one.step(0)
        assert one.distiller.generator.updates == 1
    assert {"gradient/generator", "gradient/critic"} <= set(norms[1])
    for name in ("gradient/generator", "gradient/critic"):
        torch.testing.assert_close(norms[3][name], norms[1][name], rtol=1e-4, atol=0)


def test_ten_iterations_in_micro_batches_give_the_same_student(
    catalogue: Catalogue, tiny: PreparedTask, tmp_path: Path
) -> None:
    """Weights are compared instead of single steps, since Adam divides by small numbers."""
    students = []
    for parts in (1, 3):
        one = trainer(catalogue, tiny, tmp_path, "dmd2", gradient_accumulation=parts, warmup=0)
        for iteration in range(10):
            one.step(iteration)
        students.append(torch.cat([p.flatten() for p in one.evaluated.copy().parameters()]))
    moved = (students[0] - torch.cat([p.flatten() for p in tiny.teacher.parameters()])).norm()
    assert (students[0] - students[1]).norm() < 0.02 * moved


def test_a_recomputed_forward_gives_the_same_gradients(
    catalogue: Catalogue, tiny: PreparedTask, tmp_path: Path
) -> None:
    plain, again = (
        trainer(catalogue, tiny, tmp_path, "dmd2", gradient_checkpointing=on).step(0) for on in (False, True)
    )
    for name in ("gradient/generator", "gradient/critic"):
        torch.testing.assert_close(again[name], plain[name], rtol=1e-5, atol=0)


def test_a_batch_that_does_not_divide_is_refused_with_those_that_do(
    catalogue: Catalogue, tiny: PreparedTask, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"batch_size 12 does not divide into 5 equal shares.*batch_size=10 or 15"):
        trainer(catalogue, tiny, tmp_path, "dmd2", gradient_accumulation=5)
