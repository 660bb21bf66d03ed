"""An exported student: read back bit for bit, and used from its card with diffusers alone."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.models.backbones.edm import EDMDenoiser
from bench.models.saved import load_denoiser
from bench.models.schedules import EDMSchedule
from bench.models.weights.consistency import ConsistencyDenoiser
from bench.models.weights.export import export_student, model_card
from tasks.micro.task import NetworkSpec
from tasks.micro.teacher import build_denoiser

LICENCE = "CC BY-NC-SA 4.0, as EDM's"


def tiny(patch_size: int = 1, sigma_data: float = 0.5) -> EDMDenoiser:
    spec = NetworkSpec((8,), patch_size, sigma_data, attention_head_dim=8, norm_groups=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_denoiser(spec, (3, 8, 8), 3).eval()


def exported(folder: Path, denoiser: EDMDenoiser, indices: Sequence[int]) -> Path:
    export_student(denoiser, folder, indices, "DMD2 on something", LICENCE)
    return folder


def test_an_exported_student_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    denoiser = tiny()
    saved = load_denoiser(exported(tmp_path / "student", denoiser, [999, 499]), EDMDenoiser)
    assert saved.indices == [999, 499]
    before, after = denoiser.state_dict(), saved.denoiser.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def run_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run all of the card's code in the student's folder; return what it leaves."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL):
        exec(block, names)
    return names


@pytest.mark.parametrize("indices", [[999], [999, 749, 499, 249]], ids=["one step", "four steps"])
@pytest.mark.parametrize(("patch_size", "sigma_data"), [(1, 0.5), (2, 0.7)], ids=["pixels", "patches"])
def test_the_card_s_code_makes_the_student_s_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indices: list[int], patch_size: int, sigma_data: float
) -> None:
    denoiser = tiny(patch_size, sigma_data)
    folder = exported(tmp_path / "student", denoiser, indices)
    torch.manual_seed(7)
    found: Tensor = run_card(folder, monkeypatch)["x0"]

    torch.manual_seed(7)
    schedule, labels = EDMSchedule(sigma_data), torch.tensor([0, 1])
    x0 = torch.zeros(2, 3, 8, 8)
    with torch.no_grad():
        for index in indices:
            t = schedule.grid[index].float().expand(2)
            x0 = denoiser(x0 + t[0] * torch.randn(2, 3, 8, 8), t, labels)
    torch.testing.assert_close(found, x0, rtol=1e-4, atol=1e-5)


def test_the_card_says_what_the_student_is() -> None:
    card = model_card(tiny(), [999], "DMD2 on something", LICENCE)
    assert card.startswith("# DMD2 on something\n")
    assert "8x8 pixels and 3 channels, in 1 step, for 3 classes" in card
    assert f"Licence of the weights: {LICENCE}" in card
    assert "for sigma in [80.0]:" in card


def test_a_network_without_steps_has_no_card() -> None:
    with pytest.raises(UserError, match="steps"):
        model_card(tiny(), [], "Teacher", LICENCE)


def test_a_consistency_model_is_not_saved_as_edm(tmp_path: Path) -> None:
    denoiser = ConsistencyDenoiser(tiny().network, EDMSchedule())
    with pytest.raises(UserError, match="consistency model"):
        export_student(denoiser, tmp_path / "student", [999], "CD", LICENCE)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        export_student(tiny(), tmp_path / "student", [], "Teacher", LICENCE)
    assert not list(tmp_path.iterdir())
