"""A metric with its own network: the distance between the mean features of generated and real images.

bench weights get texture --from texture.safetensors --plugin examples/texture.py
bench eval --plugin examples/texture.py --task digits --sampler teacher-ode --metric fd,texture
"""

from bench.features.base import FeatureExtractor, Weights
from bench.features.views import Features
from bench.metrics.base import Measured, Metric
from bench.metrics.info import MetricInfo


class TextureNetwork(FeatureExtractor):
    """A feature extractor: one layer of convolutions, whose activations are averaged over the image."""

    def load(self, files, device):
        import torch
        from safetensors.torch import load_file

        filters = load_file(files["texture"])["filters"].to(device)  # [features, 1, 3, 3]

        @torch.no_grad()
        def extract(batch):
            grey = batch.images.to(device).float().mean(1, keepdim=True) / 127.5 - 1
            return Features(torch.nn.functional.conv2d(grey, filters).relu().mean((2, 3)).cpu().numpy())

        return extract


TEXTURE = TextureNetwork(
    name="texture",
    summary="activations of one layer of convolutions",
    weights=(Weights("texture", "a .safetensors file with `filters`", "https://example.org", "CC0-1.0"),),
    preprocessing="mean of the channels, in -1 ... 1",
    output="a feature of each filter",
)


class TextureDistance(Metric):
    """The squared distance of the mean features."""

    info = MetricInfo(
        name="texture",
        title="Texture distance",
        direction="lower",
        min_samples=100,
        summary="squared distance of the mean activations of generated and real images",
        source="this example",
        extractor="texture",
        needs_reference=True,
    )
    total, count = 0, 0

    def update(self, batch):
        self.total, self.count = self.total + batch.features.sum(0, dtype="float64"), self.count + len(batch)

    def result(self):
        self.require(self.count, "generated", defined=1)
        apart = self.total / self.count - self.reference.mean
        return Measured(float(apart @ apart), self.count, {})
