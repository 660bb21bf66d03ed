"""FLUX.1's denoiser and samplers against diffusers' own FluxPipeline, on tiny networks."""

from __future__ import annotations

import pytest
import torch
from diffusers import FluxPipeline
from flux_networks import (
    LAYOUT,
    SIDE,
    conditions,
    first_noise,
    own_latents,
    stock_latents,
    stock_pipeline,
    tiny_denoiser,
)
from torch import Tensor

from bench.models.backbones.flux import FluxDenoiser, pack, positions, unpack
from bench.models.denoiser import GuidedDenoiser
from bench.models.schedules import FlowSchedule, dynamic_shift
from bench.models.text.layout import ConditionLayout

INPUTS = tuple[Tensor, Tensor, Tensor]


@pytest.mark.parametrize("steps", [1, 4, 20])
@pytest.mark.parametrize("guidance", [None, 3.5, 1.5])
def test_samples_are_those_of_the_stock_pipeline(guidance: float | None, steps: int) -> None:
    """Schnell is not shifted, and takes no guidance; dev takes it, and is shifted by the number of tokens."""
    dynamic = guidance is not None
    denoiser = tiny_denoiser(guidance, shift=dynamic_shift(SIDE**2 // 4) if dynamic else 1.0)
    expected = stock_latents(
        stock_pipeline(denoiser.network, use_dynamic_shifting=dynamic),
        conditions(3),
        num_inference_steps=steps,
        guidance_scale=guidance or 0.0,
    )
    torch.testing.assert_close(own_latents(denoiser, conditions(3), steps), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("guidance", [None, 3.5])
def test_guidance_with_a_negative_prompt_is_the_pipeline_s_true_cfg(guidance: float | None) -> None:
    denoiser, null = tiny_denoiser(guidance), conditions(4)
    expected = stock_latents(
        stock_pipeline(denoiser.network),
        conditions(3),
        null[:1].repeat(2, 1),
        true_cfg_scale=2.5,
        num_inference_steps=4,
        guidance_scale=guidance or 0.0,
    )
    guided = GuidedDenoiser(denoiser, null[:1], 2.5)
    torch.testing.assert_close(own_latents(guided, conditions(3), 4), expected, rtol=0, atol=1e-5)


def test_a_network_in_bf16_is_given_the_pipeline_s_rounded_times() -> None:
    """x0 is float32 here and bf16 in the pipeline, so the networks' outputs are compared."""
    denoiser, heard = tiny_denoiser(3.5), []
    denoiser.network.to(torch.bfloat16)
    denoiser.network.register_forward_hook(lambda _, __, output: heard.append(output[0]))
    stock_latents(
        stock_pipeline(denoiser.network),
        conditions(3).bfloat16(),
        num_inference_steps=1,
        sigmas=[0.7],  # 700 is between two numbers of bf16
    )
    with torch.no_grad():
        x0 = denoiser(first_noise().draw(), torch.full((2,), 0.7), conditions(3))
    assert x0.dtype == torch.float32
    torch.testing.assert_close(heard[1], heard[0], rtol=0, atol=0)


def test_latents_are_packed_as_in_the_pipeline() -> None:
    latents = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(pack(latents), FluxPipeline._pack_latents(latents, 2, 4, 6, 6), rtol=0, atol=0)
    torch.testing.assert_close(unpack(pack(latents), 3), latents, rtol=0, atol=0)
    expected = FluxPipeline._prepare_latent_image_ids(1, 3, 3, torch.device("cpu"), torch.float32)
    torch.testing.assert_close(positions(3, torch.device("cpu")), expected, rtol=0, atol=0)


class TestFeatures:
    @pytest.fixture
    def inputs(self) -> INPUTS:
        return first_noise().draw(), torch.tensor([0.3, 0.9]), conditions(3)

    def test_they_are_maps_of_the_image_s_tokens_after_blocks_of_both_kinds(self, inputs: INPUTS) -> None:
        """Of 3 + 2 blocks, 2, 3, 4 and 5 have run at the taps."""
        denoiser, after = tiny_denoiser(3.5, layers=(3, 2), taps=FluxDenoiser.tap_names), []
        for block in [*denoiser.network.transformer_blocks, *denoiser.network.single_transformer_blocks]:
            block.register_forward_hook(lambda _, __, output: after.append(output[1]))
        denoiser(*inputs)
        expected = [tokens.transpose(1, 2).reshape(2, 32, 4, 4) for tokens in after[1:5]]
        assert denoiser.feature_shapes == ((32, 4, 4),) * 4
        for found, wanted in zip(denoiser.features(*inputs), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=0)

    @pytest.mark.parametrize(("tap", "blocks"), [("early", 1), ("middle", 2), ("late", 3), ("last", 4)])
    def test_no_block_after_the_tap_runs(self, tap: str, blocks: int, inputs: INPUTS) -> None:
        denoiser, ran = tiny_denoiser(taps=[tap]), []
        for block in denoiser.blocks:
            block.register_forward_hook(lambda *_: ran.append(1))
        denoiser.features(*inputs)
        assert len(ran) == blocks
        passed = set(denoiser.feature_parameters())
        assert [bool(set(block.parameters()) & passed) for block in denoiser.blocks] == [
            number < blocks for number in range(4)
        ]


def test_dev_takes_3_5_where_no_guidance_is_named() -> None:
    network = tiny_denoiser(1.0).network
    assert FluxDenoiser(network, FlowSchedule(), LAYOUT, SIDE).embedded_guidance == 3.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 7}, "does not consist of patches"),
        ({"embedded_guidance": 3.5}, "takes no embedded guidance"),
        ({"layout": ConditionLayout(tokens=5, width=12)}, "a pooled one of 6"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(options: dict, message: str) -> None:
    network = tiny_denoiser().network
    with pytest.raises(ValueError, match=message):
        FluxDenoiser(network, FlowSchedule(), **{"layout": LAYOUT, "side": SIDE} | options)


def test_a_network_that_edits_images_is_refused() -> None:
    network = tiny_denoiser().network
    network.register_to_config(in_channels=24, out_channels=16)
    with pytest.raises(ValueError, match="edits or fills images"):
        FluxDenoiser(network, FlowSchedule(), LAYOUT, SIDE)


def test_gradients_are_the_same_with_fewer_activations() -> None:
    """Through x0, and through features behind blocks of both kinds."""
    found = []
    for saves in (False, True):
        denoiser = tiny_denoiser(3.5, taps=("late",)).train()
        if saves:
            denoiser.checkpoint_gradients()
        ran: list[int] = []
        denoiser.blocks[0].register_forward_pre_hook(lambda *_, ran=ran: ran.append(1))
        inputs = first_noise().draw(), torch.tensor([0.3, 0.9]), conditions(3)
        (denoiser(*inputs).square().sum() + denoiser.features(*inputs)[0].square().sum()).backward()
        found.append({name: one.grad for name, one in denoiser.named_parameters()})
        assert len(ran) == (4 if saves else 2)  # once more in each backward pass
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=name)
