"""DMD and DMD2: the training step against the paper's formulas, and who may change whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from class_conditional_vp import VPDenoiser
from dmd_by_hand import CATALOGUE, SIGMAS, SMALL, ByHand, compare, make
from tiny_task_context import BATCH, PAIRS, SHAPE, make_batch, make_context, make_teacher, normal, same, weights
from torch import Tensor

from bench.core.errors import UserError
from bench.models.samplers import few_step
from bench.models.schedules import VPSchedule
from bench.training.distiller import Batch, TrainingContext, frozen
from bench.training.step_rng import StepRNG
from methods.dmd import DMD
from methods.recipes import DMDRecipe

R1_VALUES: dict[str, dict[str, Any]] = {
    "without": {},
    "with": {"r1_weight": 1.0},
    "no GAN": {"r1_weight": 1.0, "gan": False},
}
# The toy networks here take no LoRA; those of text-to-image do.
FAMILY = sorted(
    entry.name
    for entry in CATALOGUE.methods
    if entry.load().recipe_model() is DMDRecipe and "lora_rank" not in entry.load().values("", "paper")
)


class TestStepEqualsTheFormulas:
    @pytest.mark.parametrize("name", ["dmd2", "dmd", "dmd-ttur", "gan", "dmd2-4step"])
    def test_of_a_method(self, name: str) -> None:
        """Three iterations: generator and critic, another critic turn, and (with ratio 1 or 2) the next one."""
        ratio = {} if name in ("dmd", "gan") else {"critic_updates_per_generator_update": 2}
        compare(make(name, **ratio))

    @pytest.mark.parametrize("name", ["dmd2", "dmd"])
    def test_with_a_student_that_takes_noise_of_a_lower_level(self, name: str) -> None:
        compare(make(name, student_start=0.5, critic_updates_per_generator_update=2))

    def test_with_one_draw_for_both_losses_of_the_critic(self) -> None:
        compare(make("dmd2", shared_critic_draws=True, critic_updates_per_generator_update=2))

    @pytest.mark.parametrize(("name", "shared"), [("dmd2", False), ("dmd2", True), ("gan", False)])
    def test_with_r1(self, name: str, shared: bool) -> None:
        """The discriminator's real inputs, which are noised images, and the same with a little more noise."""
        compare(make(name, r1_weight=1.0, r1_noise=1.0, shared_critic_draws=shared))

    def test_with_a_guided_teacher(self) -> None:
        context = make_context(null_condition=torch.tensor([2]))
        compare(make("dmd2", context, guidance_scale=3.0))


class TestBrightness:
    """What Figure 8 shows, as the official code logs it."""

    def test_images_are_brought_to_zero_to_one_and_clamped(self) -> None:
        method = make("dmd2")
        images = torch.tensor([-3.0, -1.0, 0.0, 0.5, 1.0, 9.0]).reshape(1, 1, 2, 3)
        found = method.statistics(images)
        levels = torch.tensor([0.0, 0.0, 0.5, 0.75, 1.0, 1.0])
        assert found.keys() == {"pixel_mean", "pixel_std"}
        torch.testing.assert_close(found["pixel_mean"], levels.mean())
        torch.testing.assert_close(found["pixel_std"], levels.std())

    def test_a_training_step_logs_it_of_what_it_made(self) -> None:
        method = make("dmd2")
        with torch.no_grad():
            for parameter in method.generator.network.parameters():
                parameter.mul_(40)  # images far outside [-1, 1]
        figures = method.training_step(make_batch(0))
        assert 0 <= figures["pixel_mean"] <= 1 and figures["pixel_std"] <= 0.51

    def test_latents_have_no_brightness(self) -> None:
        method = make("dmd2", replace(make_context(), latent=True))
        latents = torch.tensor([-3.0, 9.0]).reshape(1, 1, 1, 2)
        assert {name: float(value) for name, value in method.statistics(latents).items()} == {
            "latent_mean": 3.0,
            "latent_std": pytest.approx(72**0.5),
        }


class TestUpdateRule:
    def test_generator_moves_only_on_its_turns_and_the_critic_always(self) -> None:
        method = make("dmd2", critic_updates_per_generator_update=3)
        for iteration in range(7):
            generator, critic = weights(method.generator.network), weights(method.models["critic"].network)
            method.training_step(make_batch(iteration))
            assert same(generator, method.generator.network) == (iteration % 3 != 0)
            assert not same(critic, method.models["critic"].network)

    @pytest.mark.parametrize(("iterations", "ratio", "updates"), [(7, 3, 3), (6, 3, 2), (4, 1, 4), (4, 10, 1)])
    def test_iterations_count_critic_updates(self, iterations: int, ratio: int, updates: int) -> None:
        method = make("dmd-ttur", critic_updates_per_generator_update=ratio)
        for iteration in range(iterations):
            method.training_step(make_batch(iteration))
        assert method.models["critic"].updates == iterations
        assert method.generator.updates == updates == -(-iterations // ratio)

    def test_the_critic_sees_images_made_before_the_generators_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        method = make("dmd2")
        z = StepRNG(0, 0).normal(make_batch().real)
        before = method.generator.network(80 * z, torch.full((BATCH,), 80.0), make_batch().condition).detach()
        seen = spy(monkeypatch, method, "update_critic")
        method.training_step(make_batch())
        after = method.generator.network(80 * z, torch.full((BATCH,), 80.0), make_batch().condition).detach()
        assert torch.allclose(seen[0], before, atol=1e-6) and not torch.allclose(before, after, atol=1e-6)
        assert not seen[0].requires_grad

    def test_no_graph_is_kept_on_the_critics_turns(self) -> None:
        method = make("dmd2")
        modes = gradient_modes(method)
        method.training_step(make_batch(0))
        method.training_step(make_batch(1))
        assert modes == [True, False]

    def test_terms_leave_nothing_in_the_critic_on_the_generators_turn(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The GAN gradient passes through the critic to the image, and leaves no trace in its parameters."""
        method = make("dmd2")
        critic = method.models["critic"].network
        before = weights(critic)
        monkeypatch.setattr(method, "update_critic", lambda *_: {})
        figures = method.training_step(make_batch())
        assert figures["image_gradient/gan"] > 0
        assert same(before, critic)
        assert all(p.grad is None and p.requires_grad for p in critic.parameters())

    def test_the_gan_term_makes_no_graph_for_the_critics_parameters(self) -> None:
        """Without an image to train, the generator's GAN loss has nothing to differentiate."""
        method, batch = make("dmd2"), make_batch()
        with frozen(method.models["critic"].network):
            assert not method.generator_gan_loss(batch.real, batch.real_condition, batch).requires_grad
            batch.real.requires_grad_()
            assert method.generator_gan_loss(batch.real, batch.real_condition, batch).requires_grad

    def test_the_critics_step_leaves_nothing_in_the_generator(self) -> None:
        method = make("dmd2")
        method.training_step(make_batch(1))
        assert all(p.grad is None and p.requires_grad for p in method.generator.network.parameters())

    @pytest.mark.parametrize("name", FAMILY)
    def test_the_teacher_stays_as_it_is(self, name: str) -> None:
        method = make(name)
        before = weights(method.teacher)
        for iteration in (0, 1):
            method.training_step(make_batch(iteration))
        assert same(before, method.teacher) and not method.teacher.training
        assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())

    def test_student_and_critic_start_as_the_teacher(self) -> None:
        method = DMD(DMDRecipe(), make_context())
        teacher = weights(method.teacher)
        assert same(teacher, method.generator.network)
        assert same(teacher, method.models["critic"].network.denoiser)

    def test_distribution_matching_is_silent_while_critic_and_teacher_are_one(self) -> None:
        torch.manual_seed(0)
        method = DMD(DMDRecipe(**SMALL), make_context())
        assert method.training_step(make_batch())["image_gradient/dm"] == 0

    def test_rates_follow_the_recipe_each_network_from_its_own(self) -> None:
        method = make("dmd2", warmup=10, iterations=100)
        method.set_rates(5)
        rates = {name: p.optimizer.param_groups[0]["lr"] for name, p in method.models.items()}
        assert rates == pytest.approx({"generator": 0.5e-4, "critic": 1e-4})


class TestTerms:
    @pytest.mark.parametrize(
        ("name", "terms"),
        [
            ("dmd", {"dm", "regression", "denoising"}),
            ("dmd-no-regression", {"dm", "denoising"}),
            ("dmd2", {"dm", "gan", "denoising", "discriminator"}),
            ("gan", {"gan", "discriminator"}),
        ],
    )
    def test_a_term_that_is_off_is_not_computed(self, name: str, terms: set[str]) -> None:
        figures = make(name).training_step(make_batch())
        assert {key for key in figures if key.startswith("loss/")} == {f"loss/{term}" for term in terms}
        on_images = {f"image_gradient/{term}" for term in terms & {"dm", "gan"}}
        assert {key for key in figures if key.startswith("image_gradient/")} == on_images
        assert all(
            figure.ndim == 0 and figure.isfinite() and not figure.requires_grad for figure in figures.values()
        )

    @pytest.mark.parametrize("name", ["dmd", "dmd-no-regression"])
    def test_there_is_a_head_only_with_a_gan_term(self, name: str) -> None:
        assert len(make(name).models["critic"].network.heads) == 0
        assert len(make("dmd2").models["critic"].network.heads) == 1

    def test_r1_is_off_unless_it_has_a_weight(self) -> None:
        assert "loss/r1" not in make("dmd2").training_step(make_batch())
        assert make("dmd2", r1_weight=1.0).training_step(make_batch())["loss/r1"] > 0
        idle = {name: DMDRecipe(**values).idle() for name, values in R1_VALUES.items()}
        reasons = {name: found.get("r1_noise") for name, found in idle.items()}
        assert reasons == {"without": "r1_weight is 0", "with": None, "no GAN": "gan is off"}
        assert idle["no GAN"]["r1_weight"] == "gan is off"

    def test_pairs_are_made_only_for_the_regression_term(self) -> None:
        asked: list[int] = []

        def make_pairs(count: int) -> Any:
            asked.append(count)
            return PAIRS

        context = TrainingContext(Accelerator(cpu=True), make_teacher(), None, make_pairs)
        assert make("dmd2", context).pairs is None and asked == []
        assert make("dmd", context).pairs is PAIRS and asked == [10]

    def test_regression_alone_brings_the_student_to_the_pairs(self) -> None:
        """Without the other terms: the loss on the pairs falls, so the term's sign and target are right."""
        only = {"distribution_matching": False, "regression": True, "clip_norm": 10.0, "lr": 3e-3}
        method = make("dmd", **only)
        losses = [method.training_step(make_batch(i))["loss/regression"].item() for i in range(20)]
        assert sum(losses[-5:]) < 0.7 * sum(losses[:5])

    def test_regression_is_one_more_gradient_beside_distribution_matching(self) -> None:
        with_it, without = make("dmd"), make("dmd-no-regression")
        for method in (with_it, without):
            method.training_step(make_batch())
        assert not same(weights(with_it.generator.network), without.generator.network)

    def test_without_any_term_there_is_nothing_to_train(self) -> None:
        with pytest.raises(
            UserError, match="all terms are off; fix: turn on distribution_matching, gan or regression"
        ):
            make("dmd2", distribution_matching=False, gan=False)

    @pytest.mark.parametrize(
        "switches",
        [{"gan": False}, {"gan": True}, {"gan": False, "distribution_matching": False, "regression": True}],
    )
    def test_a_critic_that_may_not_denoise_needs_to_be_a_discriminator_alone(
        self, switches: dict[str, bool]
    ) -> None:
        """Distribution matching against a critic that never learns the generated images would mean nothing."""
        with pytest.raises(UserError, match="critic_denoising"):
            make("dmd2", critic_denoising=False, **switches)

    def test_times_come_from_the_part_of_the_grid_that_is_asked_for(self) -> None:
        method, many = make("dmd2"), 40_000
        for span, low, high in [
            ((0.02, 0.98), 20, 980),
            ((0.0, 1.0), 0, 999),
            ((0.5, 0.5), 500, 500),
            ((1.0, 1.0), 999, 999),
        ]:
            t = method.times(make_batch(), span, many)
            assert t.dtype == torch.float32 and len(t) == many
            torch.testing.assert_close(torch.stack([t.min(), t.max()]), SIGMAS[[low, high]])


class TestGuidance:
    def test_needs_a_null_condition(self) -> None:
        with pytest.raises(UserError, match=r"guidance_scale is 3\.0.*without a null condition"):
            make("dmd2", guidance_scale=3.0)

    def test_the_real_score_is_guided_and_the_critic_is_not(self) -> None:
        method = make("dmd2", make_context(null_condition=torch.tensor([2])), guidance_scale=3.0)
        x_t, t, condition = normal(0, 2, *SHAPE), torch.tensor([0.5, 2.0]), torch.tensor([0, 1])
        teacher = method.teacher
        null = teacher(x_t, t, torch.tensor([2, 2]))
        expected = null + 3.0 * (teacher(x_t, t, condition) - null)
        torch.testing.assert_close(method.mu_real(x_t, t, condition), expected, rtol=1e-5, atol=1e-5)
        assert type(method.models["critic"].network.denoiser) is type(teacher)

    def test_scale_one_is_the_teacher_itself(self) -> None:
        method = make("dmd2", make_context(null_condition=torch.tensor([2])))
        assert method.mu_real is method.teacher


class TestInputSimulation:
    """Inputs of N-step students (DMD2, Sec. 4.5)."""

    @pytest.mark.parametrize("simulation", ["backward", "noised-real"])
    @pytest.mark.parametrize("steps", range(1, 9))
    def test_times_are_the_students_own(self, steps: int, simulation: str) -> None:
        method = make("dmd2", student_steps=steps, input_simulation=simulation)
        schedule = {SIGMAS[999 - k * (1000 // steps)].item() for k in range(steps)}
        seen: set[float] = set()
        for iteration in range(6 * steps):
            start = method.simulate(make_batch(iteration, size=2))
            assert not start.x_t.requires_grad
            seen |= {round(t, 6) for t in start.t.tolist()}
        assert sorted(seen) == pytest.approx(sorted(schedule), rel=1e-5)
        method.training_step(make_batch(0))
        assert method.generator.gradient_norm is not None and method.generator.gradient_norm > 0

    def test_one_step_students_start_from_pure_noise(self) -> None:
        start = make("dmd2").simulate(make_batch())
        assert torch.equal(start.x_t, 80 * StepRNG(0, 0).normal(make_batch().real))
        assert torch.equal(start.condition, make_batch().condition)

    def test_backward_simulation_shares_one_step_in_the_batch(self) -> None:
        method = make("dmd2-4step")
        for iteration in range(8):
            start = method.simulate(make_batch(iteration))
            assert len(start.t.unique()) == 1
            assert torch.equal(start.condition, make_batch(iteration).condition)

    def test_all_processes_train_the_same_step(self) -> None:
        method = make("dmd2-4step")
        for iteration in range(8):
            times = set()
            for rank in range(2):
                batch = make_batch(iteration)
                rng = StepRNG(0, iteration, share=rank, shares=2)
                share = Batch(iteration, rng, batch.condition[:3], batch.real[:3], batch.real_condition[:3])
                times |= set(method.simulate(share).t.tolist())
            assert len(times) == 1

    @pytest.mark.parametrize("step", [1, 2, 3])
    def test_the_input_is_what_the_students_sampler_would_have_made(self, step: int) -> None:
        """Its image after `step` steps of sampling, with noise that is not the noise that trains."""
        method = make("dmd2-4step")
        iteration, batch = iteration_with_step(step)
        start = method.simulate(batch)
        rng = StepRNG(0, iteration)
        training_noise = rng.normal(batch.real)
        rng.integer(0, 4)
        sampling_noise = [rng.normal(batch.real) for _ in range(step)]
        assert not any(torch.allclose(training_noise, noise) for noise in sampling_noise)
        with torch.no_grad():
            x0 = few_step(method.generator.network, Given(sampling_noise), batch.condition, method.indices[:step])
        sigma = SIGMAS[[999, 749, 499, 249][step]]
        torch.testing.assert_close(start.x_t, x0 + sigma * training_noise, rtol=1e-5, atol=1e-5)

    def test_gradients_flow_through_the_last_step_only(self) -> None:
        method = make("dmd2-4step", critic_updates_per_generator_update=1)
        _, batch = iteration_with_step(3)
        modes = gradient_modes(method)
        method.training_step(batch)
        assert modes == [False, False, False, True]

    def test_noised_real_images_have_a_step_each_and_their_own_conditions(self) -> None:
        method = make("dmd2-4step-no-backward-simulation")
        batch = make_batch(0, size=64)
        start = method.simulate(batch)
        rng = StepRNG(0, 0)
        noise, steps = rng.normal(batch.real), rng.integers(0, 4, 64)
        assert set(steps.tolist()) == {0, 1, 2, 3}
        for i, step in enumerate(steps.tolist()):
            sigma = SIGMAS[[999, 749, 499, 249][step]]
            expected = sigma * noise[i] + (batch.real[i] if step > 0 else 0)
            torch.testing.assert_close(start.x_t[i], expected, rtol=1e-5, atol=1e-5)
            assert start.t[i].item() == pytest.approx(sigma.item())
        assert torch.equal(start.condition, batch.real_condition)

    def test_noised_real_images_run_no_student(self) -> None:
        method = make("dmd2-4step-no-backward-simulation")
        modes = gradient_modes(method)
        method.simulate(make_batch())
        assert modes == []


class TestOtherWorlds:
    """The same class under another schedule and another precision."""

    @pytest.mark.parametrize("name", ["dmd2", "dmd", "dmd2-4step", "dmd2-4step-no-backward-simulation"])
    @pytest.mark.parametrize("prediction", ["epsilon", "v"])
    def test_variance_preserving_teachers(self, name: str, prediction: Any) -> None:
        torch.manual_seed(0)
        teacher = VPDenoiser(make_teacher().network, VPSchedule(prediction)).eval().requires_grad_(False)
        method = make(name, make_context(teacher))
        for iteration in range(3):
            figures = method.training_step(make_batch(iteration))
            assert all(figure.isfinite() for figure in figures.values())
        assert method.simulate(make_batch(0)).t.max() <= 999

    @pytest.fixture
    def bf16(self) -> Iterator[Accelerator]:
        AcceleratorState._reset_state(reset_partial_state=True)
        yield Accelerator(cpu=True, mixed_precision="bf16")
        AcceleratorState._reset_state(reset_partial_state=True)

    @pytest.mark.parametrize("name", ["dmd2", "dmd", "dmd2-4step"])
    def test_bf16_computes_near_float32_and_keeps_weights_and_losses_in_it(
        self, name: str, bf16: Accelerator
    ) -> None:
        method = make(name, TrainingContext(bf16, make_teacher(), None, lambda _: PAIRS))
        reference = ByHand(method)
        batch = make_batch()
        with bf16.autocast():
            figures = method.training_step(batch)
        expected = reference.step(make_batch())
        for key in ("loss/denoising", "image_gradient/dm"):
            torch.testing.assert_close(figures[key], expected[key].detach(), rtol=0.2, atol=0)
        assert {figure.dtype for figure in figures.values()} == {torch.float32}
        assert {p.dtype for p in method.generator.network.parameters()} == {torch.float32}


class Given:
    """A sampler's noise that is given, draw by draw."""

    def __init__(self, noise: list[Tensor]) -> None:
        self.rng = iter(noise)

    def draw(self) -> Tensor:
        return next(self.rng)


def iteration_with_step(step: int) -> tuple[int, Batch]:
    """The first iteration whose draws choose this step of four."""
    for iteration in range(1000):
        rng = StepRNG(0, iteration)
        rng.normal(torch.empty(BATCH, *SHAPE))
        if rng.integer(0, 4) == step:
            return iteration, make_batch(iteration)
    raise AssertionError("no such iteration")


def spy(monkeypatch: pytest.MonkeyPatch, method: DMD, name: str) -> list[Tensor]:
    """Record the first argument of a method's calls."""
    seen: list[Tensor] = []
    original = getattr(method, name)

    def wrapper(first: Tensor, *rest: Any) -> Any:
        seen.append(first)
        return original(first, *rest)

    monkeypatch.setattr(method, name, wrapper)
    return seen


def gradient_modes(method: DMD) -> list[bool]:
    """Record for each call of the student whether a graph was made."""
    modes: list[bool] = []
    method.generator.network.register_forward_hook(lambda *_: modes.append(torch.is_grad_enabled()))
    return modes
