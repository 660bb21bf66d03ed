"""Methods whose networks are LoRAs on one base train as if each network had a copy of the base."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from one_base_support import (
    LATENTS,
    LAYOUT,
    LORAS,
    ONE_BASE,
    copied,
    gradients,
    make,
    make_batch,
    make_teacher,
    same,
    trained,
)
from peft.tuners.lora import LoraLayer
from processes import in_processes
from text_pipelines import normal
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.training.passes import PassCounter
from bench.training.recipe import Recipe, build_recipe
from methods.dmd import DMD
from methods.recipes import DMDRecipe
from methods.sid import SiDRecipe

INPUTS = normal(7, 2, *LATENTS), torch.full((2,), 500.0), normal(8, 2, LAYOUT.size)


def adapted(network: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """Yield a network's adapted layers with their names."""
    yield from ((name, part) for name, part in network.named_modules() if isinstance(part, LoraLayer))


@pytest.mark.usefixtures("kept_gradients")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_three_whole_networks_in_float64(
    checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With W' = W + s up down, the chain rule gives those of up and down from a whole network's, of W'."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # networks return float32 otherwise
    settings: dict[str, Any] = {"clip_norm": 1e9, "gradient_checkpointing": checkpointing}
    one = make(teacher=make_teacher().double(), **settings, **ONE_BASE)
    whole = make(teacher=make_teacher().double(), **settings)
    own, other = (method.models["critic"].network.get_submodule("heads").double() for method in (one, whole))
    other.load_state_dict(own.state_dict())
    factors: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}
    for network, model in one.models.items():
        for name, layer in adapted(model.network):
            up, down = (
                part["default"].weight.detach().flatten(1).clone() for part in (layer.lora_B, layer.lora_A)
            )
            factors[network, name] = up, down
            weight = whole.models[network].network.get_parameter(f"{name}.weight")
            weight.data += layer.scaling["default"] * (up @ down).reshape(weight.shape)
    for method in (one, whole):
        method.training_step(make_batch())
    for network, model in one.models.items():
        for name, layer in adapted(model.network):
            up, down = factors[network, name]
            of_weight = whole.models[network].network.get_parameter(f"{name}.weight").grad
            scaled = layer.scaling["default"] * of_weight.flatten(1)
            expected = scaled @ down.T, up.T @ scaled
            for part, gradient in zip((layer.lora_B, layer.lora_A), expected, strict=True):
                found = part["default"].weight.grad.flatten(1)
                assert found.dtype == torch.float64
                torch.testing.assert_close(found, gradient, rtol=1e-10, atol=1e-10 * float(gradient.abs().max()))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("dmd2-4step", {"family": "sd3", "gradient_checkpointing": True}),
        ("dmd2-4step", {"family": "flux"}),
        ("dmd2", {"discriminator_features": "teacher"}),
        ("gan-ttur", {}),  # the critic's decoder never runs
        ("sida", {}),  # the gradient passes through teacher and critic to the student
        ("tdm-1step", {}),
        ("consistency", {}),  # it has a target, an average of the student
    ],
)
def test_two_iterations_are_those_of_networks_with_a_copy_each(name: str, values: dict[str, Any]) -> None:
    family = values.get("family", "text")
    methods = [make(name, make_teacher(family), **loras, **values) for loras in (ONE_BASE, LORAS)]
    of_teacher = copied(methods[0].teacher.state_dict())
    for iteration in range(2):
        one, other = (method.training_step(make_batch(iteration)) for method in methods)
        assert same(one, other)
    for network, model in methods[0].models.items():
        assert same(trained(model), trained(methods[1].models[network])), network
    assert same(of_teacher, methods[0].teacher.state_dict())


def test_a_step_of_one_network_changes_neither_the_other_nor_the_base() -> None:
    method = make(**ONE_BASE)
    assert isinstance(method, DMD)
    batch = make_batch()
    states = {
        "teacher": method.teacher.state_dict,
        **{name: model.network.state_dict for name, model in method.models.items()},
    }

    def changed_by(step: Any) -> set[str]:
        before = {name: copied(state()) for name, state in states.items()}
        step()
        return {name for name, state in states.items() if not same(before[name], state())}

    start = method.simulate(batch)
    fake = method.generator(*start)
    assert changed_by(lambda: method.update_generator(fake, start, batch)) == {"generator"}
    assert changed_by(lambda: method.update_critic(fake.detach(), start.condition, batch)) == {"critic"}


def test_a_forward_that_runs_again_meets_its_own_adapter() -> None:
    """Checkpointed blocks run again in the backward pass, when critic and teacher were called in between."""
    found = []
    for checkpointing in (False, True):
        method = make(**ONE_BASE, gradient_checkpointing=checkpointing)
        student, critic = method.generator.network, method.models["critic"].network.get_submodule("denoiser")
        calls: list[str] = []
        adapter = student.network.down_blocks[0].resnets[0].conv1.lora_A["default"]
        adapter.register_forward_hook(lambda *_, calls=calls: calls.append("student"))
        made = student(*INPUTS)
        judged = critic(*INPUTS)
        with torch.no_grad():
            method.teacher(*INPUTS)
        judged.square().mean().backward()
        made.square().mean().backward()
        assert len(calls) == 1 + checkpointing
        found.append(gradients(method))
    assert len(found[0]) == sum(len(trained(model)) for model in method.models.values()) - heads(method)
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-7)


def heads(method: Any) -> int:
    """Return the number of weights of the discriminator, which is not called above."""
    return len(list(method.models["critic"].network.get_submodule("heads").parameters()))


@pytest.mark.parametrize("name", ["dmd2", "tdm-1step"])
def test_passes_are_counted_by_network_as_announced(name: str) -> None:
    method = make(name, **ONE_BASE, iterations=2)
    counter = PassCounter(method)
    for iteration in range(2):
        method.training_step(make_batch(iteration))
    announced = method.recipe.cost().passes
    assert {"student", "teacher", "critic"} <= counter.counts.keys()
    assert counter.counts == {
        network: type(passes)(2 * passes.forward, 2 * passes.backward)  # two images in a batch
        for network, passes in announced.items()
        if any(passes)
    }


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    """Each averages the gradients of the adapters, with one base as with copies of it."""
    kinds = {"one": ONE_BASE, "copies": LORAS}

    def work() -> None:
        for kind, values in kinds.items():
            method = make(**values, clip_norm=1e9)
            rank = method.accelerator.process_index
            before = copied(method.teacher.state_dict())
            method.training_step(make_batch(0, rank, 2))
            assert same(before, method.teacher.state_dict())
            torch.save(gradients(method), tmp_path / f"{kind}-{rank}.pt")

    make_teacher()  # made before the fork
    in_processes(2, work)
    alone = make(**ONE_BASE, clip_norm=1e9)
    alone.training_step(make_batch())
    read = {path.stem: torch.load(path, weights_only=True) for path in tmp_path.glob("*.pt")}
    assert len(read) == 4
    for found in read.values():
        assert same(found, read["copies-0"])
        torch.testing.assert_close(found, gradients(alone), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "values", "fix"),
    [
        (Recipe, {"one_base": True}, "--set lora_rank=64"),
        (DMDRecipe, {"one_base": True, "critic_lora_rank": 4}, "--set lora_rank=64"),
        (DMDRecipe, {"one_base": True, "lora_rank": 4}, "--set critic_lora_rank=4"),
        (SiDRecipe, {"one_base": True, "lora_rank": 8}, "--set critic_lora_rank=8"),
        (DMDRecipe, {"critic_lora_rank": 4, "ida_share": 0.1}, "--set ida_share=0"),
    ],
)
def test_what_does_not_go_together_is_refused(model: type[Recipe], values: dict[str, Any], fix: str) -> None:
    with pytest.raises(UserError, match=f"fix: {fix}$"):
        build_recipe(model, values, "method 'm'")


def test_a_method_that_trains_a_whole_copy_is_refused() -> None:
    method = make(**ONE_BASE)
    with pytest.raises(UserError, match=r"DMD trains a whole copy of the teacher; fix: .*lora_rank"):
        method.trainable_copy(method.teacher)


def test_what_a_whole_critic_has_no_use_for_is_named() -> None:
    assert "critic_lora_alpha" in DMDRecipe().idle() and "critic_lora_alpha" not in DMDRecipe(**LORAS).idle()


def test_runs_without_it_keep_their_names() -> None:
    assert not {"one_base", "critic_lora_rank", "critic_lora_alpha"} & DMDRecipe().identity().keys()
    one = DMDRecipe(**ONE_BASE).identity()
    assert one["one_base"] is True and one["critic_lora_rank"] == 2


def test_memory_is_that_of_one_base() -> None:
    assert DMDRecipe(**LORAS).least_memory(100) == DMDRecipe().cost().least_memory(100)
    assert DMDRecipe(**ONE_BASE).least_memory(100) == 400
    half = {"precision": "bf16", "teacher_precision": "bf16"}
    assert DMDRecipe(**ONE_BASE, **half).least_memory(100) == 200
