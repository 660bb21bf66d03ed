"""Processes with sharded networks (FSDP2) train like those with copies, and write the same checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from accelerate import Accelerator
from processes import in_processes
from text_pipelines import LATENT_SIDE, SIDE, normal, one_level_unet
from torch.distributed.tensor import DTensor

from bench.core.errors import UserError
from bench.models.backbones.base import BackboneFamily
from bench.models.backbones.sd3 import SD3Denoiser, small_network
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.schedules import FlowSchedule, VPSchedule
from bench.models.text.layout import ConditionLayout
from bench.runs.plan import Run
from bench.runs.records import read_record
from bench.runs.registry import load_catalogue
from bench.runs.runner import Runner
from bench.training.checkpoint import TrainingState, restore_checkpoint, save_checkpoint, start_from
from bench.training.distiller import Batch, Pairs, TrainingContext
from bench.training.recipe import build_recipe
from bench.training.step_rng import StepRNG
from methods.dmd import DMD
from methods.recipes import DMDRecipe

LAYOUT = ConditionLayout(tokens=3, width=8, pooled=8)
LATENTS = (4, LATENT_SIDE, LATENT_SIDE)
SD3 = {"backbone": "sd3"}
ONE_BASE = {"one_base": True, "lora_rank": 2, "critic_lora_rank": 2}
PAIRS = Pairs(normal(4, 5, *LATENTS), normal(5, 5, *LATENTS), normal(6, 5, LAYOUT.size))


@lru_cache(maxsize=2)
def teacher(backbone: str) -> BackboneFamily:
    """A small UNet, or Stable Diffusion 3's transformer; methods copy it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if backbone == "sd3":
            network = small_network(
                LATENTS, width=16, layers=2, heads=2, text_width=LAYOUT.width, pooled=LAYOUT.pooled
            )
            return SD3Denoiser(network, FlowSchedule(shift=3.0), LAYOUT).requires_grad_(False)
        found = StableDiffusionDenoiser(one_level_unet(), VPSchedule(), LAYOUT, resolution=SIDE)
        return found.requires_grad_(False)


def make(name: str, sharding: str, backbone: str = "unet", **values: Any) -> DMD:
    settings = {"guidance_scale": 8.0, "batch_size": 2, "lr": 1e-4, "critic_lr": 1e-4, "warmup": 1, "pairs": 5}
    own = {"critic_updates_per_generator_update": 2, "sharding": sharding, **values}
    recipe = load_catalogue().methods.get(name).recipe("tiny", "paper", settings | own)
    torch.manual_seed(0)
    own_teacher, null = copy.deepcopy(teacher(backbone)), torch.zeros(1, LAYOUT.size)
    method = DMD(recipe, TrainingContext(Accelerator(cpu=True), own_teacher, null, lambda _: PAIRS))
    method.release_teacher()
    return method


def train(method: DMD, start: int, stop: int, norms: list[float]) -> None:
    """Train a few iterations on this process's share of each batch."""
    rank, processes = method.accelerator.process_index, method.accelerator.num_processes
    share = slice(rank * 2 // processes, (rank + 1) * 2 // processes)
    for iteration in range(start, stop):
        method.set_rates(iteration)
        method.training_step(
            Batch(
                iteration=iteration,
                rng=StepRNG(0, iteration, share=rank, shares=processes),
                condition=normal(1, 2, LAYOUT.size)[share],
                real=normal(2, 2, *LATENTS)[share],
                real_condition=normal(3, 2, LAYOUT.size)[share],
            )
        )
        norms.extend(float(model.gradient_norm) for model in method.models.values() if model.gradient_norm)


class Job(NamedTuple):
    """Train to an iteration from the folder's newest checkpoint; write another checkpoint."""

    sharding: str
    folder: Path
    stop: int

    def do(self, name: str, values: dict[str, Any]) -> None:
        method, norms = make(name, self.sharding, **values), list[float]()
        state = restore_checkpoint(self.folder, method)
        train(method, state.iteration if state else 0, self.stop, norms)
        save_checkpoint(self.folder, method, TrainingState(self.stop, 0.0, "", None))
        if method.accelerator.is_main_process:
            torch.save(norms, self.folder / "norms")

    def made(self) -> dict[str, Any]:
        """Return the checkpoint's networks, and the gradient norms before it."""
        content = torch.load(self.folder / f"{self.stop:07d}.pt", weights_only=True)
        return {"models": content["models"], "norms": torch.load(self.folder / "norms", weights_only=True)}


def in_two(name: str, jobs: Sequence[Job], **values: Any) -> list[dict[str, Any]]:
    """Run jobs in two processes, one after the other."""
    teacher(values.get("backbone", "unet"))  # made before the fork
    in_processes(2, lambda: [job.do(name, values) for job in jobs])
    return [job.made() for job in jobs]


def close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare weights, Adam's moments and gradient norms up to rounding.

    An attention key's bias has no effect: its gradient is only rounding, which Adam scales up.
    """
    assert found["norms"] == pytest.approx(expected["norms"], rel=1e-4)
    for name, model in expected["models"].items():
        other = found["models"][name]
        assert other["updates"] == model["updates"]
        assert list(other["network"]) == list(model["network"])
        for key, value in model["network"].items():
            if not key.endswith("to_k.bias"):
                torch.testing.assert_close(other["network"][key], value, rtol=0, atol=1e-5, msg=f"{name} {key}")
        moments, others = model["optimizer"]["state"], other["optimizer"]["state"]
        assert moments.keys() == others.keys()
        for index, of_one in moments.items():
            torch.testing.assert_close(others[index], of_one, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "stop", "values"),
    [
        ("dmd", 1, {}),  # the student runs twice before it learns
        ("dmd2-4step", 2, {"gradient_checkpointing": True}),
        ("dmd2-4step-lora", 1, {"lora_rank": 2}),
        ("dmd2-4step", 2, ONE_BASE | {"gradient_checkpointing": True}),
        ("gan-ttur", 1, {}),  # half of the critic is frozen
        ("dmd2-4step", 2, SD3 | {"gradient_checkpointing": True}),
        ("dmd2-teacher-gan", 1, SD3),  # a frozen teacher's features, through a view
        ("dmd2-4step-lora", 1, SD3 | {"lora_rank": 2}),
        ("dmd2-4step", 2, SD3 | ONE_BASE | {"gradient_checkpointing": True}),
        ("gan-ttur", 1, SD3),
    ],
)
def test_sharing_gives_the_steps_of_ddp(name: str, stop: int, values: dict[str, Any], tmp_path: Path) -> None:
    jobs = [Job(sharding, tmp_path / sharding, stop) for sharding in ("fsdp2", "none")]
    close(*in_two(name, jobs, **values))


@pytest.mark.parametrize("values", [{}, ONE_BASE], ids=["whole", "one base"])
def test_a_run_goes_on_from_its_own_checkpoint_and_from_one_of_copies(
    values: dict[str, Any], tmp_path: Path
) -> None:
    whole = Job("none", tmp_path / "whole", 2)
    resumed = [Job("fsdp2", tmp_path / name, 2) for name in ("own", "copies")]
    begun = [Job("fsdp2", tmp_path / "own", 1), Job("none", tmp_path / "copies", 1)]
    in_two("dmd2", [whole, *begun, *resumed], **values)
    last = {"norms": whole.made()["norms"][-1:]}  # of the critic, whose turn alone the second iteration is
    for job in resumed:
        close(job.made(), whole.made() | last)


def test_one_process_does_not_shard() -> None:
    method = make("dmd2", "fsdp2")
    assert not method.sharded
    assert not any(isinstance(value, DTensor) for value in method.generator.network.state_dict().values())


def test_each_process_has_its_share_of_every_network_and_starts_a_second_stage_with_it(tmp_path: Path) -> None:
    other = Job("none", tmp_path / "checkpoints", 1)
    other.do("dmd-ttur", {})
    first = other.made()["models"]["generator"]["network"]

    def work() -> None:
        method = make("dmd2", "fsdp2")
        start_from(tmp_path, method)
        for name, value in method.generator.network.state_dict().items():
            assert torch.equal(value.full_tensor(), first[name]), name
        for one in [method.teacher, *(model.network for model in method.models.values())]:
            local = sum(p.to_local().numel() for p in one.parameters() if isinstance(p, DTensor))
            total = sum(p.numel() for p in one.parameters())
            assert 0.4 * total < local < 0.6 * total

    in_processes(2, work)


@pytest.mark.usefixtures("kept_gradients")
def test_networks_on_one_base_have_the_same_shards() -> None:
    """A process has its share of a bf16 base once; of weights that two cannot halve each network has a copy.

    The gradients of their float32 adapters are averaged in float32.
    """

    def work() -> None:
        method = make("dmd2", "fsdp2", precision="bf16", teacher_precision="bf16", **ONE_BASE)
        with torch.autocast("cpu", torch.bfloat16):
            train(method, 0, 1, [])
        of_base = method.teacher.state_dict()
        for model in method.models.values():
            found = model.network.state_dict()
            assert not any(parameter.requires_grad for name, parameter in found.items() if name in model.shared)
            gradients = [one.grad.to_local() for one in model.network.parameters() if one.grad is not None]
            assert gradients and all(one.dtype == torch.float32 for one in gradients)
            assert any((one != one.bfloat16().float()).any() for one in gradients)
            for name, own in model.shared.items():
                one, other = found[name].to_local(), of_base[own].to_local()
                assert one.dtype == torch.bfloat16
                assert torch.equal(one, other)
                shared = one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
                assert shared == (found[name].shape[0] % 2 == 0), name

    in_processes(2, work)


@pytest.mark.parametrize(("backbone", "time"), [("unet", 500.0), ("sd3", 0.5)])
@pytest.mark.parametrize("name", ["features", "deep_features"])
def test_a_frozen_teacher_in_shards_gives_its_features_and_their_gradients(
    name: str, backbone: str, time: float
) -> None:
    """They are called outside the forward of any module, which would gather the shards."""
    inputs = normal(1, 2, *LATENTS), torch.full((2,), time), normal(2, 2, LAYOUT.size)

    def features(method: DMD) -> list[torch.Tensor]:
        x_t = inputs[0].clone().requires_grad_()
        found = getattr(method.teacher, name)(x_t, *inputs[1:])
        return [*found, *torch.autograd.grad(sum(one.square().sum() for one in found), x_t)]

    expected = features(make("dmd2", "none", backbone))

    def work() -> None:
        for one, other in zip(features(make("dmd2", "fsdp2", backbone)), expected, strict=True):
            torch.testing.assert_close(one, other)

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
    with pytest.raises(UserError, match=r"sharding=fsdp2 runs uncompiled .*fix: --set compile_backend=none"):
        build_recipe(DMDRecipe, {"sharding": "fsdp2", "compile_backend": "inductor"}, "method 'dmd2'")
