"""LAION's aesthetic predictor against its authors' layers written out, on a tiny random CLIP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from inception_files import photographs
from tiny_clip import tiny_openai_clip
from torch import nn

from bench.core.errors import UserError
from bench.features.batch import ImageBatch
from bench.features.preprocess import to_pil
from bench.features.published_images import AESTHETIC
from bench.features.scoring import CLIP_L14

ARCHITECTURE = "tiny-clip-768"
TINY = replace(AESTHETIC, protocol=replace(CLIP_L14, architecture=ARCHITECTURE))


@pytest.fixture(scope="module", autouse=True)
def _tiny_architecture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """With the 768 numbers that the head takes."""
    with tiny_openai_clip(ARCHITECTURE, 768, tmp_path_factory.mktemp("architectures")):
        yield


def published_head() -> nn.Module:
    """The layers in the order of the authors' file, with the dropout of their training."""

    class Predictor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                *(nn.Linear(768, 1024), nn.Dropout(0.2), nn.Linear(1024, 128), nn.Dropout(0.2)),
                *(nn.Linear(128, 64), nn.Dropout(0.1), nn.Linear(64, 16), nn.Linear(16, 1)),
            )

    torch.manual_seed(1)
    return Predictor().eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("aesthetic")
    torch.manual_seed(0)
    paths = {"clip-l14": folder / "open_clip_pytorch_model.bin", "aesthetic": folder / "head.pth"}
    torch.save(open_clip.create_model(ARCHITECTURE).state_dict(), paths["clip-l14"])
    torch.save(published_head().state_dict(), paths["aesthetic"])
    return paths


def test_scores_are_the_heads_of_unit_embeddings(files: dict[str, Path]) -> None:
    images = photographs(4, 60)
    found = TINY.load(files, "cpu")(ImageBatch(images))
    model, _, transform = open_clip.create_model_and_transforms(ARCHITECTURE, pretrained=str(files["clip-l14"]))
    with torch.no_grad():
        embeddings = model.eval().encode_image(torch.stack([transform(to_pil(image)) for image in images]))
        expected = published_head().layers(embeddings / embeddings.norm(dim=-1, keepdim=True))[:, 0]
    np.testing.assert_allclose(found.scores["aesthetic"], expected.numpy(), atol=1e-6)
    assert len(set(found.scores["aesthetic"].tolist())) == 4 and found.features.shape == (4, 0)


def test_missing_and_further_tensors_are_refused_by_name(files: dict[str, Path], tmp_path: Path) -> None:
    state = torch.load(files["aesthetic"], weights_only=True)
    cases = {
        r"is not LAION's improved aesthetic predictor: layers\.7\.bias \(missing\)": dict(
            list(state.items())[:-1]
        ),
        r"layers\.9\.weight \(unexpected\)": state | {"layers.9.weight": torch.zeros(1)},
        r"layers\.0\.weight \(\[1024, 512\] for \[1024, 768\]\)": state
        | {"layers.0.weight": torch.zeros(1024, 512)},
    }
    for message, wrong in cases.items():
        torch.save(wrong, tmp_path / "head.pth")
        with pytest.raises(UserError, match=message):
            TINY.load(files | {"aesthetic": tmp_path / "head.pth"}, "cpu")


def test_a_file_that_holds_more_than_weights_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    """The authors' training code saves a module; it is not run."""
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(UserError, match="nothing in it was run"):
        TINY.load(files | {"aesthetic": tmp_path / "module.pth"}, "cpu")
