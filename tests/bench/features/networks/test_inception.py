"""The Inception extractor against clean-fid's two networks and torch-fidelity's, with the same random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clean_fid import clean_fid
from inception_files import photographs
from PIL import Image
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.files import file_sha256
from bench.core.numerics import tf32
from bench.core.progress import SilentProgress
from bench.features.networks import inception
from bench.features.networks.inception import PORT, TORCHSCRIPT, InceptionFeatures, load_inception
from bench.features.networks.inception_network import TAPS, Inception, resize_tf1
from bench.features.statistics import GaussianStatistics
from bench.features.views import Features
from bench.features.weights import WeightsFile
from bench.metrics.base import Reference, make_metric
from bench.metrics.catalogue import FD
from bench.task.protocol import Protocol

SMOKE = Protocol(
    name="test",
    samples=50,
    repetitions=1,
    first_seed=0,
    labels="balanced",
    uint8="round",
    reference="photographs",
    features="inception",
    metrics=("fd",),
    smoke=True,
)


def load(path: Path, tmp_path: Path, **options: Any) -> InceptionFeatures:
    options = {"own_weights": True, "run_code": True, "batch_size": 4, **options}
    return load_inception(path, tmp_path, download=False, progress=SilentProgress(), **options)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def streamed_fid(generated: Tensor, real: Tensor) -> float:
    """FID as an evaluation takes it: both sides in batches, the real one kept as statistics alone."""
    sums = GaussianStatistics(real[0].numel())
    for rows in real.split(7):
        sums.update(rows.double().numpy())
    reference = Reference(sums.mean, sums.covariance, sums.count, "photographs", "0" * 64)
    metric = make_metric(FD, reference, SMOKE)
    for rows in generated.split(11):
        metric.update(Features(rows.numpy()))
    return metric.result().value


@pytest.fixture(scope="module")
def clean_fid_blocks(state: dict[str, Tensor]) -> nn.ModuleList:
    """Pytorch-fid's network as clean-fid has it, with our weights: four blocks, to 64, 192, 768, 2048 channels."""
    module = pytest.importorskip("cleanfid.inception_pytorch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_args, **_options: state)
        # torchvision's blocks draw their weights as they are built, which takes longer than to use them.
        patch.setattr(torch.nn.init, "kaiming_uniform_", lambda weights, *_args, **_options: weights)
        return module.InceptionV3([0, 1, 2, 3], resize_input=False).eval().blocks


# The resize


def textbook_resize(image: np.ndarray, side: int) -> np.ndarray:
    """TensorFlow 1's bilinear resize of image [H, W], pixel by pixel, in float64."""
    height, width = image.shape
    resized = np.empty((side, side))
    for i in range(side):
        for j in range(side):
            y, x = i * height / side, j * width / side
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = image[top, left] + (image[top, right] - image[top, left]) * (x - left)
            lower = image[bottom, left] + (image[bottom, right] - image[bottom, left]) * (x - left)
            resized[i, j] = upper + (lower - upper) * (y - top)
    return resized


@pytest.mark.parametrize(("height", "width", "side"), [(8, 8, 19), (5, 11, 23), (40, 30, 13), (1, 1, 4)])
def test_the_resize_is_tensorflows(height: int, width: int, side: int) -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 1, height, width))).float()
    expected = textbook_resize(image[0, 0].double().numpy(), side)
    np.testing.assert_allclose(resize_tf1(image, side)[0, 0].numpy(), expected, atol=1e-3)


def test_an_image_of_the_networks_size_is_not_resampled() -> None:
    image = torch.rand(2, 3, 299, 299)
    assert torch.equal(resize_tf1(image, 299), image)


# The features


def test_features_equal_pytorch_fids(
    plain: Inception, clean_fid_blocks: nn.ModuleList, photos: Tensor, wide: Tensor
) -> None:
    with torch.no_grad():
        ours = plain(photos[:3], ["64", "192", "768", "pool"])
        maps = (wide - 128) / 128
        for tap, block in zip(ours, clean_fid_blocks, strict=True):
            maps = block(maps)
            assert difference(ours[tap], maps.mean(dim=(2, 3))) < 1e-6, tap


def test_features_of_either_file_equal_clean_fids(
    port_file: Path, program_file: Path, photos: Tensor, tmp_path: Path
) -> None:
    """clean-fid loads the program and resizes within it, as its mode `legacy_tensorflow`."""
    module = pytest.importorskip("cleanfid.inception_torchscript")
    theirs = module.InceptionV3W(str(program_file.parent), download=False, resize_inside=True)
    few = photos[:3]
    with torch.no_grad():
        expected = theirs(few.float())
    program = load(program_file, tmp_path, file=TORCHSCRIPT)(few)["pool"]
    assert torch.equal(program, expected)
    # The two resizes place pixels by different float32 formulas: 2e-5 grey levels apart.
    assert difference(load(port_file, tmp_path)(few)["pool"], expected) < 2e-6


def test_clean_features_of_either_file_equal_clean_fids_pipeline(
    port_file: Path, program_file: Path, tmp_path: Path
) -> None:
    """From an image file on: clean-fid's data set, its Pillow resize and its way to call the program."""
    module = pytest.importorskip("cleanfid.inception_torchscript")
    fid = pytest.importorskip("cleanfid.fid")
    theirs = module.InceptionV3W(str(program_file.parent), download=False)
    few = photographs(2, 341)
    files = [tmp_path / f"{i}.png" for i in range(len(few))]
    for file, image in zip(files, few, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    expected = torch.from_numpy(
        fid.get_files_features(list(map(str, files)), theirs, 0, 2, torch.device("cpu"), "clean", verbose=False)
    )
    program = load(program_file, tmp_path, file=TORCHSCRIPT, resize="clean")
    assert difference(program(few)["pool"], expected) < 2e-6
    port = load(port_file, tmp_path, resize="clean")
    assert difference(port(few)["pool"], expected) < 2e-6
    assert port.name.endswith("-clean") and program.name.endswith("-clean")
    port.resize = "tf1"
    assert difference(port(few)["pool"], expected) > 1e-3


def test_features_equal_torch_fidelitys(port_file: Path, photos: Tensor, tmp_path: Path) -> None:
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    names = {"64": "64", "192": "192", "768": "768", "2048": "pool", "logits_unbiased": "logits"}
    theirs = module.FeatureExtractorInceptionV3(
        "inception", list(names), feature_extractor_weights_path=str(port_file)
    )
    ours = load(port_file, tmp_path, taps=tuple(names.values()))(photos[:3])
    for tap, expected in zip(names.values(), theirs(photos[:3]), strict=True):
        assert difference(ours[tap], expected) < 1e-6, tap


def test_the_fast_network_equals_the_plain_one(
    plain: Inception, port_file: Path, photos: Tensor, tmp_path: Path
) -> None:
    taps = list(TAPS)
    fast = load(port_file, tmp_path, taps=taps)(photos[:4])
    with torch.no_grad():
        slow = plain(photos[:4], taps)
    for tap, dimensions in TAPS.items():
        assert fast[tap].shape == slow[tap].shape == (4, dimensions)
        # Single units of a map cancel more than means of maps do; float32 is at 1e-6 from float64 there.
        assert difference(fast[tap], slow[tap]) < (5e-6 if tap == "spatial" else 1e-6), tap


def test_spatial_features_are_the_first_channels_of_a_branch_by_row_and_column(
    plain: Inception, photos: Tensor
) -> None:
    outputs: list[Tensor] = []
    branch = plain.Mixed_6d.get_submodule("branch1x1")
    handle = branch.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    with torch.no_grad():
        spatial = plain(photos[:1], ["spatial"])["spatial"].reshape(17, 17, 7)
    handle.remove()
    for row, column, channel in ((0, 0, 0), (3, 11, 5), (16, 2, 6)):
        assert spatial[row, column, channel] == outputs[0][0, channel, row, column]


def test_logits_of_the_program_are_those_of_its_softmax(
    program_file: Path, photos: Tensor, tmp_path: Path
) -> None:
    inception = load(program_file, tmp_path, file=TORCHSCRIPT, taps=("logits", "pool"))
    found = inception(photos[:2])
    assert list(found) == ["logits", "pool"]
    program = torch.jit.load(program_file)
    expected = program(photos[:2], no_output_bias=True)
    torch.testing.assert_close(found["logits"].softmax(1), expected, rtol=1e-5, atol=1e-9)


def test_features_do_not_depend_on_the_batch(port_file: Path, photos: Tensor, tmp_path: Path) -> None:
    """oneDNN may split a convolution by the batch, so that results differ by rounding only."""
    whole = load(port_file, tmp_path, taps=("64",), batch_size=5)(photos[:5])["64"]
    single = load(port_file, tmp_path, taps=("64",), batch_size=1)(photos[:5])["64"]
    assert difference(single, whole) < 1e-6


def test_a_callers_autocast_does_not_reach_the_network(port_file: Path, photos: Tensor, tmp_path: Path) -> None:
    inception = load(port_file, tmp_path, taps=("64",))
    expected = inception(photos[:2])["64"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(inception(photos[:2])["64"], expected)


def test_tf32_is_off_while_features_are_taken_and_as_before_after_it() -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    try:
        cudnn.allow_tf32, matmul.allow_tf32 = True, False
        with tf32(False):
            assert not cudnn.allow_tf32 and not matmul.allow_tf32
        assert cudnn.allow_tf32 and not matmul.allow_tf32
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


# FID of our stream


@pytest.fixture(scope="module")
def both(
    port_file: Path,
    clean_fid_blocks: nn.ModuleList,
    photos: Tensor,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Tensor, np.ndarray]:
    """The first 64 features of all photographs, ours and clean-fid's."""
    ours = load(port_file, tmp_path_factory.mktemp("cache"), taps=("64",))(photos)["64"]
    with torch.no_grad():
        scaled = [(resize_tf1(part.float(), 299) - 128) / 128 for part in photos.split(4)]
        theirs = torch.cat([clean_fid_blocks[0](part).mean(dim=(2, 3)) for part in scaled])
    return ours, theirs.double().numpy()


def test_fid_of_our_stream_is_clean_fids(both: tuple[Tensor, np.ndarray]) -> None:
    """Their network on the same weights, their covariance and their matrix square root; 24 features, 28 images."""
    fid = clean_fid()
    ours, theirs = (features[:, :24] for features in both)
    expected = fid.fid_from_feats(theirs[:28], theirs[28:])
    assert streamed_fid(ours[:28], ours[28:]) == pytest.approx(expected, rel=1e-6)


def test_with_fewer_images_than_features_the_square_root_is_what_differs(both: tuple[Tensor, np.ndarray]) -> None:
    """Their features give our number in our formula; scipy's square root of a singular matrix is 1e-5 off."""
    fid = clean_fid()
    ours, theirs = both
    value = streamed_fid(ours[:28], ours[28:])
    assert value == pytest.approx(
        streamed_fid(torch.from_numpy(theirs[:28]), torch.from_numpy(theirs[28:])), rel=1e-6
    )
    assert value == pytest.approx(fid.fid_from_feats(theirs[:28], theirs[28:]), rel=5e-5)


def test_fid_of_our_stream_is_torch_fidelitys(both: tuple[Tensor, np.ndarray]) -> None:
    metric = pytest.importorskip("torch_fidelity.metric_fid")
    ours = both[0][:, :24]
    statistics = [metric.fid_features_to_statistics(half) for half in ours.split(28)]
    expected = metric.fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    assert streamed_fid(ours[:28], ours[28:]) == pytest.approx(expected, rel=1e-6)


# Files


def test_an_official_file_gives_the_official_name(
    port_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = load(port_file, tmp_path)
    assert own.sha256 == file_sha256(port_file)
    assert own.name == f"inception-own-{own.sha256[:12]}"
    monkeypatch.setattr(inception, "PORT", replace(PORT, sha256=own.sha256))
    assert load(port_file, tmp_path, file=inception.PORT, own_weights=False).name == "inception-2015-12-05"


def test_images_of_another_kind_are_refused(port_file: Path, tmp_path: Path) -> None:
    extract = load(port_file, tmp_path)
    with pytest.raises(ValueError, match=r"uint8 \[B, 3, H, W\], not torch.float32"):
        extract(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"not torch.uint8 \[1, 1, 8, 8\]"):
        extract(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


def test_an_output_that_the_file_does_not_give_is_refused(port_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown output of pt_inception.* 'pol'; did you mean 'pool'"):
        load(port_file, tmp_path, taps=("pol",))
    with pytest.raises(UserError, match=r"unknown output of inception-2015-12-05.pt 'spatial'"):
        load(port_file, tmp_path, file=TORCHSCRIPT, taps=("spatial",))


@pytest.mark.parametrize("file", [PORT, TORCHSCRIPT])
def test_a_file_that_is_not_torchs_is_refused(file: WeightsFile, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"not weights", b"PK\x03\x04 cut"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"^{path} is (no|an empty file|a file of|cut short)"):
            load(path, tmp_path, file=file)


def test_a_state_dict_that_runs_code_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / PORT.name

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (marker,)

    torch.save({"fc.weight": Malicious()}, path)
    with pytest.raises(UserError, match=r"holds more than weights \(it asks for "):
        load(path, tmp_path)
    assert not marker.exists()


def test_weights_of_another_network_are_refused_by_what_differs(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / PORT.name
    damaged = {name: value for name, value in state.items() if not name.startswith("Mixed_6c.branch1x1")}
    torch.save({**damaged, "fc.weight": torch.zeros(1000, 2048), "aux": torch.zeros(1)}, path)
    with pytest.raises(UserError) as caught:
        load(path, tmp_path)
    text = str(caught.value)
    assert "Mixed_6c.branch1x1.conv.weight (missing), Mixed_6c.branch1x1.bn.weight (missing)" in text
    assert "and 1 more" in text
    assert "aux (unexpected)" in text
    assert "fc.weight ([1000, 2048] for [1008, 2048])" in text
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="holds a list, not a network's weights"):
        load(path, tmp_path)


def test_old_files_without_counters_of_batches_are_read(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / PORT.name
    torch.save({name: value for name, value in state.items() if "num_batches" not in name}, path)
    assert load(path, tmp_path).taps == ("pool",)


def test_a_program_that_is_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / TORCHSCRIPT.name
    torch.jit.script(nn.Linear(2, 3)).save(path)
    with pytest.raises(UserError, match=r"its output.weight is missing"):
        load(path, tmp_path, file=TORCHSCRIPT)


def test_a_program_of_somebody_is_not_run_by_own_weights_alone(tmp_path: Path) -> None:
    """A TorchScript program can write files."""
    path = tmp_path / TORCHSCRIPT.name

    class Overwrites(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.output = nn.Linear(2048, 1008, bias=False)

        def forward(self, x: Tensor, return_features: bool = True) -> Tensor:  # noqa: ARG002
            return x

    torch.jit.script(Overwrites()).save(path)
    with pytest.raises(UserError, match=r"another TorchScript program.*fix: name inception-2015-12-05"):
        load(path, tmp_path, file=TORCHSCRIPT, run_code=False)
    assert load(path, tmp_path, file=TORCHSCRIPT).taps == ("pool",)


def test_a_network_whose_numbers_are_no_weights_is_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / PORT.name
    for value, message in (
        (torch.ones(1008, 2048, dtype=torch.int8), r"fc\.weight \(int8: quantised or not weights\)"),
        (torch.full((1008, 2048), torch.nan), r"fc\.weight \(not finite\)"),
    ):
        torch.save({**state, "fc.weight": value}, path)
        with pytest.raises(UserError, match=message):
            load(path, tmp_path)
