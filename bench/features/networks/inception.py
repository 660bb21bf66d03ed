"""Inception features of images: FID's 2048, sFID's, and the logits of the Inception score."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from bench.core.errors import UserError, first_line, unknown
from bench.core.progress import Progress
from bench.features.files import PORT, TORCHSCRIPT
from bench.features.names import CLEAN_FEATURES, FID_FEATURES
from bench.features.networks.inception_network import TAPS, Inception
from bench.features.precision import frozen_network
from bench.features.preprocess import clean_resize
from bench.features.weights import FoundWeights, WeightsFile, find_weights
from bench.models.weights.compare import differences, without_prefixes
from bench.models.weights.state_dicts import read_state_dict

SCRIPTED_TAPS = ("pool", "logits")
AT_ONCE = 32
"""Images that pass through the network together."""
UNREADABLE = (RuntimeError, pickle.UnpicklingError, OSError, EOFError, ValueError, KeyError)
"""The exceptions that torch raises for a file that is not its own."""

Resize = Literal["tf1", "clean"]
"""The rule that resizes images to 299 x 299. tf1: bilinear without antialias within the network, as TensorFlow 1,
EDM and clean-fid's `legacy_tensorflow` do. clean: clean-fid's bicubic before it. Their features are not
comparable."""


class InceptionFeatures:
    """The FID Inception as an extractor: it maps uint8 images to named features, on any device."""

    def __init__(
        self,
        network: Inception | ScriptedInception,
        taps: Collection[str],
        name: str,
        weights: FoundWeights,
        batch_size: int,
        resize: Resize = "tf1",
    ) -> None:
        self.network = network
        self.resize = resize
        self.name = name
        self.taps = tuple(taps)
        self.path = weights.path
        self.sha256 = weights.sha256
        self.batch_size = batch_size

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Return the features of uint8 images [B, 3, H, W]: {tap: [B, TAPS[tap]] float32}, on the CPU.

        Images are resized to 299 x 299 by the rule `resize`. Autocast and TF32 are always off, because they
        change features by 1e-2. Images pass in parts of `batch_size`, which bounds the memory.
        Raises ValueError if the images are of another dtype or shape.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"Inception takes uint8 [B, 3, H, W], not {images.dtype} {list(images.shape)}")
        device = next(self.network.parameters()).device
        parts: list[dict[str, Tensor]] = []
        with frozen_network(device):
            for part in images.split(self.batch_size):
                found = self._features(part.to(device))
                parts.append({tap: values.float().cpu() for tap, values in found.items()})
        return {tap: torch.cat([part[tap] for part in parts]) for tap in self.taps}

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        if self.resize == "clean":
            return self.network.features(clean_resize(images), self.taps)
        found: dict[str, Tensor] = self.network(images, self.taps)
        return found


class ScriptedInception(nn.Module):
    """NVIDIA's TorchScript file behind the interface of our network."""

    def __init__(self, program: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.program = program.eval()

    def forward(self, images: Tensor, taps: Collection[str]) -> dict[str, Tensor]:
        """Run on uint8 images [B, 3, H, W], which the program resizes and scales: {tap: [B, TAPS[tap]]}."""
        return self._tapped(self.program(images, return_features=True), taps)

    def features(self, pixels: Tensor, taps: Collection[str]) -> dict[str, Tensor]:
        """Run on float pixels [B, 3, 299, 299] in 0 ... 255, as clean-fid calls the file."""
        return self._tapped(self.program.layers((pixels - 128) / 128), taps)

    def _tapped(self, pool: Tensor, taps: Collection[str]) -> dict[str, Tensor]:
        pool = pool.flatten(1)
        # The program returns logits after a softmax, and in a second pass.
        found = {"pool": pool, "logits": pool @ self.program.output.weight.T}
        return {tap: found[tap] for tap in taps}


def load_inception(
    weights: Path | None,
    cache: Path,
    *,
    download: bool,
    progress: Progress,
    file: WeightsFile = PORT,
    taps: Collection[str] = ("pool",),
    device: torch.device | str = "cpu",
    batch_size: int = AT_ONCE,
    own_weights: bool = False,
    resize: Resize = "tf1",
    run_code: bool = False,
) -> InceptionFeatures:
    """Load the extractor from `weights`, or from `file` in the cache (downloaded only if `download`).

    `file` is PORT, which our network with folded normalisations runs, or TORCHSCRIPT, which runs as it is. Raises
    UserError if the file is missing, has another hash than `file`, or does not contain this network.

    Trust: a file with the published hash is the published file. `own_weights` waives the hash. A state dict
    (PORT) is then still only read as tensors, and may be of a network of the same shape with a half, a fourth, an
    eighth or a sixteenth of the channels; a TorchScript file is a *program* that can write files, and another
    one than the published is run only where `run_code` says so.
    """
    known = TAPS if file is PORT else SCRIPTED_TAPS
    for tap in taps:
        if tap not in known:
            raise unknown(f"output of {file.name}", tap, known)
    found = find_weights(file, weights, cache, download, progress, own_weights)
    if file is not PORT and found.sha256 != file.sha256 and not run_code:
        raise UserError(
            f"{found.path} is not {file.name} but another TorchScript program, which could overwrite files "
            f"when it is run; fix: name {file.name}"
        )
    network = _port(found.path) if file is PORT else _scripted(found, device)
    published = CLEAN_FEATURES if resize == "clean" else FID_FEATURES
    own = published.replace(FID_FEATURES, f"inception-own-{found.sha256[:12]}")
    name = published if found.sha256 == file.sha256 else own
    return InceptionFeatures(network.to(device), taps, name, found, batch_size, resize)


def _port(path: Path) -> Inception:
    """Read a state dict with the port's names. Raises UserError if it is damaged or of another network."""
    state = read_state_dict(path)
    with torch.device("meta"):  # random weights would only be overwritten
        network = Inception(_divisor(state))
    network.load_state_dict(_checked(path, state, network.state_dict()), assign=True)
    return network.faster()


def _divisor(state: Mapping[str, Tensor]) -> int:
    """Return how many times narrower than the published network these weights are; 1 by default."""
    pooled = [value.shape[-1] for name, value in state.items() if str(name).endswith("fc.weight") and value.ndim]
    return next((divisor for divisor in (2, 4, 8, 16) if pooled == [TAPS["pool"] // divisor]), 1)


def _checked(path: Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `expected` from `state`. Raises UserError that names every missing or wrong one."""
    state = without_prefixes(state, expected.__contains__)
    # Old files do not have the counters of training steps, and evaluation does not read them.
    counters = {name: torch.tensor(0) for name in expected if name.endswith("num_batches_tracked")}
    given = {name: value for name, value in state.items() if not str(name).endswith("num_batches_tracked")}
    required = {name: value for name, value in expected.items() if name not in counters}
    if wrong := differences(required, given):
        raise UserError(f"{path} is not the FID Inception: {wrong}; fix: name {PORT.name}")
    return {**{name: value.float() for name, value in given.items()}, **counters}


def _scripted(found: FoundWeights, device: torch.device | str) -> ScriptedInception:
    """Read NVIDIA's program from the bytes whose hash was checked. Raises UserError."""
    path = found.path
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != found.sha256:
        raise UserError(f"{path} has changed while it was read; fix: run the command again")
    try:
        program = torch.jit.load(io.BytesIO(data), map_location=device)
    except UNREADABLE as error:
        raise UserError(
            f"{path} is not a TorchScript program: {first_line(error)}; fix: name {TORCHSCRIPT.name}"
        ) from error
    shapes = {name: list(value.shape) for name, value in program.state_dict().items()}
    if shapes.get("output.weight") != [TAPS["logits"], TAPS["pool"]]:
        shape = f"{shapes['output.weight']}, not [1008, 2048]" if "output.weight" in shapes else "missing"
        raise UserError(f"{path} is not {TORCHSCRIPT.name}: its output.weight is {shape}; fix: download it again")
    return ScriptedInception(program)
