"""A sampler with other settings has one name, by which it is found again, and refuses what it cannot have."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest

from bench.core.errors import UserError
from bench.task.declaration import SolverBaseline
from bench.task.variations import variation
from tasks.fashion.task import TASK, TASK_FLOW
from tasks.text.baselines import NOISE_SCHEDULERS, SD15_BASELINES, SDXL_BASELINES, TextBaseline
from tasks.text.flow_baselines import SANA, SD35_LARGE

FLOW = TASK_FLOW.baselines


@pytest.mark.parametrize(
    ("base", "settings", "name", "evaluations"),
    [
        ("teacher-ode", {"steps": 8}, "teacher-ode+steps8", 15),
        ("teacher-ode", {"guidance": 2.5, "steps": 8}, "teacher-ode+steps8+guidance2.5", 30),
        ("teacher-ode", {"solver": "flow-euler", "steps": 4}, "teacher-euler+steps4", 4),
        ("teacher-ode", {"solver": "ddim", "guidance": 3.0}, "teacher-ode+ddim+guidance3", 36),
        ("teacher-interval", {"guidance": 2.0}, "teacher-interval+guidance2", 59),
    ],
)
def test_the_name_says_the_settings_and_is_read_back(
    base: str, settings: dict[str, Any], name: str, evaluations: int
) -> None:
    made = variation(FLOW, base, settings)
    assert (made.name, made.network_evaluations) == (name, evaluations)
    assert TASK_FLOW.baseline(name) == made


def test_a_sampler_that_the_task_has_keeps_its_name() -> None:
    assert variation(FLOW, "teacher-ode", {"steps": 18}) == FLOW["teacher-ode"]
    assert variation(FLOW, "teacher-ode", {"guidance": 1.5}) == FLOW["teacher-cfg"]
    assert variation(FLOW, "teacher-ode", {"solver": "flow-euler", "steps": 35}) == FLOW["teacher-euler"]
    assert TASK_FLOW.baseline("teacher-cfg") == FLOW["teacher-cfg"]


def test_the_same_sampler_has_the_same_name_wherever_it_starts() -> None:
    ways = [variation(FLOW, base, {"guidance": 2.0, "steps": 4}) for base in ("teacher-ode", "teacher-cfg")]
    assert ways[0] == ways[1] and ways[0].name == "teacher-ode+steps4+guidance2"
    assert variation(FLOW, "teacher-ode", {"guidance": 1.5, "steps": 4}).name == "teacher-cfg+steps4"
    assert variation(FLOW, "teacher-ode+steps4", {"guidance": 2.0}) == ways[0]


def test_edms_sampler_has_churn_and_may_become_ddim() -> None:
    assert variation(TASK.baselines, "teacher-ode", {"churn": 10.0}) == TASK.baselines["teacher-sde"]
    ddim = variation(TASK.baselines, "teacher-ode", {"solver": "ddim", "steps": 5})
    assert isinstance(ddim, SolverBaseline) and ddim.network_evaluations == 5
    assert TASK.baseline(ddim.name) == ddim


def test_text_to_image_samplers_vary_their_scheduler_steps_and_guidance() -> None:
    name = next(name for name in SDXL_BASELINES if name.startswith("teacher"))
    made = variation(SDXL_BASELINES, name, {"solver": "DDIMScheduler", "steps": 25, "guidance": 5.0})
    assert made.name == f"{name}+DDIMScheduler+steps25+guidance5" and made.network_evaluations == 50
    assert variation(SD35_LARGE, "teacher", {"steps": 10}).network_evaluations == 20
    with pytest.raises(UserError, match="its 4 steps are at fixed times"):
        variation(SD35_LARGE, "senseflow-4", {"steps": 8})
    with pytest.raises(UserError, match="unknown solver of sampler 'teacher': 'EulerDiscreteScheduler'"):
        variation(SANA, "teacher", {"solver": "EulerDiscreteScheduler"})
    with pytest.raises(UserError, match="guidance below 1 would be none"):
        variation(SANA, "teacher", {"guidance": 0.5})


@pytest.mark.parametrize(
    ("base", "settings", "said"),
    [
        ("teacher-od", {"steps": 4}, "unknown sampler 'teacher-od'; did you mean 'teacher-ode'"),
        ("teacher-ode", {"solver": "flow-eulr"}, "'flow-eulr'; did you mean 'flow-euler'"),
        ("teacher-ode", {"churn": 10.0}, "sampler 'teacher-ode' has no churn; it has solver, steps, guidance"),
        ("teacher-ode", {"guidance": -1.0}, "guidance is 0 or more, not -1"),
        ("teacher-ode", {"steps": 0}, "steps are whole numbers from 1 on, not 0"),
        ("teacher-interval", {"solver": "ddim"}, "cannot have solver ddim: ddim adds no noise, and a range"),
    ],
)
def test_what_a_sampler_cannot_have_is_refused(base: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        variation(FLOW, base, settings)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody+steps4", "unknown sampler 'nobody+steps4'"),
        ("teacher-ode+", "unknown sampler 'teacher-ode+'"),
        ("teacher-ode+steps4+steps8", "names steps twice"),
        ("teacher-ode+guidance2+steps4", "is 'teacher-ode+steps4+guidance2'; fix: write it so"),
        ("teacher-ode+guidance1.5", "is 'teacher-cfg'; fix: write it so"),
        ("teacher-ode+steps2.5", "whole numbers"),
        ("teacher-ode+fast", "unknown solver of sampler 'teacher-ode': 'fast'"),
    ],
)
def test_a_name_has_one_form(name: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        TASK_FLOW.baseline(name)
    assert said in str(error.value)


SWEPT = {
    name: one
    for name, one in {**SD15_BASELINES, **SDXL_BASELINES}.items()
    if isinstance(one, TextBaseline) and one.scheduler in NOISE_SCHEDULERS
}


@pytest.mark.parametrize("solver", NOISE_SCHEDULERS)
@pytest.mark.parametrize("name", SWEPT)
def test_another_scheduler_gets_only_settings_that_it_takes(name: str, solver: str) -> None:
    baseline = SWEPT[name]
    varied = baseline.varied({"solver": solver})
    assert isinstance(varied, TextBaseline)
    getattr(diffusers, solver)(**varied.settings)  # a TypeError for an option of another scheduler
    assert varied.settings.get("timestep_spacing") == baseline.settings.get("timestep_spacing")
    assert (varied.settings == baseline.settings) or solver != baseline.scheduler
