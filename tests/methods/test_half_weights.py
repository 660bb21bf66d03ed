"""Networks in bf16 with float32 masters: near float32, and exact in what is kept, shared out and resumed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import one_base_support as text
import pytest
import torch
from processes import in_processes
from tiny_double import DoubleDenoiser
from tiny_task_context import CLASSES, SHAPE, make_batch, make_context, make_teacher, normal
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.backbones.dit import ClassTransformer, DiTDenoiser, SiTDenoiser, small_network
from bench.models.denoiser import Denoiser
from bench.models.schedules import FlowSchedule, VPSchedule
from bench.runs.registry import load_catalogue
from bench.training.checkpoint import TrainingState, restore_checkpoint, save_checkpoint
from bench.training.distiller import Batch, Distiller, MicroBatch
from bench.training.half_weights import HalfWeights
from bench.training.recipe import build_recipe
from bench.training.step_rng import StepRNG
from methods.recipes import DMDRecipe
from methods.scm import SCMRecipe

METHODS = load_catalogue().methods
HALF = {"precision": "bf16-weights"}
SMALLEST = 2**-8
"""The largest relative error of one rounding to bf16."""
IMAGES = (8, *SHAPE)


def make(name: str = "dmd2", context: Any = None, **values: Any) -> Distiller[Any]:
    """Make a method of the tiny task, whose generator has a turn in every iteration."""
    method = METHODS.get(name)
    settings = {"batch_size": 6, "lr": 1e-4, "warmup": 0, "iterations": 5, "pairs": 10, **values}
    settings["critic_updates_per_generator_update"] = 1
    known = method.recipe_model().model_fields
    recipe = method.recipe("tiny", "micro", {key: value for key, value in settings.items() if key in known})
    torch.manual_seed(0)
    return method.load()(recipe, context or make_context())


def trained_for(iterations: int, method: Distiller[Any]) -> list[Mapping[str, Tensor]]:
    method.release_teacher()
    return [method.training_step(make_batch(iteration)) for iteration in range(iterations)]


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def gradient_of(network: Denoiser, weights: nn.Module) -> tuple[Tensor, Tensor]:
    """Return a network's output on a batch, and the gradient of its mean square in the weights of a module."""
    made = network(normal(1, *IMAGES), torch.linspace(0.1, 20, 8), torch.arange(8) % CLASSES)
    made.square().mean().backward()
    return made.detach(), torch.cat([one.grad.flatten() for one in weights.parameters() if one.grad is not None])


class TestOneNetwork:
    def test_output_and_gradients_are_those_of_float32_but_for_rounding(self) -> None:
        full = make_teacher().requires_grad_(True)
        half = copy.deepcopy(full)
        master = HalfWeights(half, make_teacher()).master
        expected, gradient = gradient_of(full, full)
        made, found = gradient_of(half, master)
        assert made.dtype == found.dtype == torch.float32
        assert 0 < relative(made, expected) < 2 * SMALLEST
        assert 0 < relative(found, gradient) < 4 * SMALLEST

    @pytest.mark.parametrize("kind", [SiTDenoiser, DiTDenoiser])
    def test_class_transformers_are_near_float32_too(self, kind: type[ClassTransformer]) -> None:
        schedule: Any = FlowSchedule() if kind is SiTDenoiser else VPSchedule()
        torch.manual_seed(0)
        full = kind(small_network((4, 8, 8), classes=3, width=24, layers=2, heads=2), schedule)
        with torch.no_grad():
            for weight in full.parameters():  # they start with blocks that change nothing
                weight += 0.1 * torch.randn_like(weight)
        half = copy.deepcopy(full)
        HalfWeights(half, make_teacher())
        given = normal(1, 2, 4, 8, 8), schedule.grid[[300, 800]].float(), torch.tensor([0, 2])
        with torch.no_grad():
            assert 0 < relative(half(*given), full(*given)) < 4 * SMALLEST
            assert 0 < relative(half.features(*given)[0], full.features(*given)[0]) < 4 * SMALLEST

    def test_gradients_are_in_the_master_alone_and_add_up_there_in_float32(self) -> None:
        half = make_teacher().requires_grad_(True)
        master = HalfWeights(half, make_teacher()).master
        _, once = gradient_of(half, master)
        assert all(weight.grad is None for weight in half.parameters())
        for _ in range(99):
            _, often = gradient_of(half, master)
        torch.testing.assert_close(often, 100 * once, rtol=1e-5, atol=1e-9)  # bf16 would stop growing at 256 steps

    def test_the_master_moves_by_less_than_bf16_can_hold(self) -> None:
        half = make_teacher().requires_grad_(True)
        weights = HalfWeights(half, make_teacher())
        before = copy.deepcopy(half.state_dict())
        with torch.no_grad():
            for weight in weights.master.parameters():
                weight.fill_(1.0)
            for _ in range(10):
                for weight in weights.master.parameters():
                    weight += 1e-3  # half a step of bf16 at 1 is 0.0039: added there, nothing would move
                weights.refresh()
        assert all(torch.equal(one, torch.full_like(one, 1.0078125)) for one in half.parameters())
        assert not any(torch.equal(before[name], value) for name, value in half.named_parameters())

    def test_normalisations_sum_in_float32(self) -> None:
        """A sum of 16,384 values of about 100 in bf16 would stop at 32,768; the statistics here are right."""
        x = (100 + normal(3, 2, 32, 64, 64)).bfloat16()
        norm = nn.GroupNorm(8, 32)
        found = norm.bfloat16()(x).float()
        expected = nn.GroupNorm(8, 32)(x.float())
        torch.testing.assert_close(found, expected, rtol=2 * SMALLEST, atol=2 * SMALLEST)

    def test_a_network_of_no_family_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"DoubleDenoiser is of none; fix: --set precision=bf16$"):
            HalfWeights(DoubleDenoiser(0), DoubleDenoiser(1))


class TestTraining:
    @pytest.mark.parametrize("name", ["dmd2", "dmd", "dmd2-4step", "sida", "ladd", "consistency", "progressive"])
    def test_five_iterations_are_near_those_in_float32(self, name: str) -> None:
        full, half = make(name), make(name, **HALF)
        start = torch.cat([one.flatten() for one in make_teacher().parameters()])
        expected, found = trained_for(5, full), trained_for(5, half)
        for one, other in zip(found, expected, strict=True):
            assert one.keys() == other.keys()
            assert all(figure.isfinite() for figure in one.values())
        students = (half.generator.master, full.generator.master)
        moved = [torch.cat([one.detach().flatten() for one in each.parameters()]) - start for each in students]
        # Adam's first steps have the size of the rate whatever that of the gradient, so small ones that round to
        # the other sign move a weight as far the other way.
        assert torch.cosine_similarity(*moved, dim=0) > 0.9

    def test_the_network_that_runs_is_its_master_rounded(self) -> None:
        method = make(ida_share=0.1, **HALF)
        trained_for(3, method)
        for model in method.models.values():
            assert model.updates == 3
            for name, weight in model.network.named_parameters():
                master = model.master.get_parameter(name)
                assert master.dtype == torch.float32
                torch.testing.assert_close(weight, master.to(weight.dtype), rtol=0, atol=0)

    def test_heads_are_float32_and_their_own_masters(self) -> None:
        critic = make(**HALF).models["critic"]
        types = {name: weight.dtype for name, weight in critic.network.named_parameters()}
        assert {dtype for name, dtype in types.items() if name.startswith("heads.")} == {torch.float32}
        assert {dtype for name, dtype in types.items() if name.startswith("denoiser.")} == {torch.bfloat16}
        assert critic.network.get_submodule("heads.0.0").weight is critic.master.get_submodule("heads.0.0").weight
        method = make(discriminator_features="teacher", **HALF)
        assert method.critic.master._reader[0] is method.teacher  # the teacher has no second copy

    def test_a_target_network_averages_masters_and_runs_rounded(self) -> None:
        method = make("consistency", target_decay=0.999, **HALF)
        target = method.targets["target"]
        before = copy.deepcopy(target.state_dict())
        trained_for(1, method)
        student, after = method.generator.state_dict(), target.state_dict()
        for name, value in after.items():
            torch.testing.assert_close(value, before[name].lerp(student[name], 1e-3))
            torch.testing.assert_close(target.network.state_dict()[name], value.bfloat16(), rtol=0, atol=0)

    def test_a_target_that_is_given_frozen_averages_masters_too(self) -> None:
        method = make("consistency", **HALF)
        copied = method.build_student(method.teacher).requires_grad_(False)
        target = method.add_target("another", method.generator, copied, decay=0.999)
        before = copy.deepcopy(target.state_dict())
        assert {value.dtype for value in before.values() if value.is_floating_point()} == {torch.float32}
        trained_for(1, method)
        target.update()
        student = method.generator.state_dict()
        for name, value in target.state_dict().items():  # in bf16 a step of a thousandth would be lost
            torch.testing.assert_close(value, before[name].lerp(student[name], 1e-3))
        assert not any(weight.requires_grad for weight in target.network.parameters())

    def test_a_teacher_in_bf16_runs_without_autocast(self) -> None:
        method = make(teacher_precision="bf16", **HALF)
        figures = trained_for(2, method)[-1]
        assert next(method.teacher.parameters()).dtype == torch.bfloat16
        assert figures["loss/denoising"].isfinite()

    def test_training_continues_from_a_checkpoint_bit_by_bit(self, tmp_path: Path) -> None:
        whole, part, again = (make(ema_decay=None, **HALF) for _ in range(3))
        trained_for(4, whole)
        trained_for(2, part)
        save_checkpoint(tmp_path, part, TrainingState(2, 0.0, "", None))
        restore_checkpoint(tmp_path, again)
        again.release_teacher()
        for iteration in (2, 3):
            again.training_step(make_batch(iteration))
        for name, model in whole.models.items():
            other = again.models[name]
            for weight, value in model.state_dict().items():
                assert value.dtype == torch.float32
                assert torch.equal(value, other.state_dict()[weight]), weight
                assert torch.equal(model.network.state_dict()[weight], other.network.state_dict()[weight])


@pytest.mark.usefixtures("kept_gradients")
class TestTextNetworks:
    @pytest.mark.parametrize("family", ["text", "sd3", "flux"])
    @pytest.mark.parametrize("settings", [{}, text.LORAS, text.ONE_BASE], ids=["whole", "LoRA", "one base"])
    def test_gradients_are_near_those_in_float32(self, family: str, settings: dict[str, Any]) -> None:
        found = list[Tensor]()
        for precision in ({"precision": "fp32"}, {**HALF, "teacher_precision": "bf16"}):
            method = text.make(teacher=text.make_teacher(family), **settings, **precision)
            method.release_teacher()
            method.training_step(text.make_batch())
            weights = [one for one in method.models["critic"].master.parameters() if one.grad is not None]
            assert {weight.dtype for weight in weights} == {torch.float32}
            found.append(torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None]))
        assert relative(found[1], found[0]) < 0.2

    def test_a_frozen_base_is_there_once_in_bf16_and_no_part_of_checkpoints(self) -> None:
        method = text.make(**text.LORAS, **HALF)
        student = method.generator
        assert student.state_dict().keys() == text.trained(student).keys()
        for name, weight in student.network.named_parameters():
            master = student.master.get_parameter(name)
            assert weight.dtype == torch.bfloat16
            assert (master.dtype == torch.float32) if weight.requires_grad else (master is weight)


class TestShares:
    @staticmethod
    def norms(parts: int) -> list[float]:
        """Train two iterations on this process's share, in micro-batches; return the gradient norms."""
        method, found = make(gan=False, regression=False, **HALF), list[float]()
        rank, processes = method.accelerator.process_index, method.accelerator.num_processes
        for iteration in range(2):
            whole = make_batch(iteration)
            for index in range(parts):
                method.micro_batch = MicroBatch(index, parts)
                shares = processes * parts
                size = 6 // shares
                part = slice((rank * parts + index) * size, (rank * parts + index + 1) * size)
                rng = StepRNG(0, iteration, share=rank * parts + index, shares=shares)
                real = whole.real[part], whole.real_condition[part]
                method.training_step(Batch(iteration, rng, whole.condition[part], *real))
            found += [float(one.gradient_norm) for one in method.models.values() if one.gradient_norm is not None]
        return found

    def test_micro_batches_add_up_to_the_batch(self) -> None:
        assert self.norms(3) == pytest.approx(self.norms(1), rel=4 * SMALLEST)

    def test_two_processes_average_float32_gradients(self, tmp_path: Path) -> None:
        def work() -> None:
            torch.save(self.norms(1), tmp_path / f"norms{torch.distributed.get_rank()}")

        in_processes(2, work)
        first, second = (torch.load(tmp_path / f"norms{rank}", weights_only=True) for rank in range(2))
        assert first == second
        assert first == pytest.approx(self.norms(1), rel=4 * SMALLEST)


class TestRecipes:
    @pytest.mark.parametrize(
        ("values", "fix"),
        [
            ({"sharding": "fsdp2"}, "precision=bf16"),
            ({"one_base": True, "lora_rank": 2, "critic_lora_rank": 2}, "teacher_precision=bf16"),
        ],
    )
    def test_what_does_not_go_together_is_refused(self, values: dict[str, Any], fix: str) -> None:
        with pytest.raises(UserError, match=f"fix: --set {fix}$"):
            build_recipe(DMDRecipe, {**HALF, **values}, "it")

    def test_derivatives_are_taken_in_float32(self) -> None:
        with pytest.raises(UserError, match=r"taken in float32.*fix: --set precision=bf16$"):
            build_recipe(SCMRecipe, HALF, "it")

    def test_memory_counts_both(self) -> None:
        assert DMDRecipe(**HALF).least_memory(100) == DMDRecipe().least_memory(100) + 2 * 2 * 100
