"""sCM: TrigFlow's coordinates and the tangent in closed form, its gradient as the limit of discrete steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gaussian_data import MEAN, STD, denoised, each_schedule, moved, noised_images
from tiny_task_context import BATCH, SHAPE, make_batch, make_context, same, weights
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.schedules import EDMSchedule, NoiseSchedule
from bench.runs.registry import load_catalogue
from methods.flow_maps import derivative_along
from methods.scm import SCM, SCMRecipe, TrigFlow, Weighting, normalised, root_mean_square, tangent

METHODS = load_catalogue().methods
DATA = 0.5
NOTHING = torch.zeros(3)


def build(**values: Any) -> SCM:
    values = {"batch_size": BATCH, "lr": 1e-3, "warmup": 0, **values}
    return SCM(SCMRecipe(**values), make_context())


def trig_point(schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """Return noised images of Gaussian data in TrigFlow's coordinates, and their times t."""
    x_t, own = noised_images(schedule, [150, 500, 850])
    t = torch.atan(schedule.sigma(own) / schedule.alpha(own) / DATA)
    return x_t * (torch.cos(t) / schedule.alpha(own)).reshape(-1, 1, 1, 1), t


def exact_slope(x: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return dx/dt of the exact ODE, by a central difference of its solution."""
    trig, h = TrigFlow(schedule, DATA), 1e-5

    def at(time: Tensor) -> Tensor:
        own, to = (schedule.time_at(DATA * torch.tan(one)) for one in (t, time))
        start = x * (schedule.alpha(own) / torch.cos(t)).reshape(-1, 1, 1, 1)
        reached = moved(start, own, to, schedule)
        return reached * (torch.cos(time) / schedule.alpha(to)).reshape(-1, 1, 1, 1)

    assert trig.schedule is schedule
    return (at(t + h) - at(t - h)) / (2 * h)


@each_schedule
def test_sigma_d_times_the_teachers_network_is_the_slope_of_its_ode(schedule: NoiseSchedule) -> None:
    x, t = trig_point(schedule)
    trig = TrigFlow(schedule, DATA)
    network = trig.network(lambda x, t, _: denoised(x, t, schedule), x, t, NOTHING)  # type: ignore[arg-type]
    torch.testing.assert_close(DATA * network, exact_slope(x, t, schedule), rtol=1e-5, atol=1e-5)


@each_schedule
def test_the_tangent_of_the_exact_consistency_function_vanishes(schedule: NoiseSchedule) -> None:
    """For N(m, s^2) it is f = m + (y - m) s / (s^2 + l^2)^(1/2); neither part of the tangent vanishes alone."""
    x, t = trig_point(schedule)
    trig = TrigFlow(schedule, DATA)

    def exact(x_t: Tensor, own: Tensor, _: Tensor) -> Tensor:
        alpha, sigma = (of(own).reshape(-1, 1, 1, 1) for of in (schedule.alpha, schedule.sigma))
        return MEAN + (x_t - alpha * MEAN) * STD / (alpha**2 * STD**2 + sigma**2).sqrt()

    def student(x: Tensor, t: Tensor) -> Tensor:
        return trig.network(exact, x, t, NOTHING)  # type: ignore[arg-type]

    slope = DATA * trig.network(lambda x, t, _: denoised(x, t, schedule), x, t, NOTHING)  # type: ignore[arg-type]
    scale = torch.cos(t) * torch.sin(t)
    direction = (scale.reshape(-1, 1, 1, 1) * slope, scale)
    derivative = derivative_along(student, (x, t), direction, SCMRecipe())
    stable = tangent(student(x, t), derivative, slope, x, t, 0.0, DATA)
    whole = tangent(student(x, t), derivative, slope, x, t, 1.0, DATA)
    assert float(whole.abs().max()) < 1e-9
    assert float(stable.abs().max()) > 1e-2


class Affine(nn.Module):
    """A small denoiser in float64 with parameters, for gradients by automatic differentiation."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.7, -0.3, 0.2], dtype=torch.float64))

    def forward(self, x_t: Tensor, t: Tensor, _: Tensor) -> Tensor:
        level = t.reshape(-1, 1, 1, 1)
        return self.w[0] * x_t / (1 + level) + self.w[1] * torch.tanh(level * x_t) + self.w[2] * level.sin()


def test_the_gradient_is_the_limit_of_discrete_consistency_distillation() -> None:
    """Its loss is the squared distance of neighbours, divided by the step, at weight 1 / (sigma_d tan t)."""
    schedule, model = EDMSchedule(), Affine()
    trig, (x, t) = TrigFlow(schedule, DATA), trig_point(schedule)

    def student(x: Tensor, t: Tensor) -> Tensor:
        return trig.network(model, x, t, NOTHING)  # type: ignore[arg-type]

    slope = DATA * trig.network(lambda x, t, _: denoised(x, t, schedule), x, t, NOTHING)  # type: ignore[arg-type]
    scale = torch.cos(t) * torch.sin(t)
    derivative = derivative_along(student, (x, t), (scale.reshape(-1, 1, 1, 1) * slope, scale), SCMRecipe())
    F = student(x, t)
    g = tangent(F.detach(), derivative, slope, x, t, 1.0, DATA)
    (continuous,) = torch.autograd.grad((F - F.detach() - g).square().sum(), model.w)

    def f(x: Tensor, t: Tensor) -> Tensor:
        cos, sin = torch.cos(t).reshape(-1, 1, 1, 1), torch.sin(t).reshape(-1, 1, 1, 1)
        return cos * x - sin * DATA * student(x, t)

    h = 1e-8
    neighbour = f(x - h * slope, t - h).detach()
    weight = (1 / (DATA * torch.tan(t))).reshape(-1, 1, 1, 1)
    (discrete,) = torch.autograd.grad((weight * (f(x, t) - neighbour).square()).sum() / h, model.w)
    torch.testing.assert_close(continuous, discrete, rtol=1e-4, atol=1e-4)


def test_a_normalised_tangent_has_at_most_unit_size_and_keeps_its_direction() -> None:
    g = torch.stack([torch.full(SHAPE, 1e4), torch.full(SHAPE, 1e-4)]).double()
    found = normalised(g, 0.1)
    torch.testing.assert_close(root_mean_square(found), torch.tensor([1e4 / (1e4 + 0.1), 1e-4 / 0.1001]).double())
    assert (found > 0).all()


def test_the_learned_weight_makes_losses_of_all_times_alike() -> None:
    """The minimum of exp(w) e - w is w = -log e: here the loss of the first time is 100 times the other's."""
    weighting, t, error = Weighting(), torch.tensor([0.3, 1.3]), torch.tensor([4.0, 0.04])
    assert torch.equal(weighting(t), torch.zeros(2))
    optimizer = torch.optim.Adam(weighting.parameters(), 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        w = weighting(t)
        (w.exp() * error - w).mean().backward()
        optimizer.step()
    torch.testing.assert_close(weighting(t).exp() * error, torch.ones(2), rtol=0.02, atol=0.02)


def test_the_tangent_warms_up_with_the_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(*args: Any) -> Tensor:
        seen.append(args[5])
        return tangent(*args)

    monkeypatch.setattr("methods.scm.tangent", watched)
    method = build(tangent_warmup=4)
    for iteration in (0, 1, 4, 9):
        method.training_step(make_batch(iteration))
    assert seen == [0.0, 0.25, 1.0, 1.0]


@pytest.mark.parametrize("values", [{}, {"weighting": "prior"}, {"tangent": "finite-difference"}])
def test_only_the_student_and_the_weighting_are_trained_and_passes_are_counted(values: dict[str, Any]) -> None:
    method = build(iterations=3, **values)
    teacher, calls = weights(method.teacher), {"student": 0, "teacher": 0}
    method.generator.network.register_forward_hook(lambda *_: calls.update(student=calls["student"] + 1))
    method.teacher.register_forward_hook(lambda *_: calls.update(teacher=calls["teacher"] + 1))
    for iteration in range(3):
        figures = method.training_step(make_batch(iteration))
        assert all(figure.ndim == 0 and figure.isfinite() for figure in figures.values())
    assert same(teacher, method.teacher) and not same(teacher, method.generator.network)
    passes = method.recipe.cost().passes
    assert calls["teacher"] == passes["teacher"].forward
    in_forward_mode = 3 if method.recipe.tangent == "jvp" else 0  # one call that costs two passes
    assert calls["student"] + in_forward_mode == passes["student"].forward
    assert list(method.models) == ["generator"] + ["weighting"] * (method.recipe.weighting == "learned")


@pytest.mark.usefixtures("kept_gradients")
def test_exact_tangents_and_finite_differences_train_alike() -> None:
    gradients = []
    for way in ("jvp", "finite-difference"):
        method = build(tangent=way, tangent_warmup=0, clip_norm=1e9)
        method.training_step(make_batch())
        gradients.append(torch.cat([p.grad.flatten() for p in method.generator.network.parameters()]))
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 1e-2


def test_guidance_requires_a_null_condition() -> None:
    with pytest.raises(UserError, match="null condition"):
        build(guidance_scale=2.0)


@pytest.mark.parametrize("task", ["digits", "fashion", "scenes", "scenes-flow"])
def test_micro_tasks_have_recipes(task: str) -> None:
    recipe = METHODS.get("scm-4step").recipe(task, "micro", {})
    assert isinstance(recipe, SCMRecipe)
    assert (recipe.student_steps, recipe.batch_size) == (4, 32)
