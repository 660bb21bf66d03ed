"""Processes that share the networks (FSDP2) train as those that have copies, and keep the same checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from processes import in_processes
from text_pipelines import LATENT_SIDE, SIDE, normal, tiny_unet
from torch.distributed.tensor import DTensor

from bench.checkpoint import TrainingState, restore_checkpoint, save_checkpoint, start_from
from bench.plan import Run
from bench.records import read_record
from bench.registry import load_catalogue
from bench.runner import Runner
from methods.base import Batch, Pairs, Setting
from methods.dmd import DMD
from methods.draws import Draws
from methods.recipe import build_recipe
from methods.recipes import DMDRecipe
from tasks.errors import UserError
from tasks.schedules import VPSchedule
from tasks.text.denoiser import TextDenoiser
from tasks.text.layout import ConditionLayout

LAYOUT = ConditionLayout(tokens=3, width=40, pooled=24)
LATENTS = (4, LATENT_SIDE, LATENT_SIDE)
PAIRS = Pairs(normal(4, 5, *LATENTS), normal(5, 5, *LATENTS), normal(6, 5, LAYOUT.size))


@lru_cache(maxsize=1)
def teacher() -> TextDenoiser:
    """A tiny SDXL's UNet, with transformer blocks; methods copy it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = tiny_unet(sdxl=True)
    return TextDenoiser(unet, VPSchedule(), LAYOUT, resolution=SIDE).eval().requires_grad_(False)


def make(name: str, sharding: str, **values: Any) -> DMD:
    settings = {"guidance_scale": 8.0, "batch_size": 2, "lr": 1e-4, "critic_lr": 1e-4, "warmup": 1, "pairs": 5}
    own = {"critic_updates_per_generator_update": 2, "sharding": sharding, **values}
    recipe = load_catalogue().methods.get(name).recipe("tiny", "paper", settings | own)
    torch.manual_seed(0)
    network = TextDenoiser(teacher().unet, VPSchedule(), LAYOUT, resolution=SIDE).requires_grad_(False)
    return DMD(recipe, Setting(Accelerator(cpu=True), network, torch.zeros(1, LAYOUT.size), lambda _: PAIRS))


def train(method: DMD, start: int, stop: int, norms: list[float]) -> None:
    """A few iterations on this process's share of each batch."""
    rank, processes = method.accelerator.process_index, method.accelerator.num_processes
    share = slice(rank * 2 // processes, (rank + 1) * 2 // processes)
    for iteration in range(start, stop):
        method.set_rates(iteration)
        method.training_step(
            Batch(
                iteration=iteration,
                draws=Draws(0, iteration, rank=rank, world_size=processes),
                condition=normal(1, 2, LAYOUT.size)[share],
                real=normal(2, 2, *LATENTS)[share],
                real_condition=normal(3, 2, LAYOUT.size)[share],
            )
        )
        norms.extend(float(player.gradient_norm) for player in method.players.values() if player.gradient_norm)


def after(
    name: str, sharding: str, folder: Path, processes: int = 2, stop: int = 2, **values: Any
) -> dict[str, Any]:
    """What the checkpoint has after `stop` iterations, begun from the folder's newest; gradient norms too."""

    def work() -> None:
        method, norms = make(name, sharding, **values), list[float]()
        state = restore_checkpoint(folder, method)
        train(method, state.iteration if state else 0, stop, norms)
        save_checkpoint(folder, method, TrainingState(stop, 0.0, "", None))
        if method.accelerator.is_main_process:
            torch.save(norms, folder / "norms")

    teacher()  # made before the fork
    in_processes(processes, work)
    content: dict[str, Any] = torch.load(folder / f"{stop:07d}.pt", weights_only=True)
    return {"players": content["players"], "norms": torch.load(folder / "norms", weights_only=True)}


def close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Weights, Adam's moments and gradient norms, to rounding.

    An attention key's bias has no effect: its gradient is rounding alone, which Adam makes as large as any.
    """
    assert found["norms"] == pytest.approx(expected["norms"], rel=1e-4)
    for name, player in expected["players"].items():
        other = found["players"][name]
        assert other["updates"] == player["updates"]
        assert list(other["module"]) == list(player["module"])
        for key, value in player["module"].items():
            if not key.endswith("to_k.bias"):
                torch.testing.assert_close(other["module"][key], value, rtol=0, atol=1e-5, msg=f"{name} {key}")
        moments, others = player["optimizer"]["state"], other["optimizer"]["state"]
        assert moments.keys() == others.keys()
        for index, of_one in moments.items():
            torch.testing.assert_close(others[index], of_one, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("dmd", {"stop": 1}),  # the student runs twice before it learns
        ("dmd2-4step", {"gradient_checkpointing": True}),
        ("dmd2-4step-lora", {"lora_rank": 2, "stop": 1}),
        ("gan-ttur", {"stop": 1}),  # half of the critic is frozen
    ],
)
def test_sharing_gives_the_step_of_ddp(name: str, values: dict[str, Any], tmp_path: Path) -> None:
    close(after(name, "fsdp2", tmp_path / "shared", **values), after(name, "none", tmp_path / "copies", **values))


def test_a_run_goes_on_from_its_own_checkpoint_and_from_one_of_copies(tmp_path: Path) -> None:
    whole = after("dmd2", "none", tmp_path / "whole", processes=1, stop=2)
    for first, processes in (("fsdp2", 2), ("none", 1)):
        after("dmd2", first, tmp_path / first, processes, stop=1)
        resumed = after("dmd2", "fsdp2", tmp_path / first, stop=2)
        close(resumed, whole | {"norms": whole["norms"][-1:]})


def test_one_process_has_nobody_to_share_with() -> None:
    method = make("dmd2", "fsdp2")
    assert not method.sharded
    assert not any(isinstance(value, DTensor) for value in method.generator.module.state_dict().values())


def test_each_process_has_its_share_of_every_network_and_starts_a_second_stage_with_it(tmp_path: Path) -> None:
    first = after("dmd-ttur", "none", tmp_path / "checkpoints", processes=1, stop=1)["players"]["generator"][
        "module"
    ]

    def work() -> None:
        method = make("dmd2", "fsdp2")
        start_from(tmp_path, method)
        for name, value in method.generator.module.state_dict().items():
            assert torch.equal(value.full_tensor(), first[name]), name
        for network in [method.teacher, *(player.module for player in method.players.values())]:
            held = sum(p.to_local().numel() for p in network.parameters() if isinstance(p, DTensor))
            total = sum(p.numel() for p in network.parameters())
            assert 0.4 * total < held < 0.6 * total

    in_processes(2, work)


def test_a_run_with_an_average_and_its_best_student(
    plan: Callable[..., Run], runner: Runner, tmp_path: Path
) -> None:
    values = {"iterations": 1, "batch_size": 4, "warmup": 1, "ema_decay": 0.9, "keep_best": True}
    runs = [plan("dmd2", root=tmp_path / one, sharding=one, **values) for one in ("none", "fsdp2")]
    for run in runs:
        in_processes(2, lambda run=run: runner.run(run))  # type: ignore[misc]
    one, two = (read_record(run.record) for run in runs)
    assert one.run_id != two.run_id and two.method.recipe["sharding"] == "fsdp2"
    assert two.metrics[0].values == pytest.approx(one.metrics[0].values, rel=1e-3)
    assert (runs[1].folder / "best" / "student").is_dir()


def test_what_it_does_not_go_with_is_refused() -> None:
    with pytest.raises(UserError, match="sharding=fsdp2 runs uncompiled networks: use compile_backend=none"):
        build_recipe(DMDRecipe, {"sharding": "fsdp2", "compile_backend": "inductor"}, "method 'dmd2'")
    assert "sharding" not in DMDRecipe().named()
