"""Every built-in method trains a flow transformer, whose first time is pure noise, on a shifted grid."""

from __future__ import annotations

import pytest
from counted_training import METHODS, assert_announced, make, train
from tiny_flow_context import BATCH, make_batch, make_context
from tiny_task_context import same, weights

from bench.core.errors import UserError

EULER = {"consistency": {"solver": "euler"}, "consistency-4step": {"solver": "euler"}}
"""Methods whose own solver cannot start from pure noise, and the value with which they can."""


@pytest.mark.parametrize("name", [entry.name for entry in METHODS])
def test_a_method_trains_its_student_at_the_cost_that_it_announces(name: str) -> None:
    distiller = make(name, make_context(), BATCH, **EULER.get(name, {}))
    networks = {key: model.network for key, model in distiller.models.items()}
    before, teacher = {key: weights(network) for key, network in networks.items()}, weights(distiller.teacher)
    figures, passes = train(distiller, make_batch)
    assert all(figure.isfinite() for one in figures for figure in one.values())
    assert_announced(distiller, passes)
    assert same(teacher, distiller.teacher) and not distiller.teacher.training
    for key, network in networks.items():
        changed = {part for part, value in weights(network).items() if not value.equal(before[key][part])}
        frozen = {part for part, value in network.named_parameters() if not value.requires_grad}
        assert changed and not changed & frozen


def test_a_lora_is_what_is_trained_where_a_recipe_asks_for_one() -> None:
    student = make("dmd2-4step-lora", make_context(), BATCH).generator.network
    trained = [name for name, value in student.named_parameters() if value.requires_grad]
    assert trained and all(".lora_" in name for name in trained)


@pytest.mark.parametrize("name", EULER)
def test_a_solver_that_cannot_start_from_pure_noise_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"solver=heun cannot start where there is only noise.*solver=euler"):
        make(name, make_context(), BATCH)
