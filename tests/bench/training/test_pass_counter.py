"""The counter of passes: what it counts, and what it does not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from bench.models.denoiser import Denoiser, GuidedDenoiser
from bench.models.schedules import EDMSchedule
from bench.training.cost import Passes
from bench.training.passes import PassCounter, total_passes
from bench.training.trained_model import frozen


class Line(Denoiser):
    """D(x, t) = w x, whose features are half of it."""

    feature_shapes = ((1, 2, 2),)

    def __init__(self) -> None:
        super().__init__()
        self.schedule = EDMSchedule()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:  # noqa: ARG002
        return self.weight * x_t

    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        return (self.weight * x_t / 2,)

    def feature_parameters(self):  # type: ignore[no-untyped-def]
        yield self.weight

    def checkpoint_gradients(self) -> None:
        pass


class Doubled(Line):
    """A subclass whose features are those of its base, doubled."""

    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        return tuple(2 * one for one in super().features(x_t, t, condition))


class Networks:
    """What the counter reads of a distiller."""

    def __init__(self, teacher: Denoiser, **models: Denoiser) -> None:
        self.teacher = teacher
        self.models = {name: _Holder(network) for name, network in models.items()}
        self.targets: dict[str, _Holder] = {}


class _Holder:
    def __init__(self, network: Denoiser) -> None:
        self.network = network


@pytest.fixture
def teacher() -> Line:
    return Line()


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    return torch.ones(3, 1, 2, 2), torch.ones(3), torch.zeros(3, dtype=torch.long)


Inputs = tuple[Tensor, Tensor, Tensor]


def counter_of(teacher: Denoiser, **models: Denoiser) -> PassCounter:
    return PassCounter(Networks(teacher, **models))  # type: ignore[arg-type]


def test_images_are_counted_forward_and_backward(teacher: Line, inputs: Inputs) -> None:
    counter = counter_of(teacher, generator=(student := Line()))
    student(*inputs).sum().backward()
    with torch.no_grad():
        student(*inputs)
        teacher(*inputs)
    assert counter.counts == {"student": Passes(6, 3), "teacher": Passes(3, 0)}


def test_a_gradient_to_the_input_alone_is_a_backward_pass(teacher: Line, inputs: Inputs) -> None:
    counter = counter_of(teacher)
    x_t = inputs[0].clone().requires_grad_()
    with frozen(teacher):
        torch.autograd.grad(teacher(x_t, *inputs[1:]).sum(), x_t)
    assert counter.counts == {"teacher": Passes(3, 3)}


def test_an_output_without_a_gradient_is_no_backward_pass(teacher: Line, inputs: Inputs) -> None:
    counter = counter_of(teacher)
    teacher(*inputs)
    assert counter.counts == {"teacher": Passes(3, 0)}


def test_guidance_is_two_passes(teacher: Line, inputs: Inputs) -> None:
    counter = counter_of(teacher)
    GuidedDenoiser(teacher, torch.zeros(1, dtype=torch.long), 3.0)(*inputs)
    assert counter.counts == {"teacher": Passes(6, 0)}


def test_a_denoiser_around_another_is_counted_once(inputs: Inputs) -> None:
    student = GuidedDenoiser(Line(), torch.zeros(1, dtype=torch.long), 3.0)
    counter = counter_of(Line(), generator=student)
    student(*inputs)
    assert counter.counts == {"student": Passes(6, 0)}


@pytest.mark.parametrize("kind", [Line, Doubled])
def test_features_are_passes_of_the_encoder(kind: type[Line], inputs: Inputs) -> None:
    counter = counter_of(Line(), critic=(critic := kind()))
    critic.features(*inputs)[0].sum().backward()
    assert counter.counts == {"critic's encoder": Passes(3, 3)}


def test_a_copy_is_not_counted(teacher: Line, inputs: Inputs) -> None:
    """Validation samples a copy of the student."""
    counter = counter_of(teacher)
    copied = copy.deepcopy(teacher)
    copied(*inputs)
    copied.features(*inputs)
    assert counter.counts == {}


def test_a_forward_derivative_counts_twice(teacher: Line, inputs: Inputs) -> None:
    counter = counter_of(teacher)
    x_t, *rest = inputs
    value, tangent = torch.func.jvp(lambda x: teacher(x, *rest), (x_t,), (torch.ones_like(x_t),))
    assert torch.equal(value, 2 * x_t) and torch.equal(tangent, torch.full_like(x_t, 2.0))
    assert counter.counts == {"teacher": Passes(6, 0)}


def test_it_continues_from_a_checkpoint(teacher: Line, inputs: Inputs) -> None:
    counter = counter_of(teacher)
    counter.restore({"teacher": (10, 0)})
    teacher(*inputs)
    assert counter.counts == {"teacher": Passes(13, 0)}


def test_a_compiled_network_is_counted(teacher: Line, inputs: Inputs) -> None:
    counter = counter_of(teacher, generator=(student := Line()))
    student.compile(backend="aot_eager")
    for _ in range(2):
        student(*inputs).sum().backward()
    assert counter.counts == {"student": Passes(6, 6)}


def test_processes_are_added_up_whatever_each_has_called() -> None:
    """After a restart the first process has the counts so far, and the others only those since."""
    assert total_passes([{"teacher": Passes(5, 0), "student": Passes(8, 4)}, {"student": Passes(2, 1)}]) == {
        "student": Passes(10, 5),
        "teacher": Passes(5, 0),
    }
