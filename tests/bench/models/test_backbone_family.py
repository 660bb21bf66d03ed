"""A family of backbones that bench does not know: found by its entry point, trained, saved and read back."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from bench.core.errors import UserError
from bench.models.backbones import base
from bench.models.backbones.base import BackboneFamily, find_family
from bench.models.backbones.edm import EDMDenoiser, small_network
from bench.models.bf16 import to_bf16
from bench.models.samplers import SampleNoise, few_step, heun
from bench.models.saved import load_denoiser, save_denoiser, saved_family
from bench.models.schedules import EDMSchedule, FlowSchedule
from bench.runs.registry import load_catalogue
from bench.training.compiling import compile_network
from bench.training.distiller import Batch, Recipe, TrainingContext
from bench.training.step_rng import StepRNG
from methods.critic import Critic, Noised, discriminator_head
from methods.dmd import DMD

EXAMPLE = Path(__file__).parents[3] / "examples" / "backbone.py"


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, value: str, name: str = "pixel-transformer") -> None:
    """Put a distribution with one family on the path, as `pip install` does."""
    about = folder / "toy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[bench.backbones]\n{name} = {value}\n")
    monkeypatch.syspath_prepend(folder)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[BackboneFamily]]:
    """The toy family, installed but not imported."""
    (tmp_path / "site").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "site" / "own_backbone.py")
    install(tmp_path / "site", monkeypatch, "own_backbone:TransformerDenoiser")
    monkeypatch.setattr(base, "FAMILIES", dict(base.FAMILIES))
    base.FAMILIES.pop("pixel-transformer", None)
    sys.modules.pop("own_backbone", None)
    yield find_family("pixel-transformer")
    sys.modules.pop("own_backbone", None)


def teacher_of(toy: Any) -> BackboneFamily:
    torch.manual_seed(0)
    denoiser: BackboneFamily = toy(sys.modules["own_backbone"].Transformer(), FlowSchedule(), toy.tap_names)
    return denoiser.eval().requires_grad_(False)


def batch(iteration: int) -> Batch:
    normal = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(iteration))
    classes = torch.arange(6) % 3
    return Batch(iteration, StepRNG(0, iteration), classes, normal.clamp(-1, 1), classes)


@pytest.mark.parametrize("name", ["dmd2", "dmd2-4step"])
def test_dmd2_trains_it_and_its_student_comes_back_equal(
    toy: type[BackboneFamily], name: str, tmp_path: Path
) -> None:
    recipe = load_catalogue().methods.get(name).recipe("tiny", "paper", {"batch_size": 6, "lr": 1e-3})
    teacher = teacher_of(toy)
    method = DMD(recipe, TrainingContext(Accelerator(cpu=True), teacher, None, lambda _: None))  # type: ignore[arg-type,return-value]
    for iteration in range(10):
        figures = method.training_step(batch(iteration))
        assert all(figure.isfinite() for figure in figures.values()), figures
    critic = method.models["critic"].network
    assert isinstance(critic, Critic) and len(critic.heads) == 2

    student = method.generator.network.eval()
    save_denoiser(student, tmp_path / "student", method.indices)
    family = saved_family(tmp_path / "student")
    assert family is toy
    saved = load_denoiser(tmp_path / "student", family)
    assert saved.indices == method.indices
    with torch.no_grad():
        images = [
            few_step(one, SampleNoise([1, 2], (1, 4, 4)), torch.tensor([0, 2]), saved.indices)
            for one in (student, saved.denoiser, teacher)
        ]
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])


def test_the_critic_has_a_head_for_the_tokens_of_each_place(toy: type[BackboneFamily]) -> None:
    denoiser = teacher_of(toy).requires_grad_(True)
    critic = Critic(denoiser, [discriminator_head(shape) for shape in denoiser.feature_shapes])
    one = batch(0)
    noised = Noised(one.real, torch.linspace(0.1, 1, 6), one.condition)
    output = critic(classify=noised)
    assert output.logits.shape == (6, 2)
    for place, (head, features) in enumerate(zip(critic.heads, denoiser.features(*noised), strict=True)):
        assert torch.equal(output.logits[:, place], head(features)[:, 0])
    output.logits.sum().backward()
    reached = {name for name, p in critic.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert {"denoiser.network.pixels.weight", "heads.0.0.weight", "heads.1.3.weight"} < reached
    assert not any("blocks.2" in name or "network.out" in name for name in reached)


def test_a_lora_is_trained_saved_and_merged_into_a_copy_of_the_teacher(
    toy: type[BackboneFamily], tmp_path: Path
) -> None:
    teacher, denoiser = teacher_of(toy), teacher_of(toy)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    denoiser.add_adapters(2, 4)
    with torch.no_grad():
        for name, parameter in denoiser.named_parameters():
            if "lora_B" in name:
                parameter += 0.3
    save_denoiser(denoiser, tmp_path / "student", [999])
    read = load_denoiser(tmp_path / "student", toy, teacher).denoiser
    one = batch(0)
    given = one.real, torch.full((6,), 0.7), one.condition
    denoiser.train()  # in evaluation mode torch's layer takes a short cut past the adapters
    with torch.no_grad():
        torch.testing.assert_close(read(*given), denoiser(*given), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(read(*given), teacher(*given))
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_its_network_runs_in_bf16_and_its_images_and_features_are_float32(toy: type[BackboneFamily]) -> None:
    teacher = teacher_of(toy)
    one, t = batch(0), torch.full((6,), 0.7)
    expected = teacher(one.real, t, one.condition)
    to_bf16(teacher.network)
    found = teacher(one.real, t, one.condition)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
    assert not torch.equal(found, expected)
    assert {features.dtype for features in teacher.features(one.real, t, one.condition)} == {torch.float32}


def test_blocks_of_a_family_that_names_none_are_not_left_uncompiled_in_silence(
    toy: type[BackboneFamily], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(compile_backend="aot_eager", compile_units="blocks")
    compile_network(teacher_of(toy), recipe)
    monkeypatch.setattr(toy, "repeated_blocks", BackboneFamily.repeated_blocks)
    with pytest.raises(UserError, match="'pixel-transformer' names no repeated_blocks; fix: --set compile_units"):
        compile_network(teacher_of(toy), recipe)


def test_the_teacher_of_a_flow_is_sampled_from_the_largest_level_with_signal(toy: type[BackboneFamily]) -> None:
    with torch.no_grad():
        images = heun(teacher_of(toy), SampleNoise([1, 2], (1, 4, 4)), torch.tensor([0, 1]), 5)
    assert images.isfinite().all()


def test_taps_that_a_family_has_not_are_refused() -> None:
    network = small_network((1, 8, 8), 3, (8,), norm_groups=4)
    for taps in ((), ("third",), ("mid", "encoder"), ("mid", "mid")):
        with pytest.raises(ValueError, match="known, in this order: encoder, mid"):
            EDMDenoiser(network, EDMSchedule(), taps=taps)


def test_a_family_that_recomputes_no_activations_says_so(toy: type[BackboneFamily]) -> None:
    with pytest.raises(UserError, match="keeps all activations; fix: --set gradient_checkpointing=false"):
        teacher_of(toy).checkpoint_gradients()


def test_an_unknown_family_is_named_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "denoiser.json").write_text('{"kind": "edn"}')
    with pytest.raises(UserError, match=r"unknown backbone family 'edn'; did you mean 'edm'\?"):
        saved_family(tmp_path)
    (tmp_path / "denoiser.json").write_text('{"kind": ["edm"]}')
    with pytest.raises(UserError, match=r"denoiser\.json is damaged"):
        saved_family(tmp_path)


def test_a_family_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_backbone.py").write_text("1 / 0\n")
    install(tmp_path, monkeypatch, "broken_backbone:Family", name="broken")
    with pytest.raises(UserError, match=r"cannot load the backbone family 'broken' .*division by zero") as caught:
        find_family("broken")
    assert "\n" not in str(caught.value)


def test_installed_families_are_found_by_their_names() -> None:
    assert [find_family(name).__name__ for name in ("edm", "text")] == ["EDMDenoiser", "StableDiffusionDenoiser"]
