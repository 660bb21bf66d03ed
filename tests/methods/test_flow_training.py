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
    student = distiller.generator.network
    frozen = {key for key, p in student.named_parameters() if not p.requires_grad}
    before, teacher = weights(student), weights(distiller.teacher)
    figures, passes = train(distiller, make_batch)
    assert all(figure.isfinite() for one in figures for figure in one.values())
    assert_announced(distiller, passes)
    changed = {key for key, value in weights(student).items() if not value.equal(before[key])}
    assert changed and not changed & frozen
    assert same(teacher, distiller.teacher) and not distiller.teacher.training


@pytest.mark.parametrize("name", EULER)
def test_a_solver_that_cannot_start_from_pure_noise_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"solver=heun cannot start where there is only noise.*solver=euler"):
        make(name, make_context(), BATCH)
