"""Networks on one base: what they share, what is trained, averaged and saved, and that a run resumes exactly."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from one_base_support import (
    LATENTS,
    LAYOUT,
    LORAS,
    ONE_BASE,
    copied,
    make,
    make_teacher,
    same,
    trained,
)
from text_fixtures import sdxl_folder
from text_pipelines import normal
from torch import nn

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.denoiser import Denoiser
from bench.models.saved import load_denoiser, save_denoiser
from bench.models.text.pipelines import load_pipeline
from bench.training.cadence import Cadence
from bench.training.checkpoint import checkpoints, start_from
from bench.training.distiller import Distiller
from bench.training.one_base import OwnState, copy_on, shared_names
from bench.training.trainer import Trainer

__all__ = ["sdxl_folder"]

INPUTS = normal(7, 2, *LATENTS), torch.full((2,), 500.0), normal(8, 2, LAYOUT.size)


def storages(*networks: nn.Module) -> dict[int, int]:
    """Return the bytes of each storage that networks have."""
    tensors = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}


def task(teacher: Denoiser) -> Any:
    """A prepared task as training needs it: three images with conditions of their own."""
    real, conditions = normal(2, 3, *LATENTS), normal(3, 3, LAYOUT.size)
    return SimpleNamespace(
        teacher=teacher,
        teacher_sha256="0" * 64,
        real_count=3,
        training_conditions=3,
        real_batch=lambda positions, device: (real[positions].to(device), conditions[positions].to(device)),
        training_condition_on=lambda positions, device: conditions[positions].to(device),
        save_student=save_denoiser,
    )


def train(
    folder: Path, iterations: int, measure: Callable[[Denoiser], dict[str, float]], **values: Any
) -> Trainer:
    """Train on the small task, with a checkpoint after each iteration."""
    method = make(iterations=iterations, **values)
    trainer = Trainer(method, task(make_teacher()), 0, folder, method.accelerator)
    trainer.run(Cadence(1, 1), SilentProgress(), measure)
    return trainer


def no_measure(_student: Denoiser) -> dict[str, float]:
    return {}


def test_a_copy_has_the_tensors_of_its_base_and_modules_of_its_own() -> None:
    teacher = make_teacher()
    other = copy_on(teacher)
    assert storages(teacher) == storages(teacher, other)
    assert not {id(part) for part in teacher.modules()} & {id(part) for part in other.modules()}
    other.train().checkpoint_gradients()
    other.add_adapters(2, 8)
    assert not teacher.training and not teacher.network.is_gradient_checkpointing
    assert teacher.adapters() is None and other.adapters() is not None
    assert torch.equal(teacher(*INPUTS), other.eval()(*INPUTS))  # an adapter changes nothing at first
    names = shared_names(other, teacher)
    assert len(names) == len(list(teacher.parameters())) + len(list(teacher.buffers()))
    assert (
        names["network.mid_block.resnets.0.conv1.base_layer.weight"] == "network.mid_block.resnets.0.conv1.weight"
    )


def test_the_base_is_there_once() -> None:
    method, apart = make(**ONE_BASE), make(**LORAS)
    networks, others = ([one.teacher, *(m.network for m in one.models.values())] for one in (method, apart))
    base = sum(storages(method.teacher).values())
    added = sum(4 * weight.numel() for model in method.models.values() for weight in trained(model).values())
    assert sum(storages(*networks).values()) == base + added
    assert sum(storages(*others).values()) == 3 * base + added
    for model in method.models.values():
        optimised = [weight for group in model.optimizer.param_groups for weight in group["params"]]
        assert [*map(id, optimised)] == [*map(id, trained(model).values())]


def test_own_state_leaves_the_base_out_and_refuses_it() -> None:
    base = nn.Linear(2, 2)
    network = nn.Sequential(base, nn.Linear(2, 1))
    own = OwnState(network, shared_names(network, base))
    state = copied(own.state_dict())
    assert list(state) == ["1.weight", "1.bias"]
    assert own.load_state_dict({"1.weight": torch.ones(1, 2)}, strict=False) == (["1.bias"], [])
    assert torch.equal(network[1].weight, torch.ones(1, 2))
    with pytest.raises(RuntimeError, match=r"missing: ; unexpected: 0\.weight"):
        own.load_state_dict({**state, "0.weight": torch.ones(2, 2)})
    assert not torch.equal(base.weight, torch.ones(2, 2))
    with pytest.raises(RuntimeError, match=r"missing: 1\.bias; unexpected: $"):
        own.load_state_dict({"1.weight": state["1.weight"]})


def test_checkpoints_and_the_average_have_the_trained_weights_alone(tmp_path: Path) -> None:
    trainer = train(tmp_path, 2, no_measure, ema_decay=0.9, **ONE_BASE)
    method = trainer.distiller
    average = trainer.evaluated.average
    assert average is not None and average.keys() == trained(method.generator).keys()
    path = checkpoints(tmp_path / "checkpoints")[-1]
    content = torch.load(path, weights_only=True)
    assert content["average"].keys() == average.keys()
    for name, model in method.models.items():
        assert same(content["models"][name]["network"], copied(trained(model)))
    assert path.stat().st_size < train_size(tmp_path / "apart") / 2


def train_size(folder: Path) -> int:
    """Return the size of a checkpoint of networks with a base each."""
    train(folder, 1, no_measure, ema_decay=0.9, **LORAS)
    return checkpoints(folder / "checkpoints")[-1].stat().st_size


def test_a_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    values = {"ema_decay": 0.9, "gradient_accumulation": 2, **ONE_BASE}
    whole = train(tmp_path / "whole", 3, no_measure, **values)
    train(tmp_path / "broken", 1, no_measure, **values)
    resumed = train(tmp_path / "broken", 3, no_measure, **values)
    one, other = (
        torch.load(path / "checkpoints" / "0000003.pt", weights_only=True)
        for path in (tmp_path / "whole", tmp_path / "broken")
    )
    average, again = whole.evaluated.average, resumed.evaluated.average
    assert average is not None and again is not None and same(average, again)
    for name, model in one["models"].items():
        assert same(model["network"], other["models"][name]["network"])
        moments, others = (content["models"][name]["optimizer"]["state"] for content in (one, other))
        assert moments.keys() == others.keys() and all(same(moments[index], others[index]) for index in moments)
    assert one["passes"] == other["passes"] and one["passes"].keys() >= {"student", "teacher", "critic"}


def test_the_student_is_validated_on_the_base_and_the_task_s_teacher_stays(tmp_path: Path) -> None:
    """A sampler moves what it samples to the device. The base is there already, so a LoRA alone is added."""
    students: list[Denoiser] = []
    trainer = train(tmp_path, 1, lambda one: students.append(one) or {}, **ONE_BASE)
    (student,) = students[-1:]
    base = storages(trainer.distiller.teacher)
    assert base.keys() < storages(student).keys() and not base.keys() & storages(trainer.prepared.teacher).keys()
    with torch.no_grad():
        torch.testing.assert_close(student(*INPUTS), trainer.distiller.generator.network.eval()(*INPUTS))
    assert not any(weight.requires_grad for weight in student.parameters())
    assert all(weight.requires_grad for weight in trained(trainer.distiller.generator).values())


def test_a_bf16_base_has_float32_adapters_that_learn(tmp_path: Path) -> None:
    half = {"precision": "bf16", "teacher_precision": "bf16"}
    with torch.autocast("cpu", torch.bfloat16):
        trainer = train(tmp_path, 2, no_measure, **half, **ONE_BASE)
    method = trainer.distiller
    assert {weight.dtype for weight in method.teacher.parameters()} == {torch.bfloat16}
    for model in method.models.values():
        assert {weight.dtype for weight in trained(model).values()} == {torch.float32}
        assert {weight.dtype for weight in model.network.parameters()} == {torch.bfloat16, torch.float32}
    whole = make(**LORAS).generator.network
    whole.load_state_dict(method.generator.state_dict(), strict=False)
    with torch.no_grad():
        found, expected = trainer.evaluated.copy()(*INPUTS), whole.eval()(*INPUTS)
    assert found.dtype == torch.float32
    assert (found - expected).square().mean() < 1e-3 * expected.square().mean()


def test_a_student_of_bf16_weights_is_a_lora_on_the_float32_teacher(tmp_path: Path) -> None:
    trainer = train(tmp_path, 2, no_measure, precision="bf16-weights", **LORAS)
    student, teacher, master = trainer.evaluated.copy(), make_teacher(), trainer.distiller.generator.master
    for name, weight in student.named_parameters():
        own = "lora" in name
        expected = master.get_parameter(name) if own else teacher.get_parameter(name.replace(".base_layer", ""))
        assert weight.dtype == torch.float32 and torch.equal(weight, expected), name


def test_a_second_stage_starts_with_the_adapters_of_the_first(tmp_path: Path) -> None:
    first = train(tmp_path / "first", 1, no_measure, **ONE_BASE).distiller
    second = make("dmd2-4step", **ONE_BASE)
    base = copied(second.teacher.state_dict())
    start_from(tmp_path / "first", second)
    for name, model in second.models.items():
        assert same(trained(model), trained(first.models[name]))
    assert same(base, second.teacher.state_dict())
    with pytest.raises(UserError, match="do not fit"):  # a base of their own is no part of that checkpoint
        start_from(tmp_path / "first", make(**LORAS))


def test_stock_diffusers_samples_a_saved_student(sdxl_folder: Path, tmp_path: Path) -> None:
    pipeline = load_pipeline(sdxl_folder)
    teacher = pipeline.denoiser().eval().requires_grad_(False)
    method: Distiller[Any] = make(teacher=teacher, **ONE_BASE)
    save_denoiser(method.generator.network, tmp_path / "student", method.indices)
    assert [path.name for path in (tmp_path / "student").glob("*.safetensors")] == [
        "pytorch_lora_weights.safetensors"
    ]
    stock = StableDiffusionXLPipeline.from_pretrained(sdxl_folder, local_files_only=True)
    stock.load_lora_weights(tmp_path / "student")
    ours = load_denoiser(tmp_path / "student", StableDiffusionDenoiser, copy.deepcopy(teacher)).denoiser
    x, t, condition = normal(1, 2, *LATENTS), torch.full((2,), 500.0), normal(2, 2, teacher.layout.size)
    theirs = copy.copy(ours)
    theirs._modules = {**ours._modules, "network": stock.unet}
    with torch.no_grad():
        expected = method.generator.network.eval()(x, t, condition)
        torch.testing.assert_close(ours(x, t, condition), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(theirs(x, t, condition), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(teacher(x, t, condition), expected, rtol=1e-2, atol=1e-2)
