"""The later members of DMD's family: each switch against its formula on the same random numbers, and refusals."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from dmd_by_hand import CATALOGUE, compare, make
from processes import in_processes
from tiny_task_context import BATCH, make_batch, same, weights
from torch import Tensor

from bench.cli.parsing import parse_overrides
from bench.core.errors import UserError
from bench.training.context import Batch, MicroBatch
from bench.training.step_rng import StepRNG
from methods.recipes import DMDRecipe

RATIO = {"critic_updates_per_generator_update": 2}
FAMILY = [
    "f-distill",
    "dmd2-ida",
    "dmd2-teacher-gan",
    "dmd2-4step-lightning",
    "decoupled-dmd",
    "decoupled-dmd-cdm",
    "decoupled-dmd-senseflow",
]


class TestStepEqualsTheFormulas:
    @pytest.mark.parametrize("name", [name for name in FAMILY if name != "dmd2-4step-lightning"])
    def test_of_a_method(self, name: str) -> None:
        compare(make(name, **RATIO))

    @pytest.mark.parametrize(
        "values",
        [
            {"gan_same_noise": True},
            {"dm_divisor": "clamped", "dm_times": "logit-normal"},
            {"discriminator_features": "teacher", "divergence": "js"},
            {"discriminator_features": "teacher", "r1_weight": 1.0, "r1_noise": 1.0, "gan_same_noise": True},
        ],
        ids=lambda values: ",".join(values),
    )
    def test_of_switches_together(self, values: dict[str, Any]) -> None:
        compare(make("dmd2", **RATIO, **values))

    def test_of_a_discriminator_on_the_teacher_alone(self) -> None:
        """Without distribution matching nothing of the critic trains but the heads."""
        method = make("gan", discriminator_features="teacher")
        before = weights(method.models["critic"].network.denoiser)
        compare(method)
        assert same(before, method.models["critic"].network.denoiser)


class TestTeacherFeatures:
    def test_the_teacher_is_no_part_of_the_critic(self) -> None:
        """Neither its checkpoints nor its optimiser contain the teacher."""
        ours, official = (make(name).models["critic"].network for name in ("dmd2-teacher-gan", "dmd2"))
        assert ours.state_dict().keys() == official.state_dict().keys()

    def test_the_gan_trains_heads_and_image_but_not_the_critic_s_encoder(self) -> None:
        method, batch = make("dmd2-teacher-gan", distribution_matching=False), make_batch()
        logits = method.critic(classify=method.to_classify(batch.real, batch.condition, batch)).logits
        logits.sum().backward()
        critic = method.critic.network
        assert all(parameter.grad is not None for parameter in critic.heads.parameters())
        assert all(parameter.grad is None for parameter in critic.denoiser.parameters())
        image = batch.real.clone().requires_grad_()
        method.generator_gan_loss(image, batch.condition, batch).backward()
        assert image.grad is not None and image.grad.abs().max() > 0
        assert all(parameter.grad is None for parameter in method.teacher.parameters())

    def test_real_and_generated_images_may_have_the_same_noise(self) -> None:
        """The same image as real and as generated is then the same input; by default it is not."""
        batch = replace(make_batch(), real_condition=make_batch().condition)
        for shared in (True, False):
            noised = make("dmd2", gan_same_noise=shared).to_classify(batch.real, batch.condition, make_batch())
            real, fake = noised.x_t.chunk(2)
            assert torch.allclose(real, fake) == shared
            assert torch.equal(*noised.t.chunk(2)) == shared


class TestImplicitDistributionAlignment:
    def test_the_critic_moves_by_its_share_of_the_way_to_the_student(self) -> None:
        method = make("dmd2-ida")
        student, critic = method.generator.network, method.critic.network.denoiser
        before, heads = weights(critic), weights(method.critic.network.heads)
        method.align_critic()
        for name, value in student.state_dict().items():
            torch.testing.assert_close(critic.state_dict()[name], 0.98 * before[name] + 0.02 * value)
        assert same(heads, method.critic.network.heads)

    @pytest.mark.parametrize("values", [{"ida_share": 0.0}, {"distribution_matching": False}])
    def test_is_off_without_a_share_and_without_a_fake_score(self, values: dict[str, Any]) -> None:
        method = make("dmd2-ida", **values)
        before = weights(method.critic.network)
        method.align_critic()
        assert same(before, method.critic.network)

    def test_acts_once_in_an_iteration_of_several_micro_batches(self) -> None:
        method = make("dmd2-ida")
        before = weights(method.critic.network)
        method.micro_batch = MicroBatch(0, 2)
        method.align_critic()
        assert same(before, method.critic.network)

    def test_the_critic_s_turns_without_the_generator_s_have_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        method, turns = make("dmd2-ida", **RATIO), list[int]()
        monkeypatch.setattr(method, "align_critic", lambda: turns.append(iteration))
        for iteration in range(4):
            method.training_step(make_batch(iteration))
        assert turns == [0, 2]


class TestSharesOfABatch:
    """Processes and micro-batches, of which each has a part of the batch and of the random numbers."""

    @staticmethod
    def share(iteration: int, share: int, shares: int) -> Batch:
        whole, part = make_batch(iteration), slice(share * BATCH // shares, (share + 1) * BATCH // shares)
        rng = StepRNG(0, iteration, share=share, shares=shares)
        return Batch(iteration, rng, *(each[part] for each in (whole.condition, whole.real, whole.real_condition)))

    @pytest.mark.parametrize("name", ["f-distill", "dmd2-ida", "dmd2-teacher-gan", "decoupled-dmd"])
    def test_two_processes_train_as_one(self, name: str, tmp_path: Path) -> None:
        def trained(share: int, shares: int) -> Tensor:
            method = make(name)
            for iteration in range(2):
                method.training_step(self.share(iteration, share, shares))
            models = (method.generator.network, method.critic.network)
            return torch.cat([p.detach().flatten() for model in models for p in model.parameters()])

        whole = trained(0, 1)

        def work() -> None:
            rank = int(os.environ["RANK"])
            torch.save(trained(rank, 2), tmp_path / f"{rank}.pt")

        in_processes(2, work)
        one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
        assert torch.equal(one, other)
        assert (one - whole).abs().quantile(0.99) < 2e-6, "but for weights whose gradients are rounding"


def test_lightning_is_the_four_step_student_without_gan_by_a_lora_and_a_slow_critic() -> None:
    lightning, plain = (
        CATALOGUE.methods.get(name).recipe("", "paper", {}).model_dump()
        for name in ("dmd2-4step-lightning", "dmd2-4step-no-gan")
    )
    changed = {key: value for key, value in lightning.items() if value != plain[key]}
    assert changed.pop("iterations") == 10_000
    assert changed == {"betas": (0.0, 0.999), "clip_norm": 1.0, "lora_rank": 64, "lr": 5e-5, "critic_lr": 4e-7}


@pytest.mark.parametrize("task", ["digits", "fashion", "scenes", "scenes-flow"])
@pytest.mark.parametrize("name", FAMILY)
def test_recipes_of_micro_tasks_fit(name: str, task: str) -> None:
    recipe = CATALOGUE.methods.get(name).recipe(task, "micro", {})
    assert isinstance(recipe, DMDRecipe) and recipe.lora_rank == 0
    assert not {"divergence", "ida_share", "decoupled", "dm_times", "dm_divisor"} & recipe.idle().keys()
    if task.startswith("scenes"):
        assert recipe.guidance_scale == 3.0


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"divergence": "js", "gan": False}, "gan is off; fix: --set divergence=rkl"),
        ({"divergence": "js", "gan_range": (0.1, 1.0)}, r"does not cover; fix: --set gan_range=\[0.02,1\]"),
        ({"shared_critic_draws": True, "gan_same_noise": True}, "fix: --set shared_critic_draws=false"),
        (
            {"shared_critic_draws": True, "discriminator_features": "teacher"},
            "discriminator_features=teacher does not allow; fix: --set shared_critic_draws=false",
        ),
        ({"ida_share": 0.02, "lora_rank": 4}, "fix: --set ida_share=0"),
    ],
)
def test_combinations_that_cannot_work_are_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        make("dmd2", **values)


def test_the_fix_for_a_range_works() -> None:
    values = parse_overrides(["divergence=js", "gan_range=[0.02,1]"])
    assert make("dmd2", **values).recipe.gan_range == (0.02, 1.0)


def test_values_of_a_term_that_is_off_are_idle() -> None:
    matching = {"dm_weight", "dm_range", "dm_times", "dm_divisor", "divergence", "guidance_scale", "decoupled"}
    gan = {"gan_same_noise", "discriminator_features", "gan_range", "r1_weight", "r1_noise"}
    assert (matching | {"ida_share"}) <= DMDRecipe(distribution_matching=False).idle().keys()
    assert gan <= DMDRecipe(gan=False).idle().keys()
    assert not (matching | gan - {"r1_noise"}) & DMDRecipe().idle().keys()
