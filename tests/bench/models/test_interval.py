"""The second time input of a network: without effect at first, saved beside the network, and read again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench.core.errors import UserError
from bench.models.backbones.base import BackboneFamily
from bench.models.backbones.edm import EDMDenoiser
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser, small_network
from bench.models.denoiser import GuidedDenoiser
from bench.models.descriptions import DESCRIPTION
from bench.models.interval import IntervalEmbedding
from bench.models.saved import INTERVAL_FILE, load_denoiser, save_denoiser
from bench.models.schedules import VPSchedule
from bench.models.text.layout import ConditionLayout
from tasks.micro.task import NetworkSpec
from tasks.micro.teacher import build_denoiser

X, CONDITION = torch.ones(2, 1, 8, 8), torch.tensor([0, 2])
T, INTERVAL = torch.tensor([0.5, 2.0]), torch.tensor([0.1, 0.6])


def edm() -> EDMDenoiser:
    spec = NetworkSpec(channels=(8,), patch_size=2, sigma_data=0.75, attention_head_dim=8, norm_groups=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_denoiser(spec, (1, 8, 8), 3).eval().requires_grad_(False)


def with_interval(denoiser: BackboneFamily) -> BackboneFamily:
    """Give a denoiser a second time input that has an effect."""
    denoiser.add_interval()
    assert denoiser.interval is not None
    torch.nn.init.ones_(denoiser.interval.linear.weight)
    return denoiser.requires_grad_(False)


def test_at_first_the_interval_has_no_effect() -> None:
    denoiser = edm()
    before = denoiser(X, T, CONDITION)
    denoiser.add_interval()
    assert torch.equal(denoiser(X, T, CONDITION, INTERVAL), before)


def test_without_an_interval_the_step_leads_to_the_image() -> None:
    """Its length is then rectified flow's time of the noise level, sigma / (1 + sigma) for EDM."""
    denoiser = with_interval(edm())
    whole = denoiser(X, T, CONDITION, T / (1 + T))
    assert torch.equal(denoiser(X, T, CONDITION), whole)
    assert not torch.allclose(denoiser(X, T, CONDITION, INTERVAL), whole)


def test_text_networks_take_one_too() -> None:
    network = small_network((1, 8, 8), (8, 16), text_width=8, heads=2, norm_groups=4)
    layout = ConditionLayout(tokens=3, width=8, pooled=0)
    denoiser = StableDiffusionDenoiser(network, VPSchedule("v"), layout).eval()
    condition, t = torch.ones(2, 24), torch.tensor([100.0, 900.0])
    before = denoiser(X, t, condition)
    with_interval(denoiser)
    assert not torch.allclose(denoiser(X, t, condition, INTERVAL), before)


def test_gradients_reach_the_embedding_and_no_hook_is_left() -> None:
    denoiser = edm()
    denoiser.add_interval()
    denoiser(X, T, CONDITION, INTERVAL).square().sum().backward()
    assert denoiser.interval is not None
    gradient = denoiser.interval.linear.weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0
    assert not denoiser.network.time_embedding._forward_hooks


def test_it_is_saved_beside_the_network_and_read_again(tmp_path: Path) -> None:
    student = with_interval(edm())
    save_denoiser(student, tmp_path / "student", [999])
    again = load_denoiser(tmp_path / "student", EDMDenoiser).denoiser
    assert torch.equal(again(X, T, CONDITION, INTERVAL), student(X, T, CONDITION, INTERVAL))


def test_a_denoiser_without_one_is_saved_as_before(tmp_path: Path) -> None:
    save_denoiser(edm(), tmp_path / "student", [999])
    assert "interval" not in json.loads((tmp_path / "student" / DESCRIPTION).read_text(encoding="utf-8"))
    assert not (tmp_path / "student" / INTERVAL_FILE).exists()
    assert load_denoiser(tmp_path / "student", EDMDenoiser).denoiser.interval is None


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    save_denoiser(with_interval(edm()), folder, [999])
    save_file(IntervalEmbedding(5).state_dict(), folder / INTERVAL_FILE)
    with pytest.raises(
        UserError, match=r"interval.safetensors does not fit its network: .*; fix: make or copy it again"
    ):
        load_denoiser(folder, EDMDenoiser)


def test_a_description_with_another_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    save_denoiser(with_interval(edm()), folder, [999])
    about = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    (folder / DESCRIPTION).write_text(json.dumps(about | {"interval": "../elsewhere"}), encoding="utf-8")
    with pytest.raises(UserError, match="unknown interval"):
        load_denoiser(folder, EDMDenoiser)


def test_networks_without_such_a_form_say_so() -> None:
    with pytest.raises(UserError, match="GuidedDenoiser takes no second time; fix: "):
        GuidedDenoiser(edm(), torch.tensor([0]), 2.0).add_interval()
