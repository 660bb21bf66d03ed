"""Sources of references: published files, which are checked and never run, and real images."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.features.batch import ImageBatch
from bench.features.names import DINO_FEATURES, FID_FEATURES, SPATIAL_FEATURES
from bench.features.references.make import FeatureSpace, array_images, make_references
from bench.features.references.sources import import_reference
from bench.features.references.store import DIMENSIONS
from bench.features.statistics import mean_and_covariance
from bench.features.views import Features


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that make six numbers of an image, three or two, in place of 2,048, 2,023 and 1,024."""
    for name, size in ((FID_FEATURES, 6), (SPATIAL_FEATURES, 3), (DINO_FEATURES, 2)):
        monkeypatch.setitem(DIMENSIONS, name, size)


RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(40, 6)) + 5
MU, SIGMA = ROWS.mean(0), np.cov(ROWS, rowvar=False)


def test_edms_npz_is_one_reference(tmp_path: Path) -> None:
    np.savez(tmp_path / "imagenet.npz", mu=MU, sigma=SIGMA)
    (found,) = import_reference(tmp_path / "imagenet.npz", "edm", samples=40, crop="edm")
    assert np.array_equal(found.mean, MU) and np.allclose(found.cov, SIGMA, rtol=1e-15)
    about = found.description
    assert (about.name, about.features, about.samples, about.crop) == ("edm", "inception-2015-12-05", 40, "edm")
    assert about.source == "imagenet.npz" and len(about.sha256) == 64 and found.rows is None


def test_adms_npz_has_spatial_statistics_too_and_its_images_stay_unread(tmp_path: Path) -> None:
    images = np.array([object()])  # reading these would have to unpickle them
    path = tmp_path / "VIRTUAL.npz"
    np.savez(path, arr_0=images, mu=MU, sigma=SIGMA, mu_s=MU[:3], sigma_s=SIGMA[:3, :3])
    main, spatial = import_reference(path, "adm")
    assert (main.description.name, spatial.description.name) == ("adm", "adm-spatial")
    assert spatial.description.features == "inception-2015-12-05-spatial" and spatial.mean.shape == (3,)


def test_edm2s_pickle_is_read_as_data(tmp_path: Path) -> None:
    content = {"fid": {"mu": MU, "sigma": SIGMA}, "fd_dinov2": {"mu": MU[:2], "sigma": SIGMA[:2, :2]}}
    path = tmp_path / "img64.pkl"
    path.write_bytes(pickle.dumps(content))
    main, dino = import_reference(path, "edm2")
    assert np.array_equal(main.mean, MU)
    assert (dino.description.name, dino.description.features) == ("edm2-dinov2", "dinov2-vitl14")


def test_a_pickle_that_would_run_something_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    path = tmp_path / "img64.pkl"
    path.write_bytes(pickle.dumps({"fid": Attack()}))
    with pytest.raises(UserError, match="system"):
        import_reference(path, "edm2")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("mu", "sigma", "reason"),
    [
        (MU, SIGMA + np.triu(np.ones((6, 6)), 1), "not symmetric"),
        (MU, SIGMA - 2 * np.eye(6), "not a covariance: its eigenvalues go from"),
        (MU, SIGMA[:5, :5], r"\[6\] and \[5, 5\], not \[D\], \[D, D\]"),
        (np.where(np.arange(6) == 2, np.nan, MU), SIGMA, "mu of bad is not finite in 1 places"),
        (MU, np.where(np.eye(6) > 0, np.inf, SIGMA), "sigma of bad is not finite in 6 places"),
        (MU, np.zeros((6, 6)), "sigma of bad is 0 everywhere"),
        (np.array(["a"] * 6), SIGMA, "not an array of numbers"),
        (MU, SIGMA.astype(np.float16), "sigma of bad is float16, not an array of numbers of at least 32 bits"),
        (MU.astype(np.int64), SIGMA, "mu of bad is int64, not an array of numbers"),
        (MU, SIGMA.astype(complex), "sigma of bad is complex128, not an array of numbers"),
        (MU[:4], SIGMA[:4, :4], "bad has 4 features, and inception-2015-12-05 has 6: .* of another layer"),
    ],
)
def test_what_is_no_mean_and_covariance_is_refused(
    mu: np.ndarray, sigma: np.ndarray, reason: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "bad.npz", mu=mu, sigma=sigma)
    with pytest.raises(UserError, match=reason) as refused:
        import_reference(tmp_path / "bad.npz", "bad")
    assert "bad.npz" in str(refused.value)


def test_other_files_are_refused_by_their_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "stats"
    with pytest.raises(UserError, match="no file"):
        import_reference(path, "x")
    path.write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"neither an \.npz file nor a pickle: it starts with 3c 68"):
        import_reference(path, "x")
    np.savez(tmp_path / "other.npz", mean=MU)
    with pytest.raises(UserError, match="no mu and sigma; it has mean"):
        import_reference(tmp_path / "other.npz", "x")
    whole = tmp_path / "whole.npz"
    np.savez(whole, mu=MU, sigma=SIGMA)
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:300])
    with pytest.raises(UserError, match=r"cut\.npz is damaged"):
        import_reference(tmp_path / "cut.npz", "x")


def npz(path: Path, header: bytes, data: bytes) -> Path:
    """An npz whose mu has this header."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mu.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data)
        archive.writestr("sigma.npy", b"")
    return path


def test_a_header_that_asks_for_terabytes_and_a_bomb_are_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    with pytest.raises(UserError, match=r"x.npz is damaged .*mu.npy asks for 8,000,000,000,000 bytes"):
        import_reference(npz(tmp_path / "x.npz", header, b"1" * 64), "x")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (250000000,), }\n"
    with pytest.raises(UserError, match=r"y.npz is damaged .*mu.npy asks for 2,000,000,000 bytes"):
        import_reference(npz(tmp_path / "y.npz", header, b"1" * 64), "y")


def test_a_pickle_of_shared_dictionaries_is_refused_at_once(tmp_path: Path) -> None:
    shared: dict[str, object] = {"mu": 1}
    for _ in range(40):
        shared = {"a": shared, "b": shared}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(shared))
    with pytest.raises(UserError, match=r"x.pkl is refused, .* it holds more than 1,000 entries"):
        import_reference(tmp_path / "x.pkl", "x")


def test_a_named_pipe_and_a_device_are_no_references(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UserError, match="no file"):
            import_reference(path, "x")


def _sound(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "npz":
        np.savez(buffer, mu=MU, sigma=SIGMA)
        return buffer.getvalue()
    return pickle.dumps({"fid": {"mu": MU, "sigma": SIGMA}})


@pytest.mark.parametrize("kind", ["npz", "pkl"])
@given(at=st.integers(0, 2000), put=st.binary(max_size=8), cut=st.booleans())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_bytes_a_reference_is_sound_or_refused_by_name(
    kind: str, at: int, put: bytes, cut: bool, tmp_path: Path
) -> None:
    sound = _sound(kind)
    at %= len(sound)
    path = tmp_path / "x.bin"
    path.write_bytes(sound[:at] + put + (b"" if cut else sound[at + len(put) :]))
    try:
        (found,) = import_reference(path, "x")
        assert np.isfinite(found.cov).all() and np.array_equal(found.cov, found.cov.T)
    except UserError as error:
        assert "x.bin" in str(error)


def built(images: np.ndarray, keep: int | None, batch_size: int) -> list:
    calls = []

    def features(batch: ImageBatch, columns: slice) -> Features:
        return Features(batch.images.flatten(1)[:, columns].float().numpy())

    def main(batch: ImageBatch) -> Features:
        calls.append(len(batch))
        return features(batch, slice(5))

    spaces = {
        "": FeatureSpace("pixels", main),
        "-other": FeatureSpace("more-pixels", lambda batch: features(batch, slice(5, 8))),
    }
    real = array_images(images, "reals.npy", "0" * 64, batch_size)
    made = make_references(real, spaces, "reals", SilentProgress(), keep)
    assert sum(calls) == len(images)
    return list(made.values())


def test_building_sees_each_image_once_for_all_networks() -> None:
    images = RNG.integers(0, 256, (31, 3, 4, 4), dtype=np.uint8)
    rows = images.reshape(31, -1).astype(np.float64)
    main, other = built(images, keep=0, batch_size=7)
    for found, expected in ((main, rows[:, :5]), (other, rows[:, 5:8])):
        np.testing.assert_allclose(found.mean, expected.mean(0), rtol=1e-13)
        np.testing.assert_allclose(found.cov, np.cov(expected, rowvar=False), rtol=1e-12)
    assert [one.description.name for one in (main, other)] == ["reals", "reals-other"]
    assert main.rows is None and main.description.samples == 31


def test_features_are_kept_of_images_evenly_over_the_set_whatever_the_batch() -> None:
    images = RNG.integers(0, 256, (31, 3, 4, 4), dtype=np.uint8)
    first, *_ = built(images, keep=4, batch_size=7)
    again, *_ = built(images, keep=4, batch_size=31)
    assert first.rows is not None and again.rows is not None
    expected = images.reshape(31, -1)[[0, 10, 20, 30], :5].astype(np.float32)
    assert np.array_equal(first.rows, expected) and np.array_equal(again.rows, expected)
    assert first.description.kept == 4 and first.rows.dtype == np.float32
    assert built(images, keep=100, batch_size=8)[0].description.kept == 31


def test_all_features_are_kept_with_the_statistics_of_two_passes() -> None:
    images = RNG.integers(0, 256, (31, 3, 4, 4), dtype=np.uint8)
    main, other = built(images, keep=None, batch_size=7)
    rows = images.reshape(31, -1).astype(np.float32)
    for found, expected in ((main, rows[:, :5]), (other, rows[:, 5:8])):
        assert np.array_equal(found.rows, expected) and found.description.kept == 31
        mean, cov = mean_and_covariance(expected)
        assert np.array_equal(found.mean, mean) and np.array_equal(found.cov, cov)


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(UserError, match=r"reals\.npy has 1 images, and a covariance takes at least 2"):
        built(np.zeros((1, 3, 4, 4), np.uint8), keep=0, batch_size=2)
