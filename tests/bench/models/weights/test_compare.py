"""What of a file is not a network: named, whatever put it there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.weights.compare import differences, same_weights, without_prefixes
from bench.models.weights.state_dicts import fill


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).state_dict()


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "module.", "unet.", "model.diffusion_model.", "_orig_mod.module.", "module._orig_mod.unet."],
)
def test_prefixes_that_tools_put_before_names_are_stripped(prefix: str) -> None:
    filled = network()
    fill(filled, {prefix + name: value for name, value in state().items()}, "file", "the network")
    assert all(torch.equal(filled.state_dict()[name], value) for name, value in state().items())


def test_a_part_that_was_compiled_inside_is_read() -> None:
    found = without_prefixes({"0._orig_mod.weight": torch.ones(1)}, {"0.weight"}.__contains__)
    assert list(found) == ["0.weight"]


def test_a_tensor_that_is_there_twice_is_not_chosen_between() -> None:
    with pytest.raises(UserError, match=r"module\.0\.bias \(unexpected\)"):
        fill(network(), state() | {"module.0.bias": torch.zeros(3)}, "file", "the network")


def test_another_prefix_is_named() -> None:
    with pytest.raises(UserError, match=r"0\.weight \(missing\).*net\.0\.weight \(unexpected\)"):
        fill(network(), {f"net.{name}": value for name, value in state().items()}, "file", "the network")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (torch.ones(3, 2, dtype=torch.int8), r"int8: quantised"),
        (torch.ones(3, 2, dtype=torch.uint8), r"uint8: quantised"),
        (torch.ones(3, 2, dtype=torch.int64), r"int64: quantised"),
        (torch.ones(3, 2, dtype=torch.bool), r"bool: quantised"),
        (torch.ones(3, 2).to(torch.float8_e4m3fn), r"float8_e4m3fn: quantised"),
        (torch.ones(3, 2, dtype=torch.complex64), r"complex64: quantised"),
        (torch.tensor([[1.0, torch.nan]] * 3), "not finite"),
        (torch.tensor([[1.0, -torch.inf]] * 3, dtype=torch.float16), "not finite"),
        (torch.ones(2, 3), r"\[2, 3\] for \[3, 2\]"),
    ],
)
def test_what_is_no_weights_is_refused(value: Tensor, problem: str) -> None:
    with pytest.raises(UserError, match=rf"file is not the network: 0\.weight \({problem}"):
        fill(network(), state() | {"0.weight": value}, "file", "the network")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_become_the_network_s(dtype: torch.dtype) -> None:
    filled = network()
    given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state().items()}
    fill(filled, given, "file", "the network")
    assert filled.state_dict()["0.weight"].dtype == torch.float32
    assert filled.state_dict()["1.num_batches_tracked"].dtype == torch.int64


def test_every_kind_of_difference_is_listed() -> None:
    given = state() | {"more": torch.zeros(1), "0.bias": torch.zeros(4)}
    del given["1.running_mean"]
    found = differences(network().state_dict(), given)
    assert found == "1.running_mean (missing); more (unexpected); 0.bias ([4] for [3])"


def test_names_from_a_file_cannot_write_to_the_terminal() -> None:
    assert differences({}, {"\x1b[31mred": torch.zeros(1)}) == "\\x1b[31mred (unexpected)"


def test_weights_are_the_same_also_after_they_were_rounded_to_16_bits() -> None:
    first = network()
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        assert same_weights(network().to(kind).float(), first)
    changed = network()
    changed.state_dict()["0.bias"][0] += 1e-3
    assert not same_weights(changed, first)
    assert not same_weights(nn.Linear(2, 3), first)
