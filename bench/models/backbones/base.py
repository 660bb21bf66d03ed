"""The interface of a backbone family: all that bench knows about one kind of network, in one class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.core.errors import UserError, first_line, unknown
from bench.models.denoiser import Denoiser
from bench.models.interval import IntervalEmbedding
from bench.models.schedules import NoiseSchedule
from bench.models.text.lora_files import adaptable_layers

GROUP = "bench.backbones"
"""The group of entry points that installed families are found under."""
FAMILIES: dict[str, type[BackboneFamily]] = {}
"""Families whose files were imported, by name; a plug-in file adds its own when it runs."""


class BackboneFamily(Denoiser):
    """A denoiser whose network is of one kind; a subclass describes that kind, its family, completely.

    `network`, `schedule`, `taps` and the other arguments of a family's `__init__` (size of patches, ...) make one
    denoiser of it. Whatever differs between families is here: nothing outside asks for a network's class.
    """

    name: ClassVar[str]
    """The family's name: that of its entry point, and "kind" in the description of a saved denoiser."""
    summary: ClassVar[str] = ""
    """One line that `bench list backbones` shows."""
    folder: ClassVar[str] = "network"
    """The folder, beside the description of a saved denoiser, that holds its network."""
    tap_names: ClassVar[tuple[str, ...]]
    """Places in the network where features can be taken, from the first to the last that runs."""
    lora_targets: ClassVar[tuple[str, ...]] = ()
    """Ends of the names of layers that take a LoRA; empty: the family has no such form."""

    network: Any
    taps: tuple[str, ...]
    """Places from which `features` come, in the order of `tap_names`."""
    interval: IntervalEmbedding | None
    """The network's second time input, after `add_interval`; it is saved beside the network."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" in vars(cls):  # other scalings of a family's network are a subclass without a name of its own
            FAMILIES[cls.name] = cls

    def __init__(self, network: Any, schedule: NoiseSchedule, taps: Sequence[str]) -> None:
        """Raises ValueError unless `taps` are some of the family's, in their order."""
        super().__init__()
        if not taps or list(taps) != [tap for tap in self.tap_names if tap in taps]:
            raise ValueError(f"taps are {list(taps)!r}; known, in this order: {', '.join(self.tap_names)}")
        self.network = network
        self.schedule = schedule
        self.taps = tuple(taps)
        self.interval: IntervalEmbedding | None = None

    # How the family's files are read and written.

    @classmethod
    @abstractmethod
    def read_network(cls, folder: Path, fix: str = "download it again", finite: bool = True) -> Any:
        """Read a network from a folder, float32, frozen; `finite` asks that all its weights are.

        Raises UserError that ends with `fix`.
        """

    @abstractmethod
    def write_network(self, folder: Path) -> None:
        """Write the network into an empty folder so that `read_network` and stock tools read it."""

    @classmethod
    @abstractmethod
    def options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        """Read from a saved denoiser's description what `__init__` takes beside the network.

        Raises ValueError, KeyError, TypeError or OverflowError for a damaged description.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the description that `options` reads: plain values for a JSON file."""

    # What the network takes and makes.

    @property
    @abstractmethod
    def sample_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the images or latents that the network denoises."""

    # Where the network is cut and adapted.

    def shard_units(self) -> Iterable[nn.Module]:
        """Return the parts that sharding gathers one after the other, the inner before the outer."""
        return ()

    def repeated_blocks(self) -> Iterable[nn.Module]:
        """Return the blocks that `compile_units=blocks` compiles, none of them within another."""
        return ()

    def checkpoint_gradients(self) -> None:
        raise UserError(
            f"the backbone family {self.name!r} keeps all activations; fix: --set gradient_checkpointing=false"
        )

    @classmethod
    def lora_names(cls, network: nn.Module) -> dict[str, str]:
        """Return a network's layers by all the names that files of LoRAs give them; by default its own names."""
        return {form: name for name in adaptable_layers(network) for form in (name, name.replace(".", "_"))}

    @classmethod
    def renamed(cls, network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:  # noqa: ARG003
        """Return a file's weights or LoRA with the network's names of layers, where original files have others."""
        return state

    def add_adapters(self, rank: int, alpha: float) -> None:
        if not self.lora_targets:
            super().add_adapters(rank, alpha)
        from bench.models.text.lora import (  # peft comes with the extra of networks that take a LoRA
            LoRASpec,
            add_lora,
        )

        add_lora(self.network, LoRASpec(rank, alpha), self.lora_targets)

    def adapters(self) -> dict[str, Tensor] | None:
        """Return the tensors of the network's LoRA in the published form; none if it has no LoRA."""
        if not self.lora_targets:
            return None
        from bench.models.text.lora import has_lora, lora_state

        return lora_state(self.network) if has_lora(self.network) else None

    def merge_adapters(self, state: Mapping[str, Tensor], source: str) -> None:
        """Add a LoRA's tensors to the network's weights. Raises UserError that names `source` if they misfit."""
        from bench.models.text.lora import merge_lora

        merge_lora(self.network, self.lora_names(self.network), self.renamed(self.network, state), source)


def every_family() -> Iterator[type[BackboneFamily]]:
    """Yield the families, installed or from a plug-in file that ran, each loaded when it is its turn."""
    for name in sorted({*FAMILIES, *(point.name for point in entry_points(group=GROUP))}):
        yield find_family(name)


def find_family(name: str) -> type[BackboneFamily]:
    """Return the family of this name, installed or from a plug-in file that ran. Raises UserError."""
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in FAMILIES and name in points:
        try:
            points[name].load()
        except Exception as error:  # whatever the file of somebody's family raises
            raise UserError(
                f"cannot load the backbone family {name!r} ({points[name].value}): {first_line(error)}; "
                "fix: install its package again, or take it away"
            ) from error
    if name not in FAMILIES:
        raise unknown("backbone family", name, sorted({*FAMILIES, *points}))
    return FAMILIES[name]
