"""Official networks of DiT and SiT: every tensor is accounted for, and the output is that of the paper."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from class_transformers import CLASSES, HEADS, SIDE, official_network, official_weights

from bench.core.errors import UserError
from bench.models.backbones.dit import DiTDenoiser, SiTDenoiser, linear_schedule
from bench.models.saved import load_denoiser, save_denoiser
from bench.models.schedules import FlowSchedule
from bench.models.weights.dit import read_official

LABELS = torch.tensor([3, 999, CLASSES])


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("nested", [False, True], ids=["state dict", "training"])
def test_dit_predicts_the_noise_of_the_papers_network(nested: bool, tmp_path: Path) -> None:
    state = official_weights()
    training = {"model": {}, "ema": state, "opt": {"state": {}}, "args": argparse.Namespace(model="DiT-XL/2")}
    path = saved(tmp_path / "DiT.pt", training if nested else state)
    denoiser = DiTDenoiser(read_official(path, HEADS), linear_schedule(), "official")
    x, t = torch.randn(3, 4, SIDE, SIDE), torch.tensor([1, 500, 800])
    noise = official_network(state, x, t, LABELS)[:, :4]
    found = denoiser.schedule.noise_in(x, denoiser(x, t, LABELS), t)
    torch.testing.assert_close(found, noise, rtol=0, atol=1e-4)  # float32's error of an angle of 800 is 5e-5


def test_sit_counts_time_from_the_data(tmp_path: Path) -> None:
    state = official_weights()
    denoiser = SiTDenoiser(read_official(saved(tmp_path / "SiT.pt", state), HEADS), FlowSchedule(), "official")
    x, t = torch.randn(3, 4, SIDE, SIDE), torch.tensor([0.1, 0.5, 1.0])
    to_data = official_network(state, x, 1 - t, LABELS)[:, :4]
    expected = x + t[:, None, None, None] * to_data
    torch.testing.assert_close(denoiser(x, t, LABELS), expected, rtol=0, atol=1e-5)


def test_the_frequencies_of_diffusers_are_not_the_official_ones(tmp_path: Path) -> None:
    """At DiT's times the difference shows: weights from the official code are read with its own frequencies."""
    state, times = official_weights(), linear_schedule()
    network = read_official(saved(tmp_path / "DiT.pt", state), HEADS)
    x, t = torch.randn(3, 4, SIDE, SIDE), torch.tensor([500, 700, 999])
    theirs = DiTDenoiser(network, times)(x, t, LABELS)
    assert not torch.allclose(theirs, DiTDenoiser(network, times, "official")(x, t, LABELS), atol=1e-2)
    save_denoiser(DiTDenoiser(network, times, "official"), tmp_path / "saved")
    assert load_denoiser(tmp_path / "saved", DiTDenoiser).denoiser.frequencies == "official"


def test_the_embedders_of_the_blocks_are_copies_in_memory_of_their_own(tmp_path: Path) -> None:
    network = read_official(saved(tmp_path / "DiT.pt", official_weights()), HEADS)
    storages = [one.untyped_storage().data_ptr() for one in network.parameters()]
    assert len(set(storages)) == len(storages)
    assert all(one.dtype == torch.float32 and not one.requires_grad for one in network.parameters())


def without(name: str) -> Callable[[dict], None]:
    return lambda state: state.pop(name)


def changed(name: str, value: Callable[[Any], Any]) -> Callable[[dict], None]:
    return lambda state: state.update({name: value(state[name])})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("x_embedder.proj.weight"), "holds no network of DiT or SiT: there is no x_embedder.proj.weight"),
        (without("pos_embed"), r"pos_embed has the shape \[\]"),
        (without("blocks.1.mlp.fc2.bias"), r"blocks\.1\.mlp\.fc2\.bias \(missing\)"),
        (lambda state: state.update(extra=torch.ones(2)), r"extra \(unexpected\)"),
        (
            changed("blocks.0.attn.qkv.weight", lambda w: w[:-3].clone()),
            r"blocks\.0\.attn\.qkv\.weight \(\[69, 24\]",
        ),
        (
            changed("final_layer.linear.bias", lambda b: b * float("nan")),
            r"final_layer\.linear\.bias \(not finite\)",
        ),
        (changed("pos_embed", lambda p: p.flip(1)), "pos_embed is not the fixed embedding of positions"),
        (changed("pos_embed", lambda p: p[:, :-1].clone()), r"pos_embed \(\[1, 15, 24\]"),
        (changed("blocks.2.attn.proj.weight", lambda w: w.to(torch.int8)), "quantised or not weights"),
    ],
)
def test_what_is_missing_or_strange_is_named(damage, message: str, tmp_path: Path) -> None:
    state = official_weights()
    damage(state)
    with pytest.raises(UserError, match=message) as error:
        read_official(saved(tmp_path / "DiT.pt", state), HEADS)
    assert "DiT.pt" in str(error.value)


def test_a_width_that_no_published_network_has_needs_the_number_of_heads(tmp_path: Path) -> None:
    path = saved(tmp_path / "DiT.pt", official_weights())
    with pytest.raises(UserError, match=r"width 24 is none of the published ones \(384, 768, 1024, 1152\)"):
        read_official(path)
    network = read_official(saved(tmp_path / "S.pt", official_weights(width=384, layers=1)))
    assert network.config.num_attention_heads == 6
