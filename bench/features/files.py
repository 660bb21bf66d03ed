"""The published files of feature networks whose hash is known. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

from bench.features.weights import WeightsFile

PORT = WeightsFile(
    name="pt_inception-2015-12-05-6726825d.pth",
    url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    bytes=95_628_359,
    licence="Apache-2.0 (TensorFlow's weights of 2015-12-05)",
)
"""The state dict of pytorch-fid and torch-fidelity (which calls the same bytes weights-inception-...)."""

TORCHSCRIPT = WeightsFile(
    name="inception-2015-12-05.pt",
    url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    bytes=95_607_719,
    licence="NVIDIA's terms for the graph; TensorFlow's weights of 2015-12-05 are Apache-2.0",
)
"""The program of clean-fid, StyleGAN and k-diffusion; EDM's pickle contains the same network."""

TRUNKS: Mapping[str, WeightsFile] = {
    "alex": WeightsFile(
        name="alexnet-owt-7be5be79.pth",
        url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        bytes=244_408_911,
        licence="BSD-3-Clause (torchvision), trained on ImageNet",
    ),
    "vgg": WeightsFile(
        name="vgg16-397923af.pth",
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        bytes=553_433_881,
        licence="BSD-3-Clause (torchvision), trained on ImageNet",
    ),
}
"""torchvision's classifiers, whose convolutions LPIPS uses; LPIPS's linear layers are in its package."""
