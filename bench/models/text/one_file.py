"""Read pipelines in one file, named as in the original checkpoints: every tensor is read or refused by name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from bench.core.errors import UserError, first_line
from bench.core.escape import printable
from bench.models.weights.compare import not_weights, problems
from bench.models.weights.folders import POSITIONS, is_count, quiet
from bench.models.weights.state_dicts import fill

UNET, VAE = "model.diffusion_model.", "first_stage_model."
SDXL_TEXT = "conditioner."
SECOND = "conditioner.embedders.1.model."
AVERAGED = "model_ema."
TRAINING = (
    *("betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"),
    *("log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod"),
    *("posterior_variance", "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2"),
    *("lvlb_weights", "denoiser.sigmas", f"{SECOND}logit_scale", "cond_stage_model.logit_scale"),
    *(f"text_encoders.{name}.logit_scale" for name in ("clip_l", "clip_g", "t5xxl")),
)
"""Tensors that follow from the schedule or were used only in training, as are those that begin with LOSS."""
LOSS = f"{VAE}loss."
OPEN_CLIP_COPIES = re.compile(r"transformer\.resblocks\.\d+\.attn\.in_proj_(weight|bias)|text_projection")
"""The tensors of SDXL's second encoder that are copied when they are renamed: they are split or transposed."""


class OneFile(NamedTuple):
    """The networks of a pipeline that is stored in one file."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text: list[Any]
    """The CLIP text models: one, or two for SDXL."""


def read_one_file(path: Path, state: Mapping[str, Tensor], folder: Path, like: str) -> OneFile:
    """Build the networks of the configuration in `folder` around a checkpoint's tensors, in float32.

    Raises UserError that names the file and every tensor that is missing, unexpected, of another shape or not a
    weight. `like` is the name of the architecture in messages.
    """
    if any(name.startswith(AVERAGED) for name in state):
        raise UserError(
            f"{path} holds two UNets, as trained and averaged ({AVERAGED}*), and does not say which one to use; "
            "fix: name a file that holds one, such as v1-5-pruned-emaonly.safetensors"
        )
    reader = FileReader(path, state, like)
    with reading(path, like):
        found = _networks(reader, folder, is_sdxl(state))
    reader.refuse_rest()
    return found


def is_sdxl(names: Iterable[str]) -> bool:
    """Say whether the tensors of these names are of an SDXL, else of an SD1.5."""
    return any(name.startswith(SDXL_TEXT) for name in names)


@contextlib.contextmanager
def reading(path: Path, like: str) -> Iterator[None]:
    """Within it, the libraries say nothing, and whatever they raise becomes a UserError."""
    try:
        with quiet():
            yield
    except UserError:
        raise
    except Exception as error:  # diffusers, transformers and json each raise their own
        what = printable(_text(error))[:200]
        raise UserError(
            f"cannot read {path} as a pipeline like {like}: {what}; fix: name the whole file"
        ) from None


def _networks(reader: FileReader, folder: Path, sdxl: bool) -> OneFile:
    unet_config = UNet2DConditionModel.load_config(folder / "unet", local_files_only=True)
    vae_config = AutoencoderKL.load_config(folder / "vae", local_files_only=True)
    unet = reader.network(
        "its UNet",
        lambda: UNet2DConditionModel.from_config(unet_config),
        lambda _: convert_ldm_unet_checkpoint(reader.under(UNET), dict(unet_config)),
        UNET,
    )
    vae = reader.network(
        "its VAE",
        lambda: AutoencoderKL.from_config(vae_config),
        lambda _: convert_ldm_vae_checkpoint(reader.under(VAE), dict(vae_config)),
        VAE,
    )
    first = "conditioner.embedders.0.transformer." if sdxl else "cond_stage_model.transformer."
    text = [
        reader.network(
            "its text encoder",
            lambda: CLIPTextModel(text_config(folder / "text_encoder")),
            lambda _: convert_ldm_clip_checkpoint(reader.under(first)),
            first,
        )
    ]
    if sdxl:
        text.append(
            reader.network(
                "its second text encoder",
                lambda: CLIPTextModelWithProjection(text_config(folder / "text_encoder_2")),
                lambda model: convert_open_clip_checkpoint(model, reader.under(SECOND), prefix=SECOND),
                SECOND,
                OPEN_CLIP_COPIES,
            )
        )
    return OneFile(unet, vae, text)


class FileReader:
    """A reader that builds networks from a checkpoint and tracks the tensors that no network has used."""

    def __init__(self, path: Path, state: Mapping[str, Tensor], like: str) -> None:
        self.path = path
        self.like = like
        self.state = {name: value for name, value in state.items() if not _serves_nothing(name, value)}
        self.left = dict(self.state)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with `prefix`."""
        return {name: value for name, value in self.state.items() if name.startswith(prefix)}

    def network(
        self,
        what: str,
        build: Callable[[], nn.Module],
        convert: Callable[[Any], dict[str, Tensor]],
        prefix: str,
        copies: re.Pattern[str] | None = None,
    ) -> Any:
        """Build a network around the renamed tensors under `prefix`; the two must match exactly.

        `copies` are the names, after the prefix, of tensors that `convert` copies, and not just renames.
        """
        with init_empty_weights():  # its initial weights would be overwritten anyway
            model = build()
        given = self.under(prefix)
        if not given:
            raise UserError(f"{self.path} holds no tensors of {what} ({prefix}*); fix: name the whole file")
        try:
            renamed = convert(model)
        except (KeyError, AttributeError, TypeError, IndexError) as error:  # a tensor is missing
            raise UserError(
                f"{self.path} cannot be read as a pipeline like {self.like}: a tensor of {what} is missing "
                f"({printable(_text(error))[:200]}); fix: name the whole file"
            ) from None
        flat = not any(name.startswith("text_model.") for name in model.state_dict())
        renamed = {name.removeprefix("text_model.") if flat else name: value for name, value in renamed.items()}
        fill(model, renamed, str(self.path), f"a pipeline like {self.like}, by {what}")
        used = {value.data_ptr() for value in renamed.values()}
        for name, value in given.items():
            copied = copies is not None and copies.fullmatch(name.removeprefix(prefix))
            if value.data_ptr() in used or copied:
                del self.left[name]
        return model.eval().requires_grad_(False)

    def refuse_rest(self) -> None:
        """Raise UserError if the file holds tensors that no network uses."""
        if rest := problems((), self.left):
            raise UserError(
                f"{self.path} is not a pipeline like {self.like}: {rest}; "
                "fix: name a file that holds only the pipeline"
            )


def text_config(folder: Path) -> Any:
    """Read the configuration of a CLIP text model from its folder."""
    return CLIPTextModel.config_class.from_pretrained(folder, local_files_only=True)


def _serves_nothing(name: str, value: Tensor) -> bool:
    """Say whether no image depends on a tensor."""
    if name.rpartition(".")[2] in POSITIONS:
        return is_count(value)
    return name in TRAINING or name.startswith(LOSS)


def refuse_another_schedule(path: Path, state: Mapping[str, Tensor], log_alpha_bar: Tensor) -> None:
    """Raise UserError if a checkpoint has another noise schedule than its configuration, `log_alpha_bar` [T]."""
    stored = state.get("alphas_cumprod")
    if stored is None:
        return
    fits = stored.shape == log_alpha_bar.shape and not not_weights(stored)
    rounding = torch.finfo(stored.dtype).eps if stored.is_floating_point() else 0.0  # files were cut to fp16, bf16
    if not fits or not torch.allclose(stored.double(), log_alpha_bar.exp(), rtol=max(1e-3, rounding), atol=1e-6):
        raise UserError(
            f"{path} was trained with another noise schedule (alphas_cumprod) than that of its configuration; "
            "fix: name the folder in diffusers' format, whose scheduler describes it"
        )


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
