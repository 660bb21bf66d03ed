"""A family of backbones in one file, a transformer over pixels, and a micro task whose teacher is of this family.

bench run --plugin examples/backbone.py --task digits-transformer --method dmd2
"""

from dataclasses import dataclass, replace

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.models.backbones.classes import ClassFamily
from bench.models.predictions import prediction_to_x0
from bench.models.schedules import FlowSchedule
from tasks.digits import TASK as DIGITS
from tasks.micro import DenoiserSpec, TeacherRecipe


class Transformer(nn.Module):
    """A transformer that reads each pixel of a grey image as a token, with the time and a class."""

    def __init__(self, pixels: int = 16, classes: int = 3) -> None:
        super().__init__()
        self.pixels, self.time, self.out = nn.Linear(1, 16), nn.Linear(1, 16), nn.Linear(16, 1)
        self.places, self.classes = nn.Embedding(pixels, 16), nn.Embedding(classes, 16)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True) for _ in range(3))

    def forward(self, x: Tensor, t: Tensor, condition: Tensor, depth: int = 3) -> list[Tensor]:
        """Return the tokens [B, pixels, 16] after each of the first blocks, in the type of the weights."""
        x, t = x.to(self.time.weight), t.to(self.time.weight)  # float32 or, as recipes and protocols may ask, bf16
        given = (self.time(t[:, None]) + self.classes(condition))[:, None]
        tokens = [self.pixels(x.flatten(1)[..., None]) + self.places.weight + given]
        for block in self.blocks[:depth]:
            tokens.append(block(tokens[-1]))
        return tokens[1:]


class TransformerDenoiser(ClassFamily):
    """The transformer as a denoiser x0 = D(x_t, t, class). Its features are the tokens after two blocks."""

    name, tap_names, lora_targets = "pixel-transformer", ("first", "second"), ("linear1", "linear2")

    @classmethod
    def read_network(cls, folder, fix="", finite=True):  # noqa: ARG003 (for published files)
        weights = load_file(folder / "weights.safetensors")
        network = Transformer(len(weights["places.weight"]), len(weights["classes.weight"]))
        network.load_state_dict(weights)
        return network

    def write_network(self, folder):
        save_file(self.network.state_dict(), folder / "weights.safetensors")

    @classmethod
    def options(cls, about):  # noqa: ARG003 (there are no options)
        return {"schedule": FlowSchedule(), "taps": cls.tap_names}

    def describe(self):
        return {}

    @property
    def classes(self):
        return self.network.classes.num_embeddings

    @property
    def sample_shape(self):
        side = round(self.network.places.num_embeddings**0.5)
        return 1, side, side

    @property
    def feature_shapes(self):
        return ((self.network.places.num_embeddings, 16),) * 2

    def forward(self, x_t, t, condition):
        velocity = self.network.out(self.network(x_t, t, condition)[-1]).view_as(x_t)
        return prediction_to_x0(x_t, velocity, t, self.schedule, "velocity")

    def features(self, x_t, t, condition):
        return tuple(tokens.to(x_t.dtype) for tokens in self.network(x_t, t, condition, depth=2))

    def feature_parameters(self):
        return (p for name, p in self.network.named_parameters() if not name.startswith(("blocks.2.", "out.")))

    def repeated_blocks(self):
        return self.network.blocks


@dataclass(frozen=True)
class PixelTransformer(DenoiserSpec):
    """The networks of the task below, of one size: fields would be sizes to choose."""

    def build(self, image_shape, classes):
        """Build an untrained denoiser."""
        network = Transformer(image_shape[1] * image_shape[2], classes)
        return TransformerDenoiser(network, FlowSchedule(), TransformerDenoiser.tap_names)


TASK = replace(
    DIGITS,
    name="digits-transformer",
    summary="digits with a transformer over pixels",
    network=PixelTransformer(),
    teacher=TeacherRecipe(iterations=1500, batch_size=64, p_mean=0.0, p_std=1.0),  # logit-normal times
)
