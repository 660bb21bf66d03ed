"""State beside the weights is kept, and mistakes that would change numbers in silence are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_own_distiller import Own, trainer
from tests_support import TINY_PLUGIN
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.models.denoiser import Denoiser
from bench.models.samplers import SampleNoise
from bench.runs.planning import plan_run
from bench.runs.registry import load_catalogue
from bench.runs.runner import Runner
from bench.task.base import PreparedTask
from bench.training.checkpoint import TrainingState, restore_checkpoint, save_checkpoint
from bench.training.distiller import Batch, Recipe, TrainingContext
from bench.training.student_sampler import StudentSampler, checked, few_step_sampler


class Scaled(Own):
    """Divides its loss by the loss's running mean, and counts."""

    def __init__(self, recipe: Recipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        self.mean = self.add_state("mean", torch.ones(()))
        self.seen = self.add_state("seen", torch.zeros(1, dtype=torch.long))

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        out = self.generator(*self.noised(batch.real, batch.real_condition, batch, (0.2, 0.8)))
        loss = (out - batch.real).square().mean()
        self.mean.lerp_(loss.detach(), 0.5)
        self.seen += 1
        self.backward_and_step(self.generator, loss / self.mean)
        return {"loss/own": loss.detach()}


def test_state_beside_the_weights_goes_on_from_a_checkpoint(tiny: PreparedTask, tmp_path: Path) -> None:
    whole = trainer(tiny, tmp_path, Scaled)
    for iteration in range(4):
        if iteration == 2:
            save_checkpoint(tmp_path / "kept", whole.distiller, TrainingState(2, 0.0, "", None))
        whole.step(iteration)
    again = trainer(tiny, tmp_path, Scaled)
    restore_checkpoint(tmp_path / "kept", again.distiller)
    assert again.distiller.state["seen"] == 2
    for iteration in (2, 3):
        again.step(iteration)
    for name, tensor in whole.distiller.state.items():
        assert torch.equal(again.distiller.state[name], tensor)
    for name, weight in whole.distiller.generator.state_dict().items():
        assert torch.equal(again.distiller.generator.state_dict()[name], weight)


def test_a_checkpoint_with_other_state_is_refused(tiny: PreparedTask, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, trainer(tiny, tmp_path, Scaled).distiller, TrainingState(1, 0.0, "", None))
    with pytest.raises(UserError, match="parts mean, seen are missing in it, or the method does not have them"):
        restore_checkpoint(tmp_path, trainer(tiny, tmp_path).distiller)
    longer = trainer(tiny, tmp_path, Scaled).distiller
    longer.state["mean"] = torch.ones(3)  # into which one number could be copied three times
    with pytest.raises(UserError, match="the state mean has another shape"):
        restore_checkpoint(tmp_path, longer)
    with pytest.raises(UserError, match="Scaled adds 'mean' twice"):
        longer.add_state("mean", torch.ones(3))


def test_a_checkpoint_from_before_there_was_state_is_read(tiny: PreparedTask, tmp_path: Path) -> None:
    distiller = trainer(tiny, tmp_path).distiller
    save_checkpoint(tmp_path, distiller, TrainingState(1, 0.0, "", None))
    path = tmp_path / "0000001.pt"
    content = torch.load(path, weights_only=True)
    del content["state"]
    torch.save(content, path)
    state = restore_checkpoint(tmp_path, distiller)
    assert state is not None and state.iteration == 1


class Counting(Own):
    """A student that counts its calls in a buffer of whole numbers, as batch normalisation does."""

    def build_student(self, teacher: Denoiser) -> Denoiser:
        student = super().build_student(teacher)
        student.register_buffer("calls", torch.zeros((), dtype=torch.long))
        return student

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        self.generator.network.calls += 1
        return super().training_step(batch)


def test_the_ema_of_a_student_takes_its_counters_as_they_are(tiny: PreparedTask, tmp_path: Path) -> None:
    training = trainer(tiny, tmp_path, Counting, ema_decay=0.9)
    for iteration in range(3):
        training.step(iteration)
    assert training.evaluated.average is not None
    assert training.evaluated.average["calls"] == 3


class Twice(Own):
    """Steps the student twice in an iteration."""

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        super().training_step(batch)
        return super().training_step(batch)


def test_two_steps_in_an_iteration_are_refused_in_micro_batches_alone(tiny: PreparedTask, tmp_path: Path) -> None:
    """The second one's first backward pass would lose the gradients of the first one."""
    whole = trainer(tiny, tmp_path, Twice)
    whole.step(0)
    assert whole.distiller.generator.updates == 2
    with pytest.raises(UserError, match=r"'generator' has two steps in one iteration, .*gradient_accumulation=1"):
        trainer(tiny, tmp_path, Twice, gradient_accumulation=2).step(0)


def test_the_teachers_own_weights_are_not_trained(tiny: PreparedTask, tmp_path: Path) -> None:
    distiller = trainer(tiny, tmp_path).distiller
    with pytest.raises(
        UserError, match=r"'critic' with the teacher's own .*fix: .*trainable_copy\(self\.teacher\)"
    ):
        distiller.add_model("critic", nn.Sequential(distiller.teacher.requires_grad_(True)), 1e-3)


def sampled(tiny: PreparedTask, make: Any) -> Tensor:
    """Sample three images by a checked sampler, whose `sample` is `make(one of one step, the student)`."""
    few = few_step_sampler(tiny.teacher, [900])
    sampler = checked(replace(few, sample=make(few, tiny.teacher)), tiny.teacher)
    return sampler(SampleNoise([0, 1, 2], tiny.sample_shape), torch.zeros(3, dtype=torch.long))


def test_a_sampler_that_does_as_it_says_gives_its_images(tiny: PreparedTask) -> None:
    few = few_step_sampler(tiny.teacher, [900])
    plain = few(SampleNoise([0, 1, 2], tiny.sample_shape), torch.zeros(3, dtype=torch.long))
    assert torch.equal(sampled(tiny, lambda few, _: few.sample), plain)


def test_a_sampler_with_more_passes_than_it_says_is_refused(tiny: PreparedTask) -> None:
    """Its row would be compared with students of one step."""

    def make(few: StudentSampler, _student: Denoiser) -> Any:
        return lambda noise, condition: few.sample(noise, condition) + few.sample(noise, condition)

    with pytest.raises(UserError, match=r"says evaluations=1, and passes each image 2 times .*evaluations=2"):
        sampled(tiny, make)


def test_a_sampler_with_noise_of_the_global_generator_is_refused(tiny: PreparedTask) -> None:
    def make(few: StudentSampler, _student: Denoiser) -> Any:
        return lambda noise, condition: few.sample(noise, condition) + torch.randn(1)

    with pytest.raises(UserError, match=r"global generator.*fix: draw all noise by noise\.draw\(\)"):
        sampled(tiny, make)


FAILING = '''
from bench.training.distiller import Distiller

class Failing(Distiller):
    """Forgets its student."""

    name = "failing"

    def training_step(self, batch):
        return {"loss/x": self.gone(batch)}
'''


def test_a_failed_training_names_the_line_of_the_plugin(tiny: PreparedTask, tmp_path: Path) -> None:
    plugin = tmp_path / "failing.py"
    plugin.write_text(FAILING)
    catalogue = load_catalogue([TINY_PLUGIN, plugin])
    recipe = {"iterations": 2, "batch_size": 4, "warmup": 0}
    run = plan_run(catalogue, "failing", catalogue.tasks.get("tiny"), recipe, 0, tmp_path / "runs")
    record = Runner(catalogue, tiny, SilentProgress()).run(run)
    assert record.error is not None
    assert "no attribute 'gone'" in record.error.message
    assert record.error.message.endswith("(in line 10 of plug-in failing.py)")
