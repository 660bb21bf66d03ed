"""The critic and its discriminator head: the paper's sizes, one logit, and a logit that depends on the image."""

from __future__ import annotations

import pytest
import torch
from tiny_task_context import CLASSES, SHAPE, make_teacher, normal
from torch import nn

from bench.training.distiller import Noised
from methods.critic import Critic, discriminator_head, map_head


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class TestHead:
    def test_has_the_official_size_on_imagenet(self) -> None:
        """Two 4x4 convolutions of 768 channels, their norms, one linear map: 18,879,745 parameters."""
        with torch.device("meta"):
            assert parameters(map_head(768, 8)) == 18_879_745

    @pytest.mark.parametrize(("size", "millions"), [(8, 52.4), (32, 104.9)], ids=["SD1.5", "SDXL"])
    def test_has_the_official_size_on_stable_diffusion(self, size: int, millions: float) -> None:
        with torch.device("meta"):
            count = parameters(map_head(1280, size))
        assert count / 1e6 == pytest.approx(millions, abs=0.05)

    def test_norms_have_the_papers_32_groups_where_there_are_channels_enough(self) -> None:
        with torch.device("meta"):
            norms = [m for m in map_head(768, 8) if isinstance(m, nn.GroupNorm)]
        assert [norm.num_groups for norm in norms] == [32, 32]

    @pytest.mark.parametrize("size", [1, 2, 4, 5, 7, 8, 16, 32])
    def test_gives_one_logit_whatever_the_size_of_the_feature_map(self, size: int) -> None:
        assert map_head(16, size)(normal(0, 3, 16, size, size)).shape == (3, 1, 1, 1)

    @pytest.mark.parametrize("channels", [8, 12, 16, 20, 32, 48, 96])
    def test_logit_depends_on_the_image_also_with_few_channels(self, channels: int) -> None:
        """A group norm over one value is always 0, as on 1x1 maps with as many groups as channels."""
        torch.manual_seed(0)
        head = map_head(channels, 4)
        image = normal(0, 8, channels, 4, 4).requires_grad_()
        logits = head(image).flatten()
        logits.sum().backward()
        assert logits.std() > 1e-2
        assert image.grad is not None and image.grad.abs().max() > 1e-3
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in head.parameters())


class TestCritic:
    @pytest.fixture
    def critic(self) -> Critic:
        denoiser = make_teacher()
        return Critic(denoiser, [discriminator_head(shape) for shape in denoiser.feature_shapes])

    @pytest.fixture
    def made(self) -> Noised:
        return Noised(normal(0, 2, *SHAPE), torch.tensor([0.1, 3.0]), torch.tensor([0, 2]))

    @pytest.fixture
    def mixed(self) -> Noised:
        return Noised(normal(1, 4, *SHAPE), torch.tensor([0.01, 0.5, 2.0, 80.0]), torch.arange(4) % CLASSES)

    def test_denoises_and_classifies_in_one_call(self, critic: Critic, made: Noised, mixed: Noised) -> None:
        both = critic(made, mixed)
        assert both.x0 is not None and both.logits is not None
        assert torch.equal(both.x0, critic.denoiser(*made))
        (features,) = critic.denoiser.features(*mixed)
        assert torch.equal(both.logits, critic.heads[0](features).reshape(4, 1))

    def test_does_only_what_it_is_asked_for(self, critic: Critic, made: Noised, mixed: Noised) -> None:
        assert critic(denoise=made).logits is None
        assert critic(classify=mixed).x0 is None

    def test_judging_trains_the_encoder_and_leaves_the_decoder(self, critic: Critic, mixed: Noised) -> None:
        """The discriminator reads the bottleneck: its gradient reaches the encoder, as in the official code."""
        critic.requires_grad_(True)
        critic(classify=mixed).logits.sum().backward()
        reached = {name for name, p in critic.named_parameters() if p.grad is not None}
        assert any(name.startswith("denoiser.network.down_blocks") for name in reached)
        assert any(name.startswith("heads.0") for name in reached)
        assert not any("up_blocks" in name or "conv_out" in name for name in reached)

    def test_without_a_head_it_refuses_to_classify(self, mixed: Noised) -> None:
        with pytest.raises(AssertionError, match="without a discriminator"):
            Critic(make_teacher())(classify=mixed)
