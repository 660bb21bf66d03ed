"""DINOv2: transformers' network behind Pillow's bicubic filter, and refusals of what is none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.core.errors import UserError
from bench.features.networks.dinov2 import load_dinov2
from bench.features.preprocess import bicubic

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=70, patch_size=14
    )
    path = tmp_path_factory.mktemp("dinov2")
    transformers.Dinov2Model(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (5, 3, 64, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_features_equal_transformers_own_processor_and_model(folder: Path, images: torch.Tensor) -> None:
    processor = transformers.BitImageProcessorPil(
        size={"height": 224, "width": 224},
        resample=Image.Resampling.BICUBIC,
        do_center_crop=False,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    pixels = processor([image.permute(1, 2, 0).numpy() for image in images], return_tensors="pt")["pixel_values"]
    model = transformers.Dinov2Model.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = model(pixel_values=pixels).pooler_output
    found = load_dinov2(folder)(images)
    assert found.shape == (5, 16) and found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_features_do_not_depend_on_the_batch(folder: Path, images: torch.Tensor) -> None:
    dinov2 = load_dinov2(folder)
    whole = dinov2(images)
    dinov2.batch_size = 2
    torch.testing.assert_close(dinov2(images), whole, rtol=1e-5, atol=1e-5)


def test_another_size_than_vit_l_is_named_by_its_sizes(folder: Path) -> None:
    assert load_dinov2(folder).name == "dinov2-own-16-2-14"


def test_what_is_no_dinov2_is_refused_with_the_command_that_gets_it(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json; fix: hf download facebook/dinov2-large"):
        load_dinov2(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(UserError, match=r"has neither .*model\.safetensors, only config\.json"):
        load_dinov2(tmp_path)
    weights = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="cannot read"):
        load_dinov2(tmp_path)


def test_missing_weights_are_not_replaced_by_random_ones(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    state = load_file(folder / "model.safetensors")
    del state["layernorm.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"do not fit: layernorm\.weight \(missing\); fix"):
        load_dinov2(tmp_path)


def test_resizing_is_pillows(images: torch.Tensor) -> None:
    picture = Image.fromarray(images[0].permute(1, 2, 0).numpy()).resize((224, 224), Image.Resampling.BICUBIC)
    assert np.array_equal(bicubic(images[:1], 224)[0].permute(1, 2, 0).numpy(), np.array(picture))
