"""Text denoisers: stock UNets of Stable Diffusion and SDXL seen as x0 = D(x_t, t, condition)."""

import copy

import pytest
import torch
from text_pipelines import LATENT_SIDE, SIDE, normal, tiny_unet
from torch import Tensor

from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.denoiser import GuidedDenoiser
from bench.models.schedules import VPSchedule
from bench.models.text.layout import ConditionLayout

SD15 = ConditionLayout(tokens=77, width=16)
SDXL = ConditionLayout(tokens=77, width=40, pooled=24)
TIMES = torch.tensor([0.0, 249.0, 999.0])


def make(sdxl: bool, prediction: str = "epsilon", tap: str = "mid") -> StableDiffusionDenoiser:
    """One of the two tiny denoisers; its weights are the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = tiny_unet(sdxl)
    layout = SDXL if sdxl else SD15
    return StableDiffusionDenoiser(unet, VPSchedule(prediction), layout, SIDE if sdxl else None, taps=(tap,))


def inputs(denoiser: StableDiffusionDenoiser) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents, times and conditions of three samples."""
    return normal(1, 3, 4, LATENT_SIDE, LATENT_SIDE), TIMES, normal(2, 3, denoiser.layout.size)


def stock_call(denoiser: StableDiffusionDenoiser, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    """The UNet called as the diffusers pipelines call it, one sample at a time."""
    outputs = []
    for x, time, entry in zip(x_t, t, condition, strict=True):
        tokens = 77 * denoiser.layout.width
        added = None
        if denoiser.layout.pooled:
            time_ids = torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]])
            added = {"text_embeds": entry[None, tokens:], "time_ids": time_ids}
        embeddings = entry[:tokens].reshape(1, 77, denoiser.layout.width)
        called = denoiser.network(x[None], time.long(), encoder_hidden_states=embeddings, added_cond_kwargs=added)
        outputs.append(called.sample)
    return torch.cat(outputs)


@pytest.fixture(params=[False, True], ids=["sd15", "sdxl"])
def sdxl(request: pytest.FixtureRequest) -> bool:
    """Which of the two kinds of model."""
    return bool(request.param)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@torch.no_grad()
def test_x0_is_the_closed_form_of_a_direct_call(sdxl: bool, prediction: str) -> None:
    denoiser = make(sdxl, prediction)
    x_t, t, condition = inputs(denoiser)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    abar = (1 - betas).cumprod(0)[t.long()].float().reshape(3, 1, 1, 1)
    raw = stock_call(denoiser, x_t, t, condition)
    expected = {
        "epsilon": (x_t - (1 - abar).sqrt() * raw) / abar.sqrt(),
        "v": abar.sqrt() * x_t - (1 - abar).sqrt() * raw,
    }[prediction]
    torch.testing.assert_close(denoiser(x_t, t, condition), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_guidance_equals_two_separate_calls(sdxl: bool) -> None:
    denoiser = make(sdxl)
    x_t, t, condition = inputs(denoiser)
    null = normal(3, 1, denoiser.layout.size)
    found = GuidedDenoiser(denoiser, null, scale=8.0)(x_t, t, condition)
    given, without = denoiser(x_t, t, condition), denoiser(x_t, t, null.expand(3, -1))
    torch.testing.assert_close(found, without + 8 * (given - without), rtol=1e-4, atol=1e-4)


def test_the_text_and_the_pooled_embedding_matter(sdxl: bool) -> None:
    denoiser = make(sdxl)
    x_t, t, condition = inputs(denoiser)
    condition.requires_grad_()
    (gradient,) = torch.autograd.grad(denoiser(x_t, t, condition).sum(), condition)
    for part in denoiser.layout.unpack(gradient):
        assert part is None or part.flatten(1).abs().sum(1).min() > 0


def captured(denoiser: StableDiffusionDenoiser, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """What passes the bottleneck of a full forward, as a hook sees it."""
    seen: list[Tensor] = []
    middle = denoiser.network.mid_block
    if denoiser.taps == ("mid",):
        handle = middle.register_forward_hook(lambda _, args, output: seen.append(output))  # noqa: ARG005
    else:
        handle = middle.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with handle:
        denoiser(*batch)
    return seen[0]


@pytest.mark.parametrize("tap", ["mid", "encoder"])
class TestFeatures:
    def test_they_are_what_a_full_forward_has_there(self, sdxl: bool, tap: str) -> None:
        denoiser = make(sdxl, tap=tap)
        batch = inputs(denoiser)
        with torch.no_grad():
            (features,) = denoiser.features(*batch)
            assert torch.equal(features, captured(denoiser, batch))
            x0, (in_one_pass,) = denoiser.with_features(*batch)
            assert torch.equal(in_one_pass, features)
            assert torch.equal(x0, denoiser(*batch))
        assert (features.shape[1:],) == denoiser.feature_shapes == ((32, 4, 4),)

    def test_gradients_are_those_of_the_full_network(self, sdxl: bool, tap: str) -> None:
        denoiser = make(sdxl, tap=tap)
        batch = inputs(denoiser)
        for tensor in (batch[0], batch[2]):
            tensor.requires_grad_()
        everything = {"x_t": batch[0], "condition": batch[2], **dict(denoiser.named_parameters())}

        def gradients(features: Tensor) -> dict[str, Tensor | None]:
            found = torch.autograd.grad(features.square().sum(), everything.values(), allow_unused=True)
            return dict(zip(everything, found, strict=True))

        by_view, by_hook = gradients(denoiser.features(*batch)[0]), gradients(captured(denoiser, batch))
        reached = {name for name, gradient in by_view.items() if gradient is not None}
        assert reached == {name for name, gradient in by_hook.items() if gradient is not None}
        for name in reached:
            assert torch.equal(by_view[name], by_hook[name]), name
        assert {"x_t", "condition", "network.conv_in.weight"} < reached
        assert not any(".up_blocks." in name or ".conv_out." in name for name in reached)
        assert any(".mid_block." in name for name in reached) == (tap == "mid")
        assert ("network.add_embedding.linear_1.weight" in reached) == sdxl
        named = {id(parameter) for parameter in denoiser.feature_parameters()}
        assert {id(p) for name, p in denoiser.named_parameters() if name in reached} <= named


def test_the_view_owns_no_parameters(sdxl: bool) -> None:
    denoiser = make(sdxl)
    assert set(denoiser.state_dict()) == {f"network.{name}" for name in denoiser.network.state_dict()}
    assert len(list(denoiser.parameters())) == len(list(denoiser.network.parameters()))


@torch.no_grad()
def test_a_deep_copy_has_its_own_view(sdxl: bool) -> None:
    denoiser = make(sdxl)
    batch = inputs(denoiser)
    twin = copy.deepcopy(denoiser)
    (before,) = denoiser.features(*batch)
    twin.network.conv_in.weight.mul_(2)
    assert torch.equal(denoiser.features(*batch)[0], before)
    assert torch.equal(twin.features(*batch)[0], captured(twin, batch))
    assert not torch.equal(twin.features(*batch)[0], before)


def test_checkpointing_changes_no_gradient(sdxl: bool) -> None:
    def gradient(denoiser: StableDiffusionDenoiser) -> list[Tensor]:
        x0, (features,) = denoiser.train().with_features(*inputs(denoiser))
        return list(torch.autograd.grad(x0.square().sum() + features.sum(), list(denoiser.parameters())))

    plain, recomputed = make(sdxl), make(sdxl)
    recomputed.checkpoint_gradients()
    assert recomputed.network.mid_block.gradient_checkpointing
    for a, b in zip(gradient(plain), gradient(recomputed), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_bf16_teacher_takes_float32_and_gives_float32(sdxl: bool) -> None:
    full, half = make(sdxl), make(sdxl).to(torch.bfloat16)
    seen: list[Tensor] = []
    half.network.time_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x_t, t, condition = inputs(full)
    t = torch.tensor([1.0, 249.0, 499.0])  # at 999 an error is multiplied by 15
    found = half(x_t, t, condition)
    assert found.dtype == half.features(x_t, t, condition)[0].dtype == torch.float32
    assert torch.equal(seen[0], t)  # bf16 would have cut 249 of 250, and 999 to 1000
    torch.testing.assert_close(found, full(x_t, t, condition), rtol=0.05, atol=0.1)


def test_a_unet_that_wants_other_conditions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'text_time' does not go with .*resolution None"):
        StableDiffusionDenoiser(tiny_unet(sdxl=True), VPSchedule(), SDXL)
    with pytest.raises(ValueError, match=r"None does not go with .*pooled=24"):
        StableDiffusionDenoiser(tiny_unet(), VPSchedule(), SDXL, SIDE)
