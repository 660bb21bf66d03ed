"""Stable Diffusion 3's pipelines (SD3, SD3.5): their three text encoders, read from a folder or one file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint, convert_ldm_vae_checkpoint
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from bench.core.files import read_json
from bench.models.backbones.text import PipelineFile, TextFamily, TextPipeline
from bench.models.text.encoders import TextEncoder, fit, tokenize
from bench.models.text.hub import from_hub
from bench.models.text.latents import LatentSpace
from bench.models.text.layout import ConditionLayout
from bench.models.text.one_file import VAE, FileReader, reading, text_config
from bench.models.text.parts import fitting, read_scheduler, read_tokenizer
from bench.models.text.sd3_names import diffusers_weights
from bench.models.text.t5 import T5Encoder, read_t5
from bench.models.weights.folders import load_network
from bench.models.weights.weight_files import WEIGHTS

LARGE = "stabilityai/stable-diffusion-3.5-large"
MEDIUM = "stabilityai/stable-diffusion-3.5-medium"
FIRST_MEDIUM = "stabilityai/stable-diffusion-3-medium-diffusers"
T5_TOKENS = 256
"""Tokens of a prompt for T5, StableDiffusion3Pipeline's default."""
NETWORK, CLIPS = (
    "model.diffusion_model.",
    ("text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer."),
)
COPIES = re.compile(r".+\.(qkv|adaLN_modulation\.1)\.(weight|bias)")
"""The tensors of the network that are split when they are renamed."""
T5 = "text_encoders.t5xxl.transformer."
TEXT = ("text_encoder", "text_encoder_2", "text_encoder_3")


class SD3Encoder(TextEncoder):
    """The encoder of SD3: two CLIP models' last hidden states but one, then T5's embeddings; "" is unconditional.

    CLIP's are next to each other and padded with zeros to T5's width; the pooled embedding is that of both. A
    pipeline may be without T5, whose embeddings are then zero.
    """

    def __init__(
        self,
        tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
        models: tuple[CLIPTextModelWithProjection, CLIPTextModelWithProjection],
        t5: T5Encoder | None,
        width: int,
    ) -> None:
        """`width` is the size of the embeddings that the network takes. Raises ValueError for parts of others."""
        super().__init__()
        self.tokenizers = tokenizers
        self.models = nn.ModuleList(models)
        self.t5 = t5
        one, two = (model.config for model in models)
        self.clip_tokens = int(one.max_position_embeddings)
        if one.hidden_size + two.hidden_size > width or (t5 is not None and t5.width != width):
            raise ValueError(
                f"the network takes embeddings of {width} numbers, and its text encoders make {one.hidden_size}, "
                f"{two.hidden_size} and {'none' if t5 is None else t5.width}"
            )
        tokens = self.clip_tokens + (T5_TOKENS if t5 is None else t5.tokens)
        self.layout = ConditionLayout(tokens, width, one.projection_dim + two.projection_dim)

    def encoded(self, prompts: Sequence[str]) -> Tensor:
        hidden, pooled = [], []
        for tokenizer, model in zip(self.tokenizers, self.models, strict=True):
            tokens = tokenize(tokenizer, prompts, self.clip_tokens)
            output = model(tokens.to(self.device), output_hidden_states=True)
            hidden.append(output.hidden_states[-2].float())
            pooled.append(output.text_embeds.float())
        clip = torch.cat(hidden, -1)
        clip = functional.pad(clip, (0, self.layout.width - clip.shape[-1]))
        t5 = clip.new_zeros(len(clip), T5_TOKENS, self.layout.width) if self.t5 is None else self.t5(prompts)
        return self.layout.pack(torch.cat([clip, t5], 1), torch.cat(pooled, -1))

    def read_whole(self, prompts: Sequence[str]) -> list[bool]:
        if self.t5 is None:
            return fit(self.tokenizers[0], prompts, self.clip_tokens)
        return self.t5.read_whole(prompts)

    def null_condition(self) -> Tensor:
        return self.encode([""])


def read_folder(family: type[TextFamily], folder: Path) -> TextPipeline:
    """Read a pipeline's folder. Raises UserError that names the broken part."""
    network = family.read_network(folder / family.folder)
    vae = load_network(AutoencoderKL, folder / "vae")
    clips = [load_network(CLIPTextModelWithProjection, folder / part) for part in TEXT[:2]]
    t5 = read_t5(folder / "tokenizer_3", folder / TEXT[2], T5_TOKENS) if has_t5(folder) else None
    return _around(family, folder, network, vae, clips, t5)


def has_t5(folder: Path) -> bool:
    """Say whether a pipeline has its T5, by model_index.json: some are without it, to save memory."""
    return (read_json(folder / "model_index.json").get(TEXT[2]) or [None])[0] is not None


def read_file(family: type[TextFamily], file: PipelineFile) -> TextPipeline:
    """Read a pipeline in one file; the parts that it lacks are those of its architecture's folder.

    Files are published with and without text encoders. Raises UserError that names every tensor that does not
    belong.
    """
    like = str(file.architecture or published_architecture(file.state))
    folder = Path(like) if Path(like).is_dir() else from_hub(like, file.download, _needed(family, file.state))
    reader = FileReader(file.path, file.state, like)
    bare = not any(name.startswith(NETWORK) for name in file.state)
    config = _config(SD3Transformer2DModel, folder / family.folder)
    with reading(file.path, like):
        network = reader.network(
            "its transformer",
            lambda: SD3Transformer2DModel.from_config(config),
            lambda _: diffusers_weights(reader.under("" if bare else NETWORK)),
            "" if bare else NETWORK,
            COPIES,
        )
        vae = _vae(reader, folder)
        clips = [_clip(reader, prefix, folder / part) for prefix, part in zip(CLIPS, TEXT[:2], strict=True)]
        t5 = _t5(reader, folder)
    reader.refuse_rest()
    return _around(family, folder, network, vae, clips, t5)


def published_architecture(state: Iterable[str]) -> str:
    """Return the published pipeline whose network has tensors with these original names."""
    names = list(state)
    if any("joint_blocks.37." in name for name in names):
        return LARGE
    # SD3.5 Medium's first blocks have a second attention; SD3's have none.
    return MEDIUM if any(".attn2." in name for name in names) else FIRST_MEDIUM


def _needed(family: type[TextFamily], state: Mapping[str, Tensor]) -> list[str]:
    """Return the files of the architecture's pipeline that are read: no weights of the parts that a file holds."""
    prefixes = {"vae": VAE} | dict(zip(TEXT, (*CLIPS, T5), strict=True))
    held = [
        family.folder,
        *(part for part, one in prefixes.items() if any(name.startswith(one) for name in state)),
    ]
    weights = {f"{part}/{name}" for part in held for name in WEIGHTS}
    return [file for file in family.pipeline_files() if file not in weights]


def _around(
    family: type[TextFamily], folder: Path, network: Any, vae: Any, clips: Sequence[Any], t5: T5Encoder | None
) -> TextPipeline:
    """Return the networks with the tokenizers and the scheduler of a pipeline's folder."""
    tokenizers = read_tokenizer(folder / "tokenizer"), read_tokenizer(folder / "tokenizer_2")
    with fitting():
        encoder = SD3Encoder(tokenizers, (clips[0], clips[1]), t5, network.config.joint_attention_dim)
    return TextPipeline(family, network, LatentSpace(vae), encoder, read_scheduler(folder))


def _config(kind: Any, folder: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = kind.load_config(folder, local_files_only=True)
    return found


def _vae(reader: FileReader, folder: Path) -> Any:
    if not reader.under(VAE):
        return load_network(AutoencoderKL, folder / "vae")
    config = _config(AutoencoderKL, folder / "vae")
    return reader.network(
        "its VAE",
        lambda: AutoencoderKL.from_config(config),
        lambda _: convert_ldm_vae_checkpoint(reader.under(VAE), dict(config)),
        VAE,
    )


def _clip(reader: FileReader, prefix: str, folder: Path) -> Any:
    if not reader.under(prefix):
        return load_network(CLIPTextModelWithProjection, folder)

    def convert(model: Any) -> dict[str, Tensor]:
        # CLIP-L was made without the projection: that of SD3's folders is the identity.
        return {"text_projection.weight": torch.eye(model.config.hidden_size)} | convert_ldm_clip_checkpoint(
            reader.under(prefix), prefix
        )

    return reader.network(
        f"its text encoder {folder.name}",
        lambda: CLIPTextModelWithProjection(text_config(folder)),
        convert,
        prefix,
    )


def _t5(reader: FileReader, folder: Path) -> T5Encoder | None:
    if not reader.under(T5):
        return read_t5(folder / "tokenizer_3", folder / TEXT[2], T5_TOKENS) if has_t5(folder) else None
    table = "encoder.embed_tokens.weight"

    def convert(_: Any) -> dict[str, Tensor]:
        found = {name.removeprefix(T5): value for name, value in reader.under(T5).items()}
        return {table: found["shared.weight"]} | found

    model = reader.network(
        "its T5",
        lambda: T5EncoderModel(T5EncoderModel.config_class.from_pretrained(folder / TEXT[2])),
        convert,
        T5,
    )
    return T5Encoder(read_tokenizer(folder / "tokenizer_3", T5TokenizerFast), model, T5_TOKENS)
