"""A family of backbones in one file: a transformer over pixels that predicts the velocity of a flow."""

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.models.backbones.base import BackboneFamily
from bench.models.predictions import prediction_to_x0
from bench.models.schedules import FlowSchedule


class Transformer(nn.Module):
    """A transformer that reads each pixel of a 4x4 image as a token, with the time and one of three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels, self.time, self.out = nn.Linear(1, 16), nn.Linear(1, 16), nn.Linear(16, 1)
        self.places, self.classes = nn.Embedding(16, 16), nn.Embedding(3, 16)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True) for _ in range(3))

    def forward(self, x: Tensor, t: Tensor, condition: Tensor, depth: int = 3) -> list[Tensor]:
        """Return the tokens [B, 16, 16] after each of the first blocks."""
        given = (self.time(t.float()[:, None]) + self.classes(condition))[:, None]
        tokens = [self.pixels(x.flatten(1)[..., None]) + self.places.weight + given]
        for block in self.blocks[:depth]:
            tokens.append(block(tokens[-1]))
        return tokens[1:]


class TransformerDenoiser(BackboneFamily):
    """The transformer as a denoiser x0 = D(x_t, t, class). Its features are the tokens after two blocks."""

    name, tap_names, lora_targets = "pixel-transformer", ("first", "second"), ("linear1", "linear2")
    sample_shape, feature_shapes = (1, 4, 4), ((16, 16), (16, 16))

    @classmethod
    def read_network(cls, folder, fix="", finite=True):  # noqa: ARG003 (for published files)
        network = Transformer()
        network.load_state_dict(load_file(folder / "weights.safetensors"))
        return network

    def write_network(self, folder):
        save_file(self.network.state_dict(), folder / "weights.safetensors")

    @classmethod
    def options(cls, about):  # noqa: ARG003 (there are no options)
        return {"schedule": FlowSchedule(), "taps": cls.tap_names}

    def describe(self):
        return {}

    def forward(self, x_t, t, condition):
        velocity = self.network.out(self.network(x_t, t, condition)[-1]).view_as(x_t)
        return prediction_to_x0(x_t, velocity, t, self.schedule, "velocity")

    def features(self, x_t, t, condition):
        return tuple(self.network(x_t, t, condition, depth=2))

    def feature_parameters(self):
        return (p for name, p in self.network.named_parameters() if not name.startswith(("blocks.2.", "out.")))
