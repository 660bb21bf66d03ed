"""What transformers of diffusers have in common, shown on a tiny network of Stable Diffusion 3."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from bench.models.backbones.sd3 import SD3Denoiser, small_network
from bench.models.saved import load_denoiser, save_denoiser
from bench.models.schedules import FlowSchedule
from bench.models.text.layout import ConditionLayout

LAYOUT = ConditionLayout(tokens=5, width=12, pooled=6)
INPUTS = tuple[Tensor, Tensor, Tensor]


def tiny_denoiser(layers: int = 4, **options) -> SD3Denoiser:
    """Build a network whose every weight matters: diffusers starts modulations at random, so all blocks act."""
    torch.manual_seed(0)
    network = small_network((4, 8, 8), width=16, layers=layers, heads=2, text_width=12, pooled=6)
    return SD3Denoiser(network.double(), FlowSchedule(3.0), LAYOUT, **options)


@pytest.fixture
def inputs() -> INPUTS:
    torch.manual_seed(1)
    return torch.randn(2, 4, 8, 8).double(), torch.tensor([0.3, 0.9]).double(), torch.randn(2, LAYOUT.size)


def test_x0_is_read_from_the_velocity_that_the_network_predicts(inputs: INPUTS) -> None:
    x_t, t, condition = inputs
    denoiser = tiny_denoiser()
    embeddings, pooled = LAYOUT.unpack(condition.double())
    velocity = denoiser.network(x_t, embeddings, pooled, timestep=1000 * t).sample
    expected = x_t - t[:, None, None, None] * velocity
    torch.testing.assert_close(denoiser(*inputs), expected, rtol=0, atol=1e-6)  # times are float32 in the network


@pytest.mark.parametrize("taps", [("middle",), ("early", "last"), ("early", "middle", "late", "last")])
def test_features_are_the_tokens_that_pass_the_blocks_of_the_whole_network(taps, inputs: INPUTS) -> None:
    denoiser = tiny_denoiser(taps=taps)
    alone = denoiser.features(*inputs)
    _, passed = denoiser.with_features(*inputs)
    assert [tuple(one.shape[1:]) for one in alone] == list(denoiser.feature_shapes)
    for one, other in zip(alone, passed, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_features_do_not_run_the_blocks_after_the_last_tap(inputs: INPUTS) -> None:
    denoiser, ran = tiny_denoiser(), []
    for number, block in enumerate(denoiser.blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    denoiser.features(*inputs)
    assert ran == [0, 1]
    assert {id(one) for one in denoiser.feature_parameters()} < {id(one) for one in denoiser.parameters()}
    assert not any(block in denoiser._to_last_tap[0].modules() for block in denoiser.blocks[2:])


@pytest.mark.parametrize("taps", [("early",), ("middle",), ("early", "last")])
def test_feature_parameters_are_those_that_features_give_a_gradient(taps, inputs: INPUTS) -> None:
    """DDP waits for all that are trained; in the last block that runs, what makes the text's tokens gets none."""
    denoiser = tiny_denoiser(taps=taps)
    sum(one.square().sum() for one in denoiser.features(*inputs)).backward()
    reached = {name for name, one in denoiser.named_parameters() if one.grad is not None}
    passed = {id(one) for one in denoiser.feature_parameters()}
    assert reached == {name for name, one in denoiser.named_parameters() if id(one) in passed}


def test_deep_features_are_those_of_a_denoiser_with_all_taps(inputs: INPUTS) -> None:
    deep = tiny_denoiser().deep_features(*inputs)
    everywhere = tiny_denoiser(taps=SD3Denoiser.tap_names).features(*inputs)
    for one, other in zip(deep, everywhere, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_taps_of_a_network_with_one_block_are_all_after_it(inputs: INPUTS) -> None:
    early, last = tiny_denoiser(layers=1, taps=("early", "last")).features(*inputs)
    torch.testing.assert_close(early, last, rtol=0, atol=0)


def gradients(denoiser: SD3Denoiser, inputs: INPUTS) -> Iterator[Tensor]:
    (denoiser(*inputs).square().sum() + denoiser.features(*inputs)[0].square().sum()).backward()
    return (one.grad for one in denoiser.parameters() if one.grad is not None)


def test_gradients_are_the_same_with_fewer_activations(inputs: INPUTS) -> None:
    kept, again = tiny_denoiser().train(), tiny_denoiser().train()
    again.checkpoint_gradients()
    calls = []
    again.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    for one, other in zip(gradients(kept, inputs), gradients(again, inputs), strict=True):
        torch.testing.assert_close(one, other)
    assert len(calls) == 4, "forward and features run the block, and so does the backward pass of each"


def test_an_interval_changes_nothing_at_first_and_matters_once_it_is_trained(inputs: INPUTS) -> None:
    plain, denoiser = tiny_denoiser(), tiny_denoiser()
    denoiser.add_interval()
    assert denoiser.interval is not None
    torch.testing.assert_close(plain(*inputs), denoiser(*inputs, torch.tensor([0.1, 0.2])))
    torch.nn.init.normal_(denoiser.interval.linear.weight)
    assert not torch.allclose(denoiser(*inputs, torch.tensor([0.1, 0.2])), denoiser(*inputs))


def test_a_saved_denoiser_is_read_back_with_its_shift_side_and_taps(tmp_path, inputs: INPUTS) -> None:
    denoiser = tiny_denoiser(side=6, taps=("early", "late")).float()
    save_denoiser(denoiser, tmp_path / "saved", [999, 499])
    found = load_denoiser(tmp_path / "saved", SD3Denoiser)
    assert (found.denoiser.schedule.shift, found.denoiser.side, found.denoiser.taps) == (3.0, 6, ("early", "late"))
    assert found.indices == [999, 499]
    x_t, t, condition = inputs[0][..., :6, :6].float(), *inputs[1:]
    torch.testing.assert_close(found.denoiser(x_t, t, condition), denoiser(x_t, t, condition), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 7}, "does not consist of patches"),
        ({"side": 10}, "larger than the network's positions"),
        ({"taps": ("mid",)}, "known, in this order: early, middle"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_denoiser(**options)
