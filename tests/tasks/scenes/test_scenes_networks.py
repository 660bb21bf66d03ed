"""The networks of scenes: those of the large text models' families, and the times that each is trained at."""

import pytest
import torch

from bench.models.backbones.sd3 import SD3Denoiser
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.schedules import FlowSchedule, VPSchedule
from tasks.scenes.networks import FAMILIES, SceneDenoiser, training_times
from tasks.scenes.task import TASK, TASK_FLOW, ScenesTask
from tasks.scenes.teacher import build_painter


def network_of(task: ScenesTask) -> SceneDenoiser:
    """Return the untrained network of a task's own size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_painter(task.network, task.image_shape).denoiser


@pytest.mark.parametrize(("task", "family"), [(TASK, StableDiffusionDenoiser), (TASK_FLOW, SD3Denoiser)])
def test_each_task_has_the_family_of_a_large_model(task: ScenesTask, family: type[SceneDenoiser]) -> None:
    denoiser = network_of(task)
    assert type(denoiser) is family is FAMILIES[type(task.network)]
    assert denoiser.sample_shape == task.image_shape


def test_the_tasks_share_all_but_network_teacher_and_its_solver() -> None:
    assert TASK.teacher_key() != TASK_FLOW.teacher_key()
    assert TASK.features_key() == TASK_FLOW.features_key()
    for part in ("protocol", "data", "classifier", "train_sha256", "held_out_sha256", "image_shape"):
        assert getattr(TASK, part) == getattr(TASK_FLOW, part), part
    assert list(TASK.baselines) == list(TASK_FLOW.baselines), "tables of one name their samplers for the other"


def test_a_transformer_starts_without_effect() -> None:
    """Its velocity is 0 at first, so x0 is x_t, and the loss moves the last layer alone."""
    denoiser = network_of(TASK_FLOW)
    x, t = torch.randn(2, *TASK_FLOW.image_shape), torch.tensor([0.3, 1.0])
    condition = torch.randn(2, denoiser.layout.size)
    x0 = denoiser(x, t, condition)
    torch.testing.assert_close(x0, x)
    x0.square().mean().backward()
    gradients = {name: weight.grad for name, weight in denoiser.network.named_parameters()}
    moved = {name for name, gradient in gradients.items() if gradient is not None and gradient.any()}
    assert moved == {"proj_out.weight", "proj_out.bias"}


def test_a_flow_is_trained_at_logit_normal_times_and_stable_diffusion_s_kind_on_its_grid() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = training_times(FlowSchedule(), 20_000, generator).logit()
    assert logits.mean().abs() < 0.03 and (logits.std() - 1).abs() < 0.03
    times = training_times(VPSchedule(), 20_000, generator)
    assert torch.equal(times, times.round()) and (times.min(), times.max()) == (0, 999)
