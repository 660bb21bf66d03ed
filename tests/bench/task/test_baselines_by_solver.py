"""Baselines that name their solver: what they evaluate is counted as it is run."""

from __future__ import annotations

import pytest
import torch
from class_transformers import SIDE, tiny_transformer

from bench.models.backbones.dit import SiTDenoiser
from bench.models.samplers import SampleNoise
from bench.models.schedules import FlowSchedule
from bench.task.baseline_sampler import baseline_sampler
from bench.task.declaration import Baseline, SolverBaseline


@pytest.mark.parametrize("solver", ["ddim", "flow-euler", "flow-heun"])
@pytest.mark.parametrize("guidance", [{}, {"guidance_scale": 1.5}])
@pytest.mark.parametrize("levels", [(0.0, 1.0), (0.0, 0.7), (0.3, 0.6)])
@torch.no_grad()
def test_network_evaluations_are_those_that_run(solver: str, guidance: dict, levels: tuple[float, float]) -> None:
    if solver == "ddim" and levels != (0.0, 1.0):
        pytest.skip("DDIM has no range of guidance")
    baseline = SolverBaseline("one", "", 5, solver=solver, guidance_levels=levels, **guidance)
    denoiser, sizes = SiTDenoiser(tiny_transformer(), FlowSchedule()), list[int]()
    denoiser.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    noise = SampleNoise([1], (4, SIDE, SIDE))
    baseline_sampler(denoiser, denoiser.null_condition, baseline)(noise, torch.tensor([7]))
    assert sum(sizes) == baseline.network_evaluations


def test_the_identity_names_everything_that_changes_images() -> None:
    one = SolverBaseline("one", "words", 5, guidance_scale=1.5, solver="flow-heun", guided_channels=3)
    assert one.identity() == {
        "steps": 5,
        "churn": 0.0,
        "guidance_scale": 1.5,
        "solver": "flow-heun",
        "guidance_levels": (0.0, 1.0),
        "guided_channels": 3,
    }
    assert Baseline("edm", "", 18).identity() == [18, 0.0]


@pytest.mark.parametrize(
    "options", [{"solver": "flow-heun", "churn": 1.0}, {"solver": "ddim", "guidance_levels": (0, 0.5)}]
)
def test_what_a_solver_has_not_is_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="adds no noise, and a range of guidance is for rectified flows"):
        SolverBaseline("one", "", 5, **options)
