"""A distiller owns how its student is built, sampled and optimised, and its target networks; all of it is kept."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from accelerate import Accelerator
from tests_support import TINY_PLUGIN
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.core.run_folder import PLAN
from bench.jobs.spec import JobSettings
from bench.models.denoiser import Denoiser
from bench.runs.planning import plan_run
from bench.runs.registry import load_catalogue
from bench.runs.runner import Runner
from bench.runs.students.saved import sampler_of
from bench.task.base import PreparedTask
from bench.task.declaration import Sources
from bench.training.cadence import Cadence
from bench.training.checkpoint import TrainingState, restore_checkpoint, save_checkpoint, start_from
from bench.training.distiller import (
    Batch,
    Distiller,
    MicroBatch,
    Noised,
    Recipe,
    TrainedModel,
    TrainingContext,
    frozen,
)
from bench.training.student_sampler import StudentSampler, few_step_sampler
from bench.training.trained_model import TargetNetwork
from bench.training.trainer import Trainer

EXAMPLE = Path(__file__).parents[2] / "examples" / "consistency.py"


class Own(Distiller[Recipe]):
    """The student agrees with its target; plain SGD, a smaller student, a sampler of two steps."""

    decay: ClassVar = 0.5

    def __init__(self, recipe: Recipe, context: TrainingContext) -> None:
        super().__init__(recipe, context)
        self.target = self.add_target("target", self.add_student(), self.build_student(self.teacher), self.decay)

    def build_student(self, teacher: Denoiser) -> Denoiser:
        student = super().build_student(teacher)
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.mul_(0.9)
        return student

    def build_optimizer(self, network: nn.Module, lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(network.parameters(), lr=lr)

    @classmethod
    def sampler(cls, recipe: Recipe, student: Denoiser) -> StudentSampler:  # noqa: ARG003
        two = few_step_sampler(student, [900, 300])
        return StudentSampler(two.sample, two.evaluations, {"kind": "two of my own"})

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        noised = self.noised(batch.real, batch.real_condition, batch, (0.2, 0.8))
        with torch.no_grad():
            goal = (self.target(*noised) + self.teacher_step(noised, noised.t / 2).x_t) / 2
        loss = (self.generator(*noised) - goal).square().mean()
        self.backward_and_step(self.generator, loss)
        self.update_target(self.target)
        return {"loss/own": loss.detach()}


def trainer(tiny: PreparedTask, folder: Path, cls: type[Distiller[Any]] = Own, **values: object) -> Trainer:
    recipe = cls.recipe_model.model_validate({"iterations": 6, "batch_size": 4, "warmup": 0, "lr": 1e-3} | values)
    accelerator = Accelerator(cpu=True)
    context = TrainingContext(accelerator, copy.deepcopy(tiny.teacher), None, lambda _: pytest.fail("no pairs"))
    return Trainer(cls(recipe, context), tiny, 0, folder, accelerator)


def state_of(distiller: Distiller[Any]) -> dict[str, Tensor]:
    networks = {**distiller.models, **distiller.targets}
    return {f"{n}.{k}": v.clone() for n, one in networks.items() for k, v in one.network.state_dict().items()}


def example() -> type[Distiller[Any]]:
    return load_catalogue([EXAMPLE]).methods.get("my-consistency").load()


class Wrapped(nn.Module):
    """Stands where DDP would: it counts the calls that go through it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.network(x)


def test_only_calls_that_train_go_through_the_wrapper() -> None:
    network = nn.Linear(2, 2)
    wrapped = Wrapped(network)
    model = TrainedModel(network, wrapped, torch.optim.SGD(network.parameters(), lr=1.0), 1.0)
    x = torch.ones(1, 2, requires_grad=True)
    with torch.no_grad():
        model(x)
    assert wrapped.calls == 0
    with frozen(network):
        model(x).sum().backward()
    assert wrapped.calls == 0 and x.grad is not None and network.weight.grad is None
    model(x).sum().backward()
    assert wrapped.calls == 1 and network.weight.grad is not None
    network.bias.requires_grad_(False)  # partly frozen, as the critic of a GAN alone
    model(x)
    assert wrapped.calls == 2


class Grouped(Own):
    """Biases have ten times the rate of weights."""

    def build_optimizer(self, network: nn.Module, lr: float) -> torch.optim.Optimizer:
        weights = [one for one in network.parameters() if one.dim() > 1]
        biases = [one for one in network.parameters() if one.dim() <= 1]
        return torch.optim.SGD([{"params": weights}, {"params": biases, "lr": 10 * lr}], lr=lr)


def test_the_groups_of_an_own_optimiser_keep_the_ratio_of_their_rates(tiny: PreparedTask, tmp_path: Path) -> None:
    training = trainer(tiny, tmp_path, Grouped, warmup=4)
    optimizer = training.distiller.generator.optimizer
    for iteration, share in ((0, 0.25), (3, 1.0)):
        training.distiller.set_rates(iteration)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-3 * share, 1e-2 * share])
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})
    with pytest.raises(UserError, match=r"3 groups, and was built with 2; fix: make every group in build_opt"):
        training.distiller.set_rates(0)


def test_a_target_is_the_exponential_average_of_its_model() -> None:
    network = nn.BatchNorm1d(2)
    model = TrainedModel(network, network, torch.optim.SGD(network.parameters(), lr=1.0), 1.0)
    target = TargetNetwork(copy.deepcopy(network), model, 0.75)
    assert not any(parameter.requires_grad for parameter in target.network.parameters())
    for value in (3.0, 5.0):
        with torch.no_grad():
            network.weight.fill_(value)
            network.num_batches_tracked.fill_(int(value))
        target.update()
    expected = 0.75 * (0.75 * 1 + 0.25 * 3) + 0.25 * 5
    assert target.network.state_dict()["weight"].tolist() == pytest.approx([expected] * 2)
    assert target.network.state_dict()["num_batches_tracked"] == 5


def test_a_target_moves_once_in_an_iteration_whatever_the_micro_batches(
    tiny: PreparedTask, tmp_path: Path
) -> None:
    found = []
    for parts in (1, 2):
        one = trainer(tiny, tmp_path, gradient_accumulation=parts)
        before = state_of(one.distiller)
        one.step(0)
        after = state_of(one.distiller)
        found.append(after)
        moved = [key for key in after if key.startswith("generator.") and not torch.equal(before[key], after[key])]
        for key in moved:
            target = key.replace("generator.", "target.")
            torch.testing.assert_close(after[target], (before[target] + after[key]) / 2)
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cls", [Own, example()])
def test_training_goes_on_from_a_checkpoint_with_the_same_bits(
    cls: type[Distiller[Any]], tiny: PreparedTask, tmp_path: Path
) -> None:
    whole = trainer(tiny, tmp_path, cls)
    for iteration in range(4):
        if iteration == 2:
            save_checkpoint(tmp_path / "kept", whole.distiller, TrainingState(2, 0.0, "", None))
        whole.step(iteration)
    again = trainer(tiny, tmp_path, cls)
    assert restore_checkpoint(tmp_path / "kept", again.distiller) is not None
    for iteration in (2, 3):
        again.step(iteration)
    expected, found = state_of(whole.distiller), state_of(again.distiller)
    assert expected.keys() == found.keys() and any(key.startswith("target.") for key in found)
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_a_checkpoint_without_the_target_is_refused(tiny: PreparedTask, tmp_path: Path) -> None:
    distiller = trainer(tiny, tmp_path).distiller
    save_checkpoint(tmp_path, distiller, TrainingState(1, 0.0, "", None))
    path = tmp_path / "0000001.pt"
    torch.save(torch.load(path, weights_only=True) | {"targets": {}}, path)
    with pytest.raises(UserError, match="parts target are missing in it"):
        restore_checkpoint(tmp_path, distiller)


def test_targets_start_where_init_from_lets_their_models_start(tiny: PreparedTask, tmp_path: Path) -> None:
    first = trainer(tiny, tmp_path)
    first.step(0)
    save_checkpoint(tmp_path / "checkpoints", first.distiller, TrainingState(1, 0.0, "", None))
    second = trainer(tiny, tmp_path).distiller
    start_from(tmp_path, second)
    found, trained = state_of(second), state_of(first.distiller)
    for key, value in trained.items():
        if key.startswith("generator."):
            assert torch.equal(found[key], value)
            assert torch.equal(found[key.replace("generator.", "target.")], value)


def test_a_student_is_sampled_as_its_distiller_says(tiny: PreparedTask, tmp_path: Path) -> None:
    """In the looks on the way, in the result, in its record and its cost."""
    plugin = tmp_path / "own.py"
    plugin.write_text(f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n" + OWN_FILE)
    catalogue = load_catalogue([TINY_PLUGIN, plugin])
    recipe = {"iterations": 2, "batch_size": 4, "warmup": 0, "lr": 1e-3}
    run = plan_run(catalogue, "mine", catalogue.tasks.get("tiny"), recipe, 0, tmp_path / "runs")
    record = Runner(catalogue, tiny, SilentProgress()).run(run)
    assert record.error is None, record.error
    assert record.sampler == {"kind": "two of my own"}
    assert record.cost.network_evaluations == 2

    JobSettings(tmp_path / "runs", Sources(tmp_path)).run(run).write()  # as a command does
    student, indices = tiny.load_student(run.folder / "student")
    assert sampler_of(catalogue, run.folder, student, indices).description == {"kind": "two of my own"}
    for name in ("student", "best", "best/student"):
        assert sampler_of(catalogue, run.folder / name, student, indices).description == {"kind": "two of my own"}
    assert sampler_of(catalogue, tmp_path, student, indices).description["kind"] == "few-step"
    with pytest.raises(
        UserError, match=r"run of the method 'mine', which is not registered.*fix: .*--plugin FILE"
    ):
        sampler_of(load_catalogue([TINY_PLUGIN]), run.folder, student, indices)
    plugin.write_text(plugin.read_text() + "# edited\n")  # perhaps its sampler: the record would have the old hash
    with pytest.raises(UserError, match=rf"trained with plug-in own\.py of SHA-256 {run.plugin_sha256[:12]}, and"):
        sampler_of(load_catalogue([TINY_PLUGIN, plugin]), run.folder, student, indices)

    def planned_with(**values: str) -> None:
        plan = json.loads((run.folder / PLAN).read_text())
        (run.folder / PLAN).write_text(json.dumps(plan | values))

    planned_with(origin="theirs 1.0")
    with pytest.raises(UserError, match=r"trained with theirs 1\.0 of .*fix: install theirs 1\.0 as it was, or"):
        sampler_of(load_catalogue([TINY_PLUGIN, plugin]), run.folder, student, indices)
    planned_with(origin="plug-in own.py", plugin_sha256="")  # as earlier versions planned methods of packages
    assert sampler_of(load_catalogue([TINY_PLUGIN, plugin]), run.folder, student, indices)


OWN_FILE = """
from test_own_distiller import Own

class Mine(Own):
    "A distiller with everything of its own."
"""


def test_guidance_and_simulation_are_helpers_of_every_distiller(tiny: PreparedTask, tmp_path: Path) -> None:
    distiller = trainer(tiny, tmp_path, student_steps=2).distiller
    assert distiller.guided_teacher(1.0) is distiller.teacher
    with pytest.raises(UserError, match="without a null condition"):
        distiller.guided_teacher(2.0)
    made = distiller.simulate(trainer(tiny, tmp_path).batches.batch(0, MicroBatch()))
    assert isinstance(made, Noised) and made.t.unique().numel() == 1
    assert made.t[0] in distiller.step_times


class Mistaken(Own):
    """A loss of each image in place of their mean."""

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        loss = self.wrong(self.generator(*self.noised(batch.real, batch.real_condition, batch, (0.2, 0.8))))
        self.backward_and_step(self.generator, loss)
        return {"loss/own": loss.mean().detach()}

    def wrong(self, images: Tensor) -> Any:
        return images.square().mean((1, 2, 3))


class NumberAsLoss(Mistaken):
    """A number without a gradient as the loss."""

    def wrong(self, images: Tensor) -> Any:
        return images.square().mean().item()


class Detached(Mistaken):
    """A loss that does not reach the student."""

    def wrong(self, images: Tensor) -> Any:
        return images.detach().square().mean()


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Mistaken, r"'generator' has the shape \[4\]; fix: .*loss\.mean\(\)"),
        (NumberAsLoss, "'generator' has the type float; fix: "),
        (Detached, "'generator' does not depend on any trained network; fix: "),
    ],
)
def test_a_loss_that_is_no_mean_with_a_gradient_is_refused(
    tiny: PreparedTask, tmp_path: Path, cls: type[Distiller[Any]], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        trainer(tiny, tmp_path, cls).step(0)


class Noted(SilentProgress):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_model_that_was_never_stepped_is_told_by_name(tiny: PreparedTask, tmp_path: Path) -> None:
    training, progress = trainer(tiny, tmp_path), Noted()
    training.distiller.add_model("helper", nn.Linear(2, 2), 1e-3)
    training.run(Cadence(6, 6), progress, lambda _: {})
    assert progress.notes == ["model 'helper' was never updated: backward_and_step was not called for it"]


def test_a_second_model_of_one_name_is_refused(tiny: PreparedTask, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Own adds 'generator' twice; fix: give each"):
        trainer(tiny, tmp_path).distiller.add_student()


def test_a_samplers_description_is_data(tiny: PreparedTask) -> None:
    sampler = few_step_sampler(tiny.teacher, [900])
    with pytest.raises(UserError, match="description of the student's sampler is 'mine'; fix: give a dictionary"):
        replace(sampler, description="mine")
