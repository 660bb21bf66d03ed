"""Decoupled DMD: what the two directions add up to, where each leads, and the trap of the inverted sign."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from dmd_by_hand import make
from tiny_task_context import make_batch, make_context, normal, same, weights
from torch import Tensor

from bench.core.errors import UserError
from bench.models.schedules import per_sample
from methods.decoupled import cosine
from methods.losses import augmentation_loss, distribution_matching_loss
from methods.terms import Divisor

VARIANTS = ["decoupled-dmd", "decoupled-dmd-cdm", "decoupled-dmd-senseflow"]
SHAPE = (5, 3, 4, 4)


def images(seed: int) -> Tensor:
    return normal(seed, *SHAPE).double()


def gradient(loss: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(loss, x)[0]


class TestDirections:
    def test_at_equal_times_their_sum_is_dmd_with_a_guided_teacher(self) -> None:
        """Up to the divisor, which measures the distance to the teacher without guidance."""
        x, fake, conditional, unconditional = images(0).requires_grad_(), images(1), images(2), images(3)
        w = 3.5
        guided = unconditional + w * (conditional - unconditional)
        dm = gradient(distribution_matching_loss(x, conditional, fake), x)
        ca = gradient(augmentation_loss(x, conditional, unconditional, w - 1), x)
        divisor = (x - conditional).abs().flatten(1).mean(1).detach()
        torch.testing.assert_close(dm + ca, (fake - guided) / per_sample(divisor, x) / x.numel())

    @pytest.mark.parametrize("divisor", ["teacher", "clamped", "own"])
    def test_augmentation_has_its_closed_form(self, divisor: Divisor) -> None:
        x, conditional, unconditional = images(0), images(2), images(3)
        x[0] = conditional[0] + 0.01 * images(4)[0]  # nearer to the teacher's image than the clamped divisor goes
        x.requires_grad_()
        found = gradient(augmentation_loss(x, conditional, unconditional, 2.5, divisor), x)
        for i in range(len(x)):
            direction = unconditional[i] - conditional[i]
            distance = (x[i] - conditional[i]).abs().mean().item()
            size = {"teacher": distance, "clamped": max(distance, 0.1), "own": direction.abs().mean().item()}
            torch.testing.assert_close(found[i], 2.5 * direction / size[divisor] / x.numel())

    @pytest.mark.parametrize("divisor", ["teacher", "clamped", "own"])
    def test_where_the_teacher_ignores_the_condition_there_is_no_augmentation(self, divisor: Divisor) -> None:
        x, same_image = images(0).requires_grad_(), images(1)
        assert gradient(augmentation_loss(x, same_image, same_image, 2.0, divisor), x).abs().max() == 0

    def test_cosine(self) -> None:
        one = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]])
        other = torch.tensor([[[3.0, 0.0]], [[4.0, 4.0]]])
        assert cosine(one, other).item() == pytest.approx((1 + math.sqrt(0.5)) / 2)


class TestSign:
    """Images of 64 independent pixels N(m, s^2), with exact denoisers of teacher and critic.

    Real images with the condition are N(2, .5^2), all real images N(0, 1); the teacher is guided with w = 1.1.
    """

    S, SIGMAS = 0.5, [0.1, 0.3, 1.0]

    @staticmethod
    def denoised(x_t: Tensor, sigma: float, mean: float, s: float) -> Tensor:
        return (s**2 * x_t + sigma**2 * mean) / (s**2 + sigma**2)

    def descend(self, sign: float, divisor: Divisor, steps: int = 150) -> list[float]:
        """Follow both directions from N(-1, .2^2), and return the distance of the mean to the real one."""
        made = -1 + 0.2 * normal(5, 32, 64).double()
        distances = []
        for step in range(steps):
            sigma = self.SIGMAS[step % 3]
            x_t = made + sigma * normal(100 + step, 32, 64).double()
            conditional = self.denoised(x_t, sigma, 2.0, self.S)
            unconditional = self.denoised(x_t, sigma, 0.0, 1.0)
            fake = self.denoised(x_t, sigma, made.mean().item(), made.std().item())
            x = made.clone().requires_grad_()
            loss = distribution_matching_loss(x, conditional, fake, divisor=divisor)
            loss = loss + augmentation_loss(x, conditional, unconditional, 0.1, divisor)
            made = made - sign * 0.05 * x.numel() * gradient(loss, x)
            distances.append(abs(made.mean().item() - 2))
        return distances

    @pytest.mark.parametrize("divisor", ["teacher", "clamped", "own"])
    def test_ours_leads_to_the_teacher_and_the_inverted_one_away(self, divisor: Divisor) -> None:
        ours, inverted = self.descend(1, divisor), self.descend(-1, divisor)
        assert ours[0] < 3 < inverted[0], "already the first step"
        assert ours[-1] < 1.0
        assert inverted[-1] > 4.0 and inverted == sorted(inverted)

    def test_a_target_on_the_wrong_side_raises_the_distance_to_the_teacher(self) -> None:
        """x - (r - f), as written there for images, against x + (r - f); for velocities, e - x, the signs swap."""
        x, real, fake = images(0), images(1), images(2)
        right, wrong = x + (real - fake), x - (real - fake)
        moved = x.clone().requires_grad_()
        step = gradient(distribution_matching_loss(moved, real, fake, divisor="own"), moved)
        assert cosine(-step, right - x).item() == pytest.approx(1)
        assert cosine(-step, wrong - x).item() == pytest.approx(-1)
        noise, sigma = images(3), 0.4
        x_t = (1 - sigma) * x + sigma * noise
        velocity_real, velocity_fake = (x_t - real) / sigma, (x_t - fake) / sigma
        assert cosine(-step, -(velocity_real - velocity_fake)).item() == pytest.approx(1)


class TestBalance:
    """Generated pixels are N(b, s^2) with real ones N(1, s^2) with the condition and N(0, s^2) without it.

    With exact denoisers both directions are constant over an image, so that the mean b moves as in closed form.
    """

    RATE, STEPS = 0.02, 400

    def means(self, divisor: Divisor, w: float) -> list[float]:
        """Descend both losses from b = 0.5 at the noise level s = 0.5, and return b after each step."""
        s = sigma = 0.5
        shape, b, found = (8, 1, 4, 4), 0.5, []
        for step in range(self.STEPS):
            x = (b + s * normal(2 * step, *shape).double()).requires_grad_()
            x_t = x.detach() + sigma * normal(2 * step + 1, *shape).double()
            fake, conditional, unconditional = ((x_t + mean) / 2 for mean in (b, 1.0, 0.0))
            loss = distribution_matching_loss(x, conditional, fake, divisor=divisor)
            loss = loss + augmentation_loss(x, conditional, unconditional, w - 1, divisor)
            b -= self.RATE * gradient(loss, x).sum().item()  # that of each pixel is divided by their number
            found.append(b)
        return found

    @pytest.mark.parametrize("w", [1.5, 3.0])
    def test_directions_over_the_distance_to_the_teacher_end_at_the_guided_mean(self, w: float) -> None:
        """b - 1 against (w - 1) (0 - 1), over one divisor."""
        assert self.means("teacher", w)[-1] == pytest.approx(w, abs=0.1)

    def test_directions_of_their_own_size_do_not_balance(self) -> None:
        """Matching has the size 1, guidance w - 1: below w = 2 guidance has no effect, above it nothing holds."""
        assert self.means("own", 1.5)[-1] == pytest.approx(1, abs=2 * self.RATE)
        far = self.means("own", 3.0)
        assert far[-1] - far[-101] == pytest.approx(100 * self.RATE * (3 - 2))
        assert far[-1] > 3


class TestTraining:
    @pytest.mark.parametrize("name", VARIANTS)
    def test_logs_both_terms_and_their_cosine_and_changes_student_and_critic_alone(self, name: str) -> None:
        method = make(name)
        teacher = weights(method.teacher)
        before = [weights(model.network) for model in method.models.values()]
        figures = method.training_step(make_batch())
        terms = {"loss/dm", "loss/ca", "image_gradient/dm", "image_gradient/ca", "cosine/dm-ca"}
        assert terms <= figures.keys() and all(figures[term].isfinite() for term in terms)
        assert figures["image_gradient/ca"] > 0 and -1 <= figures["cosine/dm-ca"] <= 1
        assert same(teacher, method.teacher)
        for weights_before, model in zip(before, method.models.values(), strict=True):
            assert not same(weights_before, model.network)

    def test_distribution_matching_has_the_teacher_without_guidance(self) -> None:
        method = make("decoupled-dmd")
        assert method.mu_real is method.teacher

    def test_without_guidance_nothing_is_decoupled(self) -> None:
        assert make("dmd2").augmentation is None
        assert "loss/ca" not in make("dmd2").training_step(make_batch())


class TestRefusals:
    def test_a_teacher_without_a_null_condition(self) -> None:
        with pytest.raises(UserError, match=r"without a null condition; fix: choose a task with one \(scenes"):
            make("decoupled-dmd", make_context(), guidance_scale=3.0)

    def test_no_guidance(self) -> None:
        with pytest.raises(UserError, match="guidance_scale is 1: there is none; fix: --set guidance_scale=3"):
            make("decoupled-dmd", make_context(null_condition=torch.tensor([2])), guidance_scale=1.0)

    @pytest.mark.parametrize("key", ["ca_times", "ca_factor"])
    def test_its_values_are_idle_elsewhere(self, key: str) -> None:
        assert make("dmd2").recipe.idle()[key] == "decoupled is off"
        assert key not in make("decoupled-dmd").recipe.idle()
        off: dict[str, Any] = {"distribution_matching": False}
        assert make("dmd2", **off).recipe.idle()[key] == "distribution_matching is off"
