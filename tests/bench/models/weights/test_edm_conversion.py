"""Official weights in diffusers' network: the same numbers as a second implementation, and back bit for bit."""

import re

import pytest
import torch
from diffusers import UNet2DModel
from edm_files import to_official
from edm_reference import SMALLEST, VARIED, Sizes, denoise, random_weights, run_network
from torch import Tensor

from bench.core.errors import UserError
from bench.models.backbones.edm import EDMDenoiser
from bench.models.schedules import EDMSchedule
from bench.models.weights.convert import check_attributes, infer_network, official_shapes, to_diffusers
from bench.models.weights.edm_unet import IMAGENET64, EDMNetwork, edm_unet, edm_unet_with

SIGMAS = [0.002, 0.1, 1.0, 20.0, 80.0]
ALL_SIZES = pytest.mark.parametrize("sizes", [SMALLEST, VARIED], ids=["smallest", "varied"])


def network_of(sizes: Sizes) -> EDMNetwork:
    return EDMNetwork(sizes.side, sizes.width, sizes.mult, sizes.blocks, frozenset(sizes.attention), sizes.classes)


def converted(state: dict[str, Tensor]) -> UNet2DModel:
    network = infer_network(state)
    return edm_unet_with(network, to_diffusers(state, network))


def relative_error(found: Tensor, exact: Tensor) -> float:
    """Largest difference over the largest value."""
    return ((found.double() - exact).abs().max() / exact.abs().max()).item()


# The same function


@ALL_SIZES
def test_the_converted_network_computes_what_the_official_formulas_do(sizes: Sizes) -> None:
    """In float32 against the formulas in float64, over the range of noise."""
    state = random_weights(sizes)
    denoiser = EDMDenoiser(converted(state), EDMSchedule(), taps=("encoder",))
    # At little noise x0 is nearly the input and hides the network: its raw output is compared as well.
    raw: list[Tensor] = []
    denoiser.network.register_forward_hook(lambda *called: raw.append(called[-1][0]))
    exact = {name: tensor.double() for name, tensor in state.items()}
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, sizes.classes - 1])
    for sigma in SIGMAS:
        clean, eps = torch.randn(2, 2, 3, sizes.side, sizes.side, generator=generator)
        x_t, t = 0.5 * clean + sigma * eps, torch.full((2,), sigma)
        raw.clear()
        with torch.no_grad():
            x0, output, bottleneck = denoise(sizes, exact, x_t.double(), t.double(), labels)
            assert relative_error(denoiser(x_t, t, labels), x0) < 5e-6
            assert relative_error(raw[0], output) < 5e-6
            assert relative_error(denoiser.features(x_t, t, labels)[0], bottleneck) < 5e-6


def test_the_epsilon_of_normalisation_is_the_official_one() -> None:
    """It shows only where activations are small, so this network's first ones are."""
    state = random_weights(SMALLEST)
    state["model.enc.16x16_conv.weight"] *= 1e-3
    state["model.enc.16x16_conv.bias"] *= 1e-3
    unet, exact = converted(state), {name: tensor.double() for name, tensor in state.items()}
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    noise, labels = torch.tensor([-0.3]), torch.tensor([1])
    with torch.no_grad():
        output, _ = run_network(SMALLEST, exact, x.double(), noise.double(), labels)
        assert relative_error(unet(x, noise, labels).sample, output) < 5e-6


def test_the_bottleneck_is_the_coarsest_level() -> None:
    denoiser = EDMDenoiser(converted(random_weights(VARIED)), EDMSchedule(), taps=("encoder",))
    assert denoiser.feature_shapes == ((256, 4, 4),)


# Names, shapes, order


@ALL_SIZES
def test_there_and_back_is_bit_equal(sizes: Sizes) -> None:
    state = random_weights(sizes)
    network = infer_network(state)
    back = to_official(edm_unet_with(network, to_diffusers(state, network)).state_dict(), network)
    assert list(back) == list(state)
    assert all(torch.equal(back[name], state[name]) for name in state)


@ALL_SIZES
def test_sizes_are_read_from_names_and_shapes(sizes: Sizes) -> None:
    assert infer_network(random_weights(sizes)) == network_of(sizes)


@ALL_SIZES
def test_shapes_are_known_without_weights(sizes: Sizes) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in random_weights(sizes).items()}
    assert official_shapes(network_of(sizes)) == expected


def test_half_precision_weights_become_float32() -> None:
    state = {name: tensor.half() for name, tensor in random_weights(SMALLEST).items()}
    assert {p.dtype for p in converted(state).parameters()} == {torch.float32}


def test_weights_are_shared_where_nothing_moves() -> None:
    state = random_weights(SMALLEST)
    unet = converted(state)
    assert unet.conv_in.weight.data_ptr() == state["model.enc.16x16_conv.weight"].data_ptr()


def test_the_imagenet_network_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        unet = edm_unet(IMAGENET64)
    assert sum(parameter.numel() for parameter in unet.parameters()) == 295_899_267
    assert IMAGENET64.channels == (192, 384, 576, 768)
    filters = 4 * 2 * 3 * 2  # 2x2 numbers, in conv0 and skip of three blocks down and three up
    count = sum(torch.Size(shape).numel() for shape in official_shapes(IMAGENET64).values())
    assert count == 295_899_267 + filters


# What is refused


def changed(state: dict[str, Tensor], **tensors: Tensor | None) -> dict[str, Tensor]:
    """The state with some entries replaced, or left out where None."""
    return {name: tensor for name, tensor in {**state, **tensors}.items() if tensor is not None}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return random_weights(SMALLEST)


def test_missing_unexpected_and_misshapen_keys_are_all_named(state: dict[str, Tensor]) -> None:
    wrong = changed(
        state,
        **{
            "model.out_norm.bias": None,
            "model.extra.weight": torch.ones(1),
            "model.map_layer1.bias": torch.ones(3),
        },
    )
    with pytest.raises(UserError) as caught:
        converted(wrong)
    text = str(caught.value)
    assert "1 missing: model.out_norm.bias" in text
    assert "1 unexpected: model.extra.weight" in text
    assert "1 misshapen: model.map_layer1.bias [3], not [512]" in text


def test_long_lists_are_shortened(state: dict[str, Tensor]) -> None:
    decoder = {name: None for name in state if name.startswith("model.dec.")}
    with pytest.raises(UserError, match=rf"{len(decoder)} missing: .* and {len(decoder) - 4} more"):
        converted(changed(state, **decoder))


def test_keys_that_do_not_print_are_escaped(state: dict[str, Tensor]) -> None:
    with pytest.raises(UserError) as caught:
        converted(changed(state, **{"bad\n\x1b[31mkey": torch.ones(1)}))
    assert str(caught.value).isprintable()


def test_another_resampling_filter_is_refused(state: dict[str, Tensor]) -> None:
    name = "model.enc.8x8_down.skip.resample_filter"
    with pytest.raises(UserError, match=re.escape(name)):
        converted(changed(state, **{name: torch.tensor([[[[0.25, 0.25], [0.25, 0.2501]]]])}))


def test_integers_are_no_weights(state: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match=r"model\.out_conv\.bias does not hold weights \(int64"):
        converted(changed(state, **{"model.out_conv.bias": torch.ones(3, dtype=torch.int64)}))


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        (Sizes(16, 64, (1, 2), 1, (), 3), "not 64"),
        (Sizes(16, 128, (2, 2), 1, (), 3), "not 2 times as many"),
        (Sizes(16, 160, (1, 1), 1, (8,), 3), "multiple of 64, not 160"),
    ],
    ids=["64 channels have 16 groups", "the embedding is as wide as the first level", "heads have 64 channels"],
)
def test_networks_that_diffusers_cannot_represent_are_refused(sizes: Sizes, reason: str) -> None:
    with pytest.raises(UserError, match=f"no diffusers form.*{reason}"):
        infer_network(random_weights(sizes))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["model.map_augment.weight"], "map_augment"),
        (["input_blocks.0.0.weight"], "OpenAI's raw"),
        (["conv_in.weight"], "diffusers"),
    ],
)
def test_other_families_are_named(state: dict[str, Tensor], names: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        infer_network(changed(state, **dict.fromkeys(names, torch.ones(1, 1))))


@pytest.mark.parametrize("name", ["model.map_label.weight", "model.map_layer0.weight", "model.out_conv.weight"])
def test_what_sizes_are_read_from_must_be_there(state: dict[str, Tensor], name: str) -> None:
    for damage in (None, torch.ones(2, 0), torch.ones(3)):
        with pytest.raises(UserError, match=re.escape(name)):
            infer_network(changed(state, **{name: damage}))


def test_weights_without_levels_are_refused(state: dict[str, Tensor]) -> None:
    encoder = {name: None for name in state if name.startswith("model.enc.8x8") or "16x16_block" in name}
    with pytest.raises(UserError, match=r"levels of \[\] pixels"):
        infer_network(changed(state, **encoder))
    gap = {name.replace("8x8", "2x2"): tensor for name, tensor in state.items()}
    with pytest.raises(UserError, match=r"levels of \[16, 2\] pixels"):
        infer_network(gap)


@pytest.mark.parametrize(
    ("path", "name", "good", "bad"),
    [
        ("model.out_norm", "num_groups", 32, 16),
        ("model.out_norm", "eps", 1e-5, 1e-6),
        ("model.dec.8x8_in0", "num_heads", 2, 1),
        ("model.dec.8x8_in1", "num_heads", 0, 2),
        ("model.dec.8x8_in1", "skip_scale", 1, 0.5**0.5),
        ("model.dec.8x8_in1", "adaptive_scale", True, False),
        ("model.map_noise", "endpoint", False, True),
        ("model.map_noise", "max_positions", 10000, 1000),
        ("", "sigma_data", 0.5, 1.0),
    ],
)
def test_what_the_weights_do_not_show_is_checked(path: str, name: str, good: object, bad: object) -> None:
    shapes = official_shapes(network_of(SMALLEST))
    check_attributes({path: {name: good}}, shapes)
    with pytest.raises(UserError, match=f"{name} is"):
        check_attributes({path: {name: bad}}, shapes)


def test_resolutions_must_be_those_of_the_levels() -> None:
    for side, attention, reason in [(15, (), "halved"), (16, (4,), "no level of 4 pixels")]:
        with pytest.raises(UserError, match=reason):
            EDMNetwork(side, 128, (1, 1), 1, frozenset(attention), 3)
