"""The tiny pipelines, written once for all tests of a session."""

from pathlib import Path

import pytest
from flux_networks import save_flux
from sd3_pipelines import save_sd3
from text_pipelines import save_sd15, save_sdxl


@pytest.fixture(scope="session")
def sd15_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion 1.5 in diffusers' folder format; only read it."""
    return save_sd15(tmp_path_factory.mktemp("text") / "sd15")


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SDXL in diffusers' folder format; only read it."""
    return save_sdxl(tmp_path_factory.mktemp("text") / "sdxl")


@pytest.fixture(scope="session")
def flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny FLUX.1-dev in diffusers' folder format; only read it."""
    return save_flux(tmp_path_factory.mktemp("text") / "flux")


@pytest.fixture(scope="session")
def sd3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SD3.5 in diffusers' folder format; only read it."""
    return save_sd3(tmp_path_factory.mktemp("text") / "sd3")
