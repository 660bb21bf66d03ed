"""FLUX.1's pipelines (dev, schnell): their text encoder, read from a folder or the original network's file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from accelerate import init_empty_weights
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from bench.core.errors import UserError, first_line
from bench.core.escape import printable
from bench.core.files import read_json
from bench.models.backbones.text import PipelineFile, TextFamily, TextPipeline
from bench.models.text.encoders import TextEncoder, tokenize
from bench.models.text.flux_names import diffusers_weights
from bench.models.text.hub import from_hub
from bench.models.text.latents import LatentSpace
from bench.models.text.layout import ConditionLayout
from bench.models.text.parts import read_scheduler, read_tokenizer
from bench.models.text.t5 import T5Encoder, read_t5
from bench.models.weights.folders import load_network
from bench.models.weights.state_dicts import fill

DEV = "black-forest-labs/FLUX.1-dev"
SCHNELL = "black-forest-labs/FLUX.1-schnell"
DEV_TOKENS, SCHNELL_TOKENS = 512, 256
"""Tokens of a prompt for T5, as Black Forest Labs' own code has them."""


class FluxEncoder(TextEncoder):
    """The encoder of FLUX.1: T5's embeddings, and CLIP's pooled one; "" is unconditional."""

    def __init__(self, tokenizer: CLIPTokenizer, clip: CLIPTextModel, t5: T5Encoder) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.clip = clip
        self.t5 = t5
        self.layout = ConditionLayout(t5.tokens, t5.width, clip.config.hidden_size)

    def encoded(self, prompts: Sequence[str]) -> Tensor:
        tokens = tokenize(self.tokenizer, prompts, self.clip.config.max_position_embeddings).to(self.device)
        return self.layout.pack(self.t5(prompts), self.clip(tokens).pooler_output.float())

    def read_whole(self, prompts: Sequence[str]) -> list[bool]:
        return self.t5.read_whole(prompts)

    def null_condition(self) -> Tensor:
        return self.encode([""])


def read_folder(family: type[TextFamily], folder: Path) -> TextPipeline:
    """Read a pipeline's folder. Raises UserError that names the broken part."""
    return _around(family, family.read_network(folder / family.folder), folder)


def read_file(family: type[TextFamily], file: PipelineFile) -> TextPipeline:
    """Read the original network's file; all else is from the published pipeline, or that of its architecture.

    Raises UserError that names every tensor that does not belong.
    """
    like = str(file.architecture or (DEV if any("guidance_in." in name for name in file.state) else SCHNELL))
    configuration = f"{family.folder}/config.json"
    others = [name for name in family.pipeline_files() if not name.startswith(f"{family.folder}/")]
    folder = Path(like) if Path(like).is_dir() else from_hub(like, file.download, [*others, configuration])
    return _around(family, _network(file, folder / configuration, like), folder)


def _network(file: PipelineFile, configuration: Path, like: str) -> FluxTransformer2DModel:
    config = read_json(configuration)
    try:
        with init_empty_weights():  # its initial weights would be overwritten anyway
            network = FluxTransformer2DModel.from_config(config)
    except Exception as error:  # diffusers and torch each raise their own
        raise UserError(
            f"cannot read {configuration}: {printable(first_line(error))[:200]}; fix: download it again"
        ) from None
    renamed = diffusers_weights(file.state, network.state_dict())
    fill(network, renamed, str(file.path), f"a network like that of {like}")
    return network.eval().requires_grad_(False)


def _around(family: type[TextFamily], network: FluxTransformer2DModel, folder: Path) -> TextPipeline:
    """Return a network with the other parts of a pipeline's folder."""
    scheduler = read_scheduler(folder)
    # A network that was trained on from dev may take no guidance either, but its times are shifted.
    like_schnell = not family.takes_guidance(network) and not scheduler.get("use_dynamic_shifting")
    tokens = SCHNELL_TOKENS if like_schnell else DEV_TOKENS
    encoder = FluxEncoder(
        read_tokenizer(folder / "tokenizer"),
        load_network(CLIPTextModel, folder / "text_encoder"),
        read_t5(folder / "tokenizer_2", folder / "text_encoder_2", tokens),
    )
    latents = LatentSpace(load_network(AutoencoderKL, folder / "vae"))
    return TextPipeline(family, network, latents, encoder, scheduler)
