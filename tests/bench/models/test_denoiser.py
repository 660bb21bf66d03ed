"""Denoisers: preconditioning written out, guidance, and features from a view that shares the network."""

import copy
import math
from collections.abc import Iterator

import pytest
import torch
import torch.distributed
from class_conditional_vp import VPDenoiser
from diffusers import UNet2DModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from bench.core.errors import UserError
from bench.models.backbones.edm import EDMDenoiser, small_network
from bench.models.backbones.unet import UNetFamily
from bench.models.denoiser import Denoiser, GuidedDenoiser
from bench.models.predictions import prediction_to_x0
from bench.models.schedules import EDMSchedule, VPSchedule

CLASSES = 3
SIDE = 8


def tiny_unet(patch_size: int = 1) -> UNet2DModel:
    """Two levels of 8 channels on 8x8 images, with weights that make its output differ from zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return small_network((1, SIDE, SIDE), CLASSES, (8, 8), patch_size, attention_head_dim=8, norm_groups=4)


def edm(tap: str = "mid", patch_size: int = 1) -> EDMDenoiser:
    return EDMDenoiser(tiny_unet(patch_size), EDMSchedule(sigma_data=0.5), patch_size, (tap,))


def vp(prediction: str = "epsilon", tap: str = "mid") -> VPDenoiser:
    return VPDenoiser(tiny_unet(), VPSchedule(prediction), taps=(tap,))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Noisy images, EDM times and classes of four samples."""
    x = torch.randn(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([0.002, 0.3, 2.0, 80.0]), torch.tensor([0, 1, 2, 0])


# Preconditioning


def test_edm_preconditioning_written_out_sample_by_sample(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    x, sigmas, condition = batch
    denoiser, sd = edm(), 0.5
    with torch.no_grad():
        found = denoiser(x, sigmas, condition)
        for i, sigma in enumerate(sigmas.tolist()):
            c_skip = sd**2 / (sigma**2 + sd**2)
            c_out = sigma * sd / math.sqrt(sigma**2 + sd**2)
            c_in = 1 / math.sqrt(sigma**2 + sd**2)
            c_noise = torch.tensor([math.log(sigma) / 4])
            raw = denoiser.network(c_in * x[i : i + 1], c_noise, class_labels=condition[i : i + 1]).sample
            torch.testing.assert_close(found[i : i + 1], c_skip * x[i : i + 1] + c_out * raw)


def test_edm_keeps_the_image_at_little_noise_and_drops_it_at_much(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    x, _, condition = batch
    with torch.no_grad():
        torch.testing.assert_close(edm()(x, torch.full((4,), 1e-5), condition), x, rtol=1e-3, atol=1e-4)
        assert edm()(1e4 * x, torch.full((4,), 1e4), condition).abs().max() < 10


def test_fractional_times_reach_the_network(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """UNet2DModel would cut a Python float to an integer; two sigmas with one integer ln / 4 must differ."""
    x, _, condition = batch
    denoiser = edm()
    seen: list[Tensor] = []
    denoiser.network.time_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        denoiser(x, torch.tensor([1.5, 2.0, 3.0, 4.0]), condition)
    torch.testing.assert_close(seen[0], torch.tensor([1.5, 2.0, 3.0, 4.0]).log() / 4)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_vp_denoiser_turns_the_network_s_prediction_into_x0(
    prediction: str, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    x_t, _, condition = batch
    denoiser, t = vp(prediction), torch.tensor([0.0, 249.0, 500.0, 999.0])
    alpha, sigma = (f(t).float().reshape(4, 1, 1, 1) for f in (denoiser.schedule.alpha, denoiser.schedule.sigma))
    with torch.no_grad():
        raw = denoiser.network(x_t, t, class_labels=condition).sample
        found = denoiser(x_t, t, condition)
    expected = (x_t - sigma * raw) / alpha if prediction == "epsilon" else alpha * x_t - sigma * raw
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_a_perfect_prediction_gives_back_the_image(prediction: str) -> None:
    schedule = VPSchedule(prediction)
    x, eps = torch.randn(2, 1000, 4, generator=torch.Generator().manual_seed(2)).double().unbind(0)
    alpha, sigma = schedule.alpha(schedule.grid)[:, None], schedule.sigma(schedule.grid)[:, None]
    target = eps if prediction == "epsilon" else alpha * eps - sigma * x
    found = prediction_to_x0(alpha * x + sigma * eps, target, schedule.grid, schedule, schedule.prediction)
    torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-11)


# Guidance


class LookUp(Denoiser):
    """x0 is the condition's entry in a table, whatever x_t: guidance can be computed by hand."""

    feature_shapes = ((1, 1, 1),)

    def __init__(self) -> None:
        super().__init__()
        self.schedule = EDMSchedule()
        self.table = torch.tensor([0.0, 1.0, 5.0])
        self.batches: list[int] = []

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        assert len(x_t) == len(t) == len(condition)
        self.batches.append(len(x_t))
        return self.table[condition].reshape(-1, 1, 1, 1).expand_as(x_t)

    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        return (self.table[condition].reshape(-1, 1, 1, 1),)

    def feature_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.parameters()

    def checkpoint_gradients(self) -> None:
        raise NotImplementedError("there is nothing to recompute")


def test_guidance_extrapolates_from_the_null_condition_in_one_doubled_batch() -> None:
    inner = LookUp()
    guided = GuidedDenoiser(inner, torch.tensor([1]), scale=3.0)  # entry 1 of the table plays the null
    x0 = guided(torch.zeros(2, 1, 2, 2), torch.ones(2), torch.tensor([2, 0]))
    assert x0[:, 0, 0, 0].tolist() == [1 + 3 * (5 - 1), 1 + 3 * (0 - 1)]
    assert inner.batches == [4]


def test_guidance_of_scale_1_is_the_conditional_denoiser(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    denoiser = edm()
    guided = GuidedDenoiser(denoiser, torch.tensor([0]), scale=1.0)
    with torch.no_grad():
        torch.testing.assert_close(guided(*batch), denoiser(*batch), rtol=1e-4, atol=1e-5)


def test_guidance_leaves_features_and_state_alone(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    denoiser = edm()
    guided = GuidedDenoiser(denoiser, torch.tensor([0]), scale=7.0)
    with torch.no_grad():
        assert torch.equal(guided.features(*batch)[0], denoiser.features(*batch)[0])
    assert guided.feature_shapes == denoiser.feature_shapes
    assert guided.schedule is denoiser.schedule
    assert {name.removeprefix("denoiser.") for name in guided.state_dict()} == set(denoiser.state_dict())


# The encoder view


DENOISERS = {
    "edm-encoder": lambda: edm("encoder"),
    "edm-mid": lambda: edm("mid"),
    "vp-encoder": lambda: vp(tap="encoder"),
    "vp-mid": lambda: vp(tap="mid"),
}


@pytest.fixture(params=DENOISERS)
def denoiser(request: pytest.FixtureRequest) -> UNetFamily:
    """Every kind of denoiser with each of the two bottlenecks."""
    return DENOISERS[request.param]()


def captured(denoiser: UNetFamily, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Run the whole network and return what passes its bottleneck, the way a hook sees it."""
    unet, seen = denoiser.network, []
    if denoiser.taps == ("mid",):
        handle = unet.mid_block.register_forward_hook(lambda _, args, output: seen.append(output))  # noqa: ARG005
    else:  # the output of the last encoder block is what the middle block is given
        handle = unet.mid_block.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    denoiser(*batch)
    handle.remove()
    return seen[0]


def test_features_are_exactly_what_a_full_forward_has_there(
    denoiser: UNetFamily, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    with torch.no_grad():
        (features,) = denoiser.features(*batch)
        assert torch.equal(features, captured(denoiser, batch))
    assert (features.shape[1:],) == denoiser.feature_shapes == ((8, 4, 4),)


def test_one_pass_gives_the_image_and_the_features(
    denoiser: UNetFamily, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    with torch.no_grad():
        x0, (features,) = denoiser.with_features(*batch)
        assert torch.equal(x0, denoiser(*batch))
        assert torch.equal(features, denoiser.features(*batch)[0])


def test_bottlenecks_differ(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    with torch.no_grad():
        assert not torch.allclose(edm("encoder").features(*batch)[0], edm("mid").features(*batch)[0])


def test_gradients_through_features_are_those_of_the_full_network(
    denoiser: UNetFamily, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    x_t, t, condition = batch
    x_t.requires_grad_(True)
    parameters = dict(denoiser.named_parameters())

    def gradients(features: Tensor) -> dict[str, Tensor | None]:
        everything = {"x_t": x_t, **parameters}
        found = torch.autograd.grad(features.square().sum(), everything.values(), allow_unused=True)
        return dict(zip(everything, found, strict=True))

    by_view = gradients(denoiser.features(x_t, t, condition)[0])
    by_hook = gradients(captured(denoiser, (x_t, t, condition)))
    assert by_view.keys() == by_hook.keys()
    for name, gradient in by_view.items():
        if gradient is None:
            assert by_hook[name] is None, name
        else:
            assert torch.equal(gradient, by_hook[name]), name
    reached = {name for name, gradient in by_view.items() if gradient is not None}
    assert {"x_t", "network.conv_in.weight", "network.class_embedding.weight"} < reached
    assert not any(".up_blocks." in name or ".conv_out." in name for name in reached)
    assert any(".mid_block." in name for name in reached) == (denoiser.taps == ("mid",))


def test_the_view_owns_no_parameters(denoiser: UNetFamily) -> None:
    assert set(denoiser.state_dict()) == {f"network.{name}" for name in denoiser.network.state_dict()}
    assert len(list(denoiser.parameters())) == len(list(denoiser.network.parameters()))


def test_the_view_follows_training_steps(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    denoiser = edm("mid")
    with torch.no_grad():
        (before,) = denoiser.features(*batch)
        denoiser.network.conv_in.weight.mul_(2)
        assert not torch.equal(denoiser.features(*batch)[0], before)
        assert torch.equal(denoiser.features(*batch)[0], captured(denoiser, batch))


def test_a_deep_copy_has_its_own_view(denoiser: UNetFamily, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    twin = copy.deepcopy(denoiser)
    with torch.no_grad():
        (before,) = denoiser.features(*batch)
        assert torch.equal(twin.features(*batch)[0], before)
        twin.network.conv_in.weight.mul_(2)
        assert torch.equal(denoiser.features(*batch)[0], before)
        assert torch.equal(twin.features(*batch)[0], captured(twin, batch))


def test_the_view_follows_a_change_of_dtype(denoiser: UNetFamily, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    x_t, t, condition = batch
    with torch.no_grad():
        (single,) = denoiser.features(x_t, t, condition)
        (double,) = denoiser.to(torch.float64).features(x_t.double(), t.double(), condition)
        assert torch.equal(double, captured(denoiser, (x_t.double(), t.double(), condition)).float())
    torch.testing.assert_close(double, single, rtol=1e-3, atol=1e-4)
    assert double.dtype == torch.float32  # losses are computed in float32 whatever the network's dtype


def test_the_view_is_not_fooled_by_a_forward_patched_onto_the_unet(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """accelerate.prepare leaves such a forward: bound to the whole network, it would run the decoder too."""
    unet = tiny_unet()
    unet.forward = unet._original_forward = unet.forward
    patched = EDMDenoiser(unet, EDMSchedule(), taps=("mid",))
    with torch.no_grad():
        assert torch.equal(patched.features(*batch)[0], edm("mid").features(*batch)[0])


# Patches


def test_patches_are_undone(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """A network that returns its input as it is: the denoiser must then return c_skip x + c_out c_in x."""

    class Same(nn.Module):
        def forward(self, x: Tensor, *_: Tensor, **__: object) -> tuple[Tensor]:
            assert x.shape == (4, 4, SIDE // 2, SIDE // 2)
            return (x,)

    x, sigma, condition = batch
    denoiser = edm(patch_size=2)
    denoiser.network = Same()
    s, variance = sigma.reshape(4, 1, 1, 1), sigma.reshape(4, 1, 1, 1) ** 2 + 0.25
    torch.testing.assert_close(denoiser(x, sigma, condition), (0.25 + 0.5 * s) / variance * x)


def test_a_patched_network_sees_pixels_as_channels(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    x, sigma, condition = batch
    denoiser = edm(patch_size=2)
    assert denoiser.network.config.in_channels == denoiser.network.config.out_channels == 4
    assert denoiser.feature_shapes == ((8, 2, 2),)
    c_in = (sigma**2 + 0.25).rsqrt().reshape(4, 1, 1, 1)
    c_skip, c_out = 0.25 * c_in**2, 0.5 * sigma.reshape(4, 1, 1, 1) * c_in
    with torch.no_grad():
        raw = denoiser.network(F.pixel_unshuffle(c_in * x, 2), sigma.log() / 4, class_labels=condition).sample
        torch.testing.assert_close(denoiser(x, sigma, condition), c_skip * x + c_out * F.pixel_shuffle(raw, 2))
        assert denoiser.features(x, sigma, condition)[0].shape == (4, 8, 2, 2)


# The trap under distributed training


@pytest.fixture
def one_process_group() -> Iterator[None]:
    """A gloo group of this process alone: no network, but DDP's whole machinery."""
    store = torch.distributed.HashStore()
    try:
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    except RuntimeError as error:
        pytest.skip(f"gloo does not start here: {error}")
    yield
    torch.distributed.destroy_process_group()


def test_ddp_synchronises_features_only_inside_the_wrapped_forward(
    one_process_group: None,  # noqa: ARG001
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    """`ddp.module.features(...)` goes behind DDP's back: gradients stay local, and nothing says so."""

    class Critic(nn.Module):
        """Denoiser and features in one forward, as a critic under DDP must have them."""

        def __init__(self) -> None:
            super().__init__()
            self.denoiser = edm("mid")

        def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
            return self.denoiser(x_t, t, condition), self.denoiser.features(x_t, t, condition)[0]

    synchronised: list[int] = []

    def count(state: object, bucket: torch.distributed.GradBucket) -> torch.futures.Future[Tensor]:  # noqa: ARG001
        synchronised.append(len(bucket.parameters()))
        done: torch.futures.Future[Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    ddp = DistributedDataParallel(Critic())
    ddp.register_comm_hook(None, count)

    ddp.module.denoiser.features(*batch)[0].sum().backward()
    assert ddp.module.denoiser.network.conv_in.weight.grad is not None
    assert synchronised == []

    ddp.zero_grad()
    x0, features = ddp(*batch)
    (x0.sum() + features.sum()).backward()
    assert sum(synchronised) == len(list(ddp.parameters()))


# Several places


def test_features_of_two_places_are_those_of_each(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    both = EDMDenoiser(tiny_unet(), EDMSchedule(sigma_data=0.5), taps=("encoder", "mid"))
    assert both.feature_shapes == ((8, 4, 4), (8, 4, 4))
    with torch.no_grad():
        found = both.features(*batch)
        x0, in_one_pass = both.with_features(*batch)
        assert torch.equal(x0, both(*batch))
        for one, again, alone in zip(found, in_one_pass, (edm("encoder"), edm("mid")), strict=True):
            assert torch.equal(one, again) and torch.equal(one, alone.features(*batch)[0])
    assert not both.network.mid_block._forward_hooks and not both.network.mid_block._forward_pre_hooks


# Several depths


def test_deep_features_are_what_a_full_forward_has_at_each_level(
    denoiser: UNetFamily, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Each level's map before it is halved, and the middle block's output."""
    halved: list[Tensor] = []
    middle: list[Tensor] = []
    network = denoiser.network
    handles = [
        *(
            sampler.register_forward_pre_hook(lambda _, inputs: halved.append(inputs[0]))
            for block in network.down_blocks
            for sampler in block.downsamplers or []
        ),
        network.mid_block.register_forward_pre_hook(lambda _, inputs: middle.append(inputs[0])),
        network.mid_block.register_forward_hook(lambda _, __, output: middle.append(output)),
    ]
    with torch.no_grad():
        denoiser(*batch)
    for handle in handles:
        handle.remove()
    with torch.no_grad():
        found = denoiser.deep_features(*batch)
    assert len(found) == len(network.down_blocks) + 1
    assert all(map(torch.equal, found, [*halved, *middle]))
    assert tuple(one.shape[1:] for one in found) == denoiser.deep_feature_shapes
    assert not any(block._forward_hooks for block in network.down_blocks)


def test_gradients_pass_through_deep_features(denoiser: UNetFamily, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    x_t, t, condition = batch
    x_t.requires_grad_(True)
    denoiser.requires_grad_(False)
    for one in denoiser.deep_features(x_t, t, condition):
        (gradient,) = torch.autograd.grad(one.square().sum(), x_t, retain_graph=True)
        assert gradient.abs().max() > 0
    assert all(parameter.grad is None for parameter in denoiser.parameters())


def test_a_network_without_a_form_for_a_lora_says_so() -> None:
    with pytest.raises(
        UserError, match="names no layers that take a LoRA, and is to get one of rank 4; fix: --set lora_r"
    ):
        edm().add_adapters(4, 8.0)


# Limits of guidance


def test_guidance_within_a_range_of_noise_levels_runs_the_network_once_outside(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    x, sigmas, condition = batch
    plain, null = edm(), torch.tensor([CLASSES - 1])
    inside = GuidedDenoiser(plain, null, 3.0, levels=(0.2, 0.9))  # sigma / (1 + sigma): 0.25 to 9
    expected = torch.where(
        torch.tensor([False, True, True, False])[:, None, None, None],
        GuidedDenoiser(plain, null, 3.0)(x, sigmas, condition),
        plain(x, sigmas, condition),
    )
    torch.testing.assert_close(inside(x, sigmas, condition), expected)
    sizes: list[int] = []
    plain.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    inside(x[:1], sigmas[:1], condition[:1])
    inside(x[1:2], sigmas[1:2], condition[1:2])
    assert sizes == [1, 2]


def test_guidance_of_the_first_channels_leaves_the_others_conditional() -> None:
    network = small_network((3, SIDE, SIDE), CLASSES, (8, 8), 1, attention_head_dim=8, norm_groups=4)
    plain, null = EDMDenoiser(network, EDMSchedule(), taps=("mid",)), torch.tensor([0])
    given = torch.randn(2, 3, SIDE, SIDE), torch.tensor([0.3, 2.0]), torch.tensor([1, 2])
    found = GuidedDenoiser(plain, null, 3.0, channels=2)(*given)
    torch.testing.assert_close(found[:, :2], GuidedDenoiser(plain, null, 3.0)(*given)[:, :2])
    torch.testing.assert_close(found[:, 2:], plain(*given)[:, 2:])
