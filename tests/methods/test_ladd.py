"""LADD: heads on the frozen teacher's features, hinge loss, and a student trained through the teacher."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from class_conditional_vp import VPDenoiser
from gaussian_data import each_schedule
from tiny_task_context import BATCH, PAIRS, make_batch, make_context, make_teacher, same, weights
from torch import Tensor

from bench.models.denoiser import Denoiser
from bench.models.schedules import EDMSchedule, VPSchedule
from bench.training.recipe import build_recipe
from methods.ladd import (
    LADD,
    Heads,
    LADDRecipe,
    hinge_discriminator_loss,
    hinge_generator_loss,
    place_head,
)


def recipe(**values: Any) -> LADDRecipe:
    settings = {"batch_size": BATCH, "lr": 1e-3, "discriminator_lr": 1e-3, "warmup": 0, "pairs": len(PAIRS.noise)}
    found = build_recipe(LADDRecipe, {**settings, **values}, "ladd")
    assert isinstance(found, LADDRecipe)
    return found


def ladd(teacher: Denoiser | None = None, **values: Any) -> LADD:
    torch.manual_seed(0)  # of the heads: a finite difference across a kink of their LeakyReLU is no derivative
    return LADD(recipe(**values), make_context(teacher))


def double(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def central_difference(loss: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor, step: float) -> float:
    return (loss(x + step * direction) - loss(x - step * direction)).item() / (2 * step)


class TestHingeLoss:
    real = torch.tensor([-2.0, 0.5, 1.5], dtype=torch.float64, requires_grad=True)
    fake = torch.tensor([-3.0, -0.5, 2.0], dtype=torch.float64, requires_grad=True)

    def test_values_and_gradients_of_the_discriminator(self) -> None:
        """Real logits above 1 and fake ones below -1 count nothing; all others push with slope one."""
        loss = hinge_discriminator_loss(self.real, self.fake)
        assert loss.item() == pytest.approx((3 + 0.5 + 0) / 3 + (0 + 0.5 + 3) / 3)
        for_real, for_fake = torch.autograd.grad(loss, [self.real, self.fake])
        assert for_real.tolist() == pytest.approx([-1 / 3, -1 / 3, 0])
        assert for_fake.tolist() == pytest.approx([0, 1 / 3, 1 / 3])

    def test_gradients_equal_finite_differences(self) -> None:
        real, fake, direction = double(0, 20), double(1, 20).requires_grad_(), double(2, 20)
        (gradient,) = torch.autograd.grad(hinge_discriminator_loss(real, fake), fake)
        found = central_difference(lambda x: hinge_discriminator_loss(real, x), fake.detach(), direction, 1e-6)
        assert found == pytest.approx((gradient * direction).sum().item(), rel=1e-6)

    def test_the_generator_s_is_minus_the_logit(self) -> None:
        (gradient,) = torch.autograd.grad(hinge_generator_loss(self.fake), self.fake)
        assert gradient.tolist() == pytest.approx([-1 / 3] * 3)


class TestHeads:
    @pytest.mark.parametrize(("shape", "places"), [((16, 7, 7), 49), ((24, 1, 1), 1), ((9, 16), 9)])
    def test_there_is_a_logit_for_each_place(self, shape: tuple[int, ...], places: int) -> None:
        assert place_head(shape)(torch.zeros(3, *shape)).shape == (3, places)

    def test_a_map_of_one_place_still_has_a_signal(self) -> None:
        """Its group norm must not be of a single number, which is always 0."""
        logits = place_head((24, 1, 1))(double(0, 8, 24, 1, 1).float())
        assert logits.std() > 0.01

    def test_logits_of_all_depths_are_one_row(self) -> None:
        heads = Heads(make_teacher().deep_feature_shapes)
        features = make_teacher().deep_features(torch.zeros(2, 1, 4, 4), torch.ones(2), torch.tensor([0, 1]))
        assert heads(features).shape == (2, sum(one[0, 0].numel() for one in features))


class TestGradientThroughTheTeacher:
    def test_it_equals_finite_differences_in_float64(self) -> None:
        """The student gets the derivative of -D(F(x, t)) in its image x, through heads and frozen teacher."""
        method = ladd()
        heads, teacher = copy.deepcopy(method.discriminator.network).double(), _Double(method.teacher)
        batch, image, direction = make_batch(), double(0, BATCH, 1, 4, 4), double(1, BATCH, 1, 4, 4)
        noise, t = double(2, BATCH, 1, 4, 4), torch.full((BATCH,), 0.4, dtype=torch.float64)

        def loss(x: Tensor) -> Tensor:
            noised = EDMSchedule().add_noise(x, noise, t)
            return hinge_generator_loss(heads(teacher.deep_features(noised, t, batch.condition)))

        x = image.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(x), x)
        found = central_difference(loss, image, direction, 1e-5)
        assert found == pytest.approx((gradient * direction).sum().item(), rel=1e-5)
        assert gradient.abs().max() > 0

    def test_the_student_gets_that_gradient_and_no_network_another(self) -> None:
        method, batch = ladd(student_steps=1), make_batch(2)
        teacher, heads = weights(method.teacher), weights(method.discriminator.network)
        student = method.generator.network
        student_before = weights(student)
        fake = method.generator(*method.student_inputs(batch.real, batch.real_condition, batch))
        figures = method.update_generator(fake, batch.real_condition, batch)
        assert figures["image_gradient/gan"] > 0
        assert same(teacher, method.teacher) and same(heads, method.discriminator.network)
        assert all(one.grad is None for one in method.teacher.parameters())
        assert all(one.grad is None for one in method.discriminator.network.parameters())
        assert not same(student_before, student)


class _Double:
    """A teacher in float64, whose features are not rounded to float32."""

    def __init__(self, teacher: Any) -> None:
        self.teacher = copy.deepcopy(teacher).double()

    def deep_features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        kept: list[Tensor] = []
        network, scale = self.teacher.network, (t**2 + 0.25).rsqrt()[:, None, None, None]
        handles = [
            network.down_blocks[0].register_forward_hook(lambda _, __, output: kept.append(output[1][-1])),
            network.mid_block.register_forward_hook(lambda _, __, output: kept.append(output)),
        ]
        network(scale * x_t, t.log() / 4, class_labels=condition)
        for handle in handles:
            handle.remove()
        return tuple(kept)


class TestInputs:
    def test_the_first_step_is_pure_noise_and_the_others_are_noised_images(self) -> None:
        method, size = ladd(first_step_share=0.7), 4000
        batch = make_batch(0, size)
        images = torch.full((size, 1, 4, 4), 5.0)
        x_t, t, _ = method.student_inputs(images, batch.real_condition, batch)
        shares = [(t == time).float().mean().item() for time in method.step_times]
        assert shares == pytest.approx([0.7, 0.1, 0.1, 0.1], abs=0.03)
        for step, time in enumerate(method.step_times):
            assert x_t[t == time].mean().item() == pytest.approx(5.0 if step else 0.0, abs=0.04 * time.item())

    def test_one_step_has_pure_noise_alone(self) -> None:
        method, batch = ladd(student_steps=1), make_batch()
        x_t, t, _ = method.student_inputs(batch.real, batch.real_condition, batch)
        assert t.tolist() == [80.0] * BATCH and x_t.abs().mean() > 20

    @each_schedule
    def test_noise_levels_of_the_discriminator_are_log_normal(self, schedule: Any) -> None:
        method = ladd(noise_mean=-0.6, noise_std=1.0)
        method.schedule = schedule
        t = method.discriminator_times(make_batch(0, 20_000)).double()
        level = (schedule.sigma(t) / schedule.alpha(t)).log()
        assert level.mean().item() == pytest.approx(-0.6, abs=0.03)
        assert level.std().item() == pytest.approx(1.0, abs=0.03)

    def test_teacher_data_replaces_the_real_images(self) -> None:
        """Pairs are made once; a recipe on real images makes none."""
        assert ladd().pairs is None and recipe().teacher_pairs == 0
        assert ladd(training_data="teacher").pairs is PAIRS
        assert recipe(training_data="teacher").teacher_pairs == len(PAIRS.noise)
        one, other = ladd(training_data="teacher"), ladd()
        losses = [method.training_step(make_batch())["loss/discriminator"] for method in (one, other)]
        assert losses[0] != losses[1]


@pytest.mark.parametrize("values", [{}, {"r1_weight": 10.0}, {"training_data": "teacher"}, {"student_steps": 1}])
def test_student_and_heads_are_trained_and_the_teacher_is_not(values: dict[str, Any]) -> None:
    method = ladd(**values)
    teacher, student, heads = (
        weights(one) for one in (method.teacher, method.generator.network, method.discriminator.network)
    )
    for iteration in range(2):
        figures = method.training_step(make_batch(iteration))
        assert all(figure.ndim == 0 and figure.isfinite() for figure in figures.values())
    assert ("loss/r1" in figures) == ("r1_weight" in values)
    assert same(teacher, method.teacher)
    assert not same(student, method.generator.network) and not same(heads, method.discriminator.network)


def test_the_heads_learn_to_tell_images_apart() -> None:
    """With a student that stands still the discriminator's loss falls below 2, that of an undecided one."""
    method = ladd(lr=1e-12, discriminator_lr=1e-2, clip_norm=10.0, noise_mean=-2.0)
    losses = [method.training_step(make_batch(step))["loss/discriminator"].item() for step in range(20)]
    assert sum(losses[-5:]) / 5 < 1.6 < losses[0]


def test_it_trains_under_a_variance_preserving_schedule() -> None:
    method = ladd(VPDenoiser(make_teacher().network, VPSchedule()))
    assert all(figure.isfinite() for figure in method.training_step(make_batch()).values())


@pytest.mark.parametrize("values", [{}, {"r1_weight": 1.0}, {"student_steps": 1}])
def test_passes_are_those_that_training_steps_make(values: dict[str, Any]) -> None:
    """Images through the first layer of each network, in batches."""
    own = recipe(iterations=2, **values)
    method = LADD(own, make_context())
    networks: dict[str, Any] = {"student": method.generator.network, "teacher's encoder": method.teacher}
    forward, backward = dict.fromkeys(networks, 0.0), dict.fromkeys(networks, 0.0)
    for name, network in networks.items():

        def count(_module: object, _inputs: object, output: Tensor, name: str = name) -> None:
            forward[name] += len(output) / BATCH
            backward[name] += len(output) / BATCH * output.requires_grad

        network.network.conv_in.register_forward_hook(count)
    for iteration in range(own.iterations):
        method.training_step(make_batch(iteration))
    passes = own.cost().passes
    assert forward == {name: one.forward for name, one in passes.items()}
    assert backward == {name: one.backward for name, one in passes.items()}


def test_keys_without_effect_are_named() -> None:
    assert set(recipe().idle()) >= {"pairs", "r1_noise"}
    assert "first_step_share" in recipe(student_steps=1).idle()
    assert not {"pairs", "r1_noise", "first_step_share"} & set(
        recipe(training_data="teacher", r1_weight=1.0).idle()
    )
