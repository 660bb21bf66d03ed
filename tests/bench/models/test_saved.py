"""Denoisers on disk: bit-equal when read again, plain diffusers inside, and errors that name the file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bench.core.errors import UserError
from bench.core.files import folder_sha256
from bench.models.backbones.edm import EDMDenoiser
from bench.models.descriptions import DESCRIPTION
from bench.models.saved import load_denoiser, save_denoiser
from tasks.micro.task import NetworkSpec
from tasks.micro.teacher import build_denoiser

SPEC = NetworkSpec(channels=(8,), patch_size=2, sigma_data=0.75, attention_head_dim=8, norm_groups=4)
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def denoiser() -> EDMDenoiser:
    """A denoiser that is frozen, as it is read; torch multiplies weights that train in another order."""
    return build_denoiser(SPEC, (1, 8, 8), 3).eval().requires_grad_(False)


@pytest.fixture
def folder(denoiser: EDMDenoiser, tmp_path: Path) -> Path:
    """A student of two steps, saved."""
    folder = tmp_path / "student"
    save_denoiser(denoiser, folder, [999, 499])
    return folder


def test_round_trip_is_bit_equal(denoiser: EDMDenoiser, folder: Path) -> None:
    saved = load_denoiser(folder, EDMDenoiser)
    assert saved.indices == [999, 499]
    assert saved.denoiser.patch_size == 2
    assert saved.denoiser.taps == ("mid",)
    assert saved.denoiser.schedule.sigma_data == 0.75
    before, after = denoiser.state_dict(), saved.denoiser.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    x, t, condition = torch.randn(2, 1, 8, 8), torch.tensor([0.1, 80.0]), torch.tensor([0, 2])
    with torch.no_grad():
        assert torch.equal(saved.denoiser(x, t, condition), denoiser(x, t, condition))
        assert torch.equal(saved.denoiser.features(x, t, condition)[0], denoiser.features(x, t, condition)[0])


def test_is_read_frozen_in_evaluation_mode(folder: Path) -> None:
    read = load_denoiser(folder, EDMDenoiser).denoiser
    assert not read.network.training
    assert not any(parameter.requires_grad for parameter in read.parameters())


def test_a_many_step_denoiser_has_no_indices(denoiser: EDMDenoiser, tmp_path: Path) -> None:
    save_denoiser(denoiser, tmp_path / "teacher")
    assert load_denoiser(tmp_path / "teacher", EDMDenoiser).indices == []


def test_the_encoder_bottleneck_is_kept(denoiser: EDMDenoiser, tmp_path: Path) -> None:
    save_denoiser(EDMDenoiser(denoiser.network, denoiser.schedule, 2, ("encoder",)), tmp_path / "saved")
    assert load_denoiser(tmp_path / "saved", EDMDenoiser).denoiser.taps == ("encoder",)


def test_plain_diffusers_reads_the_network(denoiser: EDMDenoiser, folder: Path) -> None:
    unet = UNet2DModel.from_pretrained(folder / "unet")
    assert all(
        torch.equal(value, unet.state_dict()[name]) for name, value in denoiser.network.state_dict().items()
    )


def test_equal_networks_have_equal_hashes_wherever_they_came_from(folder: Path, tmp_path: Path) -> None:
    for name in ("here", "there"):
        shutil.copytree(folder, tmp_path / name)
        save_denoiser(load_denoiser(tmp_path / name, EDMDenoiser).denoiser, tmp_path / f"student-{name}")
    assert folder_sha256(tmp_path / "student-here") == folder_sha256(tmp_path / "student-there")


def test_saving_again_replaces_the_folder_whole(denoiser: EDMDenoiser, folder: Path) -> None:
    (folder / "left-over").touch()
    save_denoiser(denoiser, folder, [999])
    assert load_denoiser(folder, EDMDenoiser).indices == [999]
    assert sorted(path.name for path in folder.iterdir()) == [DESCRIPTION, "unet"]
    assert [path.name for path in folder.parent.iterdir()] == ["student"]


def without(key: str) -> Callable[[str], str]:
    return lambda text: json.dumps({name: value for name, value in json.loads(text).items() if name != key})


def with_value(key: str, value: object) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), key: value})


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda _: "[]",
        lambda _: "null",
        without("kind"),
        without("sigma_data"),
        without("patch_size"),
        without("bottleneck"),
        without("student_indices"),
        with_value("kind", 3),
        with_value("sigma_data", "wide"),
        with_value("patch_size", None),
        with_value("bottleneck", "middle"),
        with_value("student_indices", ["last"]),
    ],
)
def test_a_damaged_description_is_named(folder: Path, damage: Callable[[str], str]) -> None:
    path = folder / DESCRIPTION
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=r"denoiser\.json(: it contains no JSON object| is damaged)") as caught:
        load_denoiser(folder, EDMDenoiser)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_denoiser_of_another_family_is_not_called_damaged(folder: Path) -> None:
    path = folder / DESCRIPTION
    path.write_text(with_value("kind", "vp")(path.read_text()))
    with pytest.raises(UserError) as caught:
        load_denoiser(folder, EDMDenoiser)
    assert str(caught.value) == (
        f"{folder} is of the backbone family 'vp', and 'edm' is wanted; fix: name another folder"
    )


def test_a_description_that_is_no_text_is_named(folder: Path) -> None:
    (folder / DESCRIPTION).write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(UserError, match=r"denoiser\.json: it contains no JSON object; fix: make or copy"):
        load_denoiser(folder, EDMDenoiser)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (WEIGHTS, b""),
        (WEIGHTS, b"not safetensors at all"),
        ("unet/config.json", b"{"),
        ("unet/config.json", b""),
    ],
)
def test_a_damaged_network_is_named(folder: Path, file: str, content: bytes) -> None:
    (folder / file).write_bytes(content)
    with pytest.raises(UserError, match="cannot read") as caught:
        load_denoiser(folder, EDMDenoiser)
    assert str(folder / "unet") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("student_indices", [-1]),
        ("student_indices", [499, 999]),
        ("student_indices", [999, 999]),
        ("student_indices", [1000]),
        ("student_indices", [2.7]),
        ("student_indices", [True]),
        ("student_indices", "999"),
        ("student_indices", {"999": 1}),
        ("sigma_data", -0.5),
        ("sigma_data", 0),
        ("sigma_data", float("nan")),
        ("sigma_data", 10**400),
        ("sigma_data", "0.5"),
        ("patch_size", 0),
        ("patch_size", 2.5),
        ("patch_size", -2),
        ("bottleneck", ["mid"]),
        ("kind", {"edm": 1}),
    ],
)
def test_numbers_that_no_denoiser_has(folder: Path, key: str, value: object) -> None:
    path = folder / DESCRIPTION
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(
        UserError, match=r"denoiser\.json is damaged .*; fix: make or copy it again, or name "
    ) as caught:
        load_denoiser(folder, EDMDenoiser)
    assert "\n" not in str(caught.value)


def _wrapped(weights: Path) -> None:
    save_file({f"module.{name}": value for name, value in load_file(weights).items()}, weights, {"format": "pt"})


def _pickled(weights: Path) -> None:
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        (_wrapped, r"save the network itself, and not the wrapper"),
        (_pickled, r"python -c .*from_pretrained.*save_pretrained"),
        (lambda weights: weights.write_bytes(b"x" * 9), "make or copy it again, or name another folder"),
        (Path.unlink, "make or copy it again, or name another folder"),
    ],
)
def test_no_fix_removes_a_folder_that_may_be_the_users_own(
    folder: Path, change: Callable[[Path], object], fix: str
) -> None:
    change(folder / WEIGHTS)
    with pytest.raises(UserError, match=f"; fix: {fix}") as caught:
        load_denoiser(folder, EDMDenoiser)
    assert "rm " not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv_out.bias": None}, r"conv_out\.bias \(missing\)"),
        ({"foreign": torch.zeros(1)}, r"foreign \(unexpected\)"),
        ({"conv_out.bias": torch.zeros(4, dtype=torch.int8)}, "quantised"),
    ],
)
def test_foreign_or_missing_tensors(folder: Path, changes: dict[str, torch.Tensor | None], message: str) -> None:
    state = {name: value for name, value in (load_file(folder / WEIGHTS) | changes).items() if value is not None}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(UserError, match=message):
        load_denoiser(folder, EDMDenoiser)


def test_another_class_of_network(folder: Path) -> None:
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_class_name": "UNet1DModel"}))
    with pytest.raises(UserError, match="holds a UNet1DModel, but a UNet2DModel is expected"):
        load_denoiser(folder, EDMDenoiser)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["kind", "sigma_data", "patch_size", "bottleneck", "student_indices"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
            lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=3), one, max_size=2),
            max_leaves=5,
        ),
    )
)
def test_any_description_is_read_or_named(folder: Path, changes: dict[str, object]) -> None:
    path = folder / DESCRIPTION
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | changes))
    try:
        found = load_denoiser(folder, EDMDenoiser)
        assert found.indices == sorted(set(found.indices), reverse=True)
        assert found.denoiser.schedule.sigma_data > 0
    except UserError as error:
        assert str(folder) in str(error) and "\n" not in str(error)
    finally:
        path.write_text(whole)


@pytest.mark.parametrize("keep", [0.1, 0.9])
def test_a_cut_off_network_is_named(folder: Path, keep: float) -> None:
    path = folder / WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(UserError, match="cannot read"):
        load_denoiser(folder, EDMDenoiser)


@pytest.mark.parametrize(
    ("gone", "message"), [(WEIGHTS, "has neither .* only config.json"), ("unet/config.json", "has no config.json")]
)
def test_a_missing_part_is_named(folder: Path, gone: str, message: str) -> None:
    (folder / gone).unlink()
    with pytest.raises(UserError, match=message) as caught:
        load_denoiser(folder, EDMDenoiser)
    assert str(folder / "unet") in str(caught.value)


@pytest.mark.parametrize("make", [False, True], ids=["missing", "empty"])
def test_a_folder_that_holds_no_denoiser_is_named(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "nothing"
    if make:
        folder.mkdir()
    with pytest.raises(UserError, match=r"holds no denoiser\.json") as caught:
        load_denoiser(folder, EDMDenoiser)
    assert str(folder) in str(caught.value)


def test_a_file_is_no_folder_of_ours(tmp_path: Path) -> None:
    """Such as official weights, which no other folder would help."""
    (tmp_path / "SiT.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"SiT\.pt is a file, .*fix: name a run's folder .*bench eval --images"):
        load_denoiser(tmp_path / "SiT.pt", EDMDenoiser)


def test_several_places_of_features_are_kept(denoiser: EDMDenoiser, tmp_path: Path) -> None:
    taps = ("encoder", "mid")
    save_denoiser(EDMDenoiser(denoiser.network, denoiser.schedule, 2, taps), tmp_path / "saved")
    assert load_denoiser(tmp_path / "saved", EDMDenoiser).denoiser.taps == taps
