"""The base class of families whose networks are diffusers' own: their files, a second time input, and views."""

from __future__ import annotations

import contextlib
import copy
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.models.backbones.base import BackboneFamily
from bench.models.interval import IntervalEmbedding
from bench.models.weights.folders import load_network


class DiffusersFamily(BackboneFamily):
    """A denoiser whose network is of one class of diffusers, which reads and writes its own folders."""

    network_class: ClassVar[type[nn.Module]]
    """The class of diffusers."""

    @classmethod
    def read_network(cls, folder: Path, fix: str = "download it again", finite: bool = True) -> Any:
        return load_network(cls.network_class, folder, fix, finite)

    def write_network(self, folder: Path) -> None:
        """Write the network as diffusers does, without the path it was read from: equal ones have equal hashes."""
        self.network.save_pretrained(folder)
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @abstractmethod
    def time_embedders(self) -> Iterable[nn.Module]:
        """Return the modules that embed the time, [B, width] each: there an interval is added."""

    def add_interval(self) -> None:
        weight = next(iter(self.time_embedders())).get_parameter("linear_2.weight")
        self.interval = IntervalEmbedding(weight.shape[0]).to(weight.device)

    @contextlib.contextmanager
    def _over(self, t: Tensor, interval: Tensor | None) -> Iterator[None]:
        """Within it, the network sees the intervals [B] of steps that start at t [B]; none leads to the image."""
        if self.interval is None:
            assert interval is None, "a network takes an interval after add_interval()"
            yield
            return
        added = self.interval(self.schedule.flow_time(t) if interval is None else interval)
        with contextlib.ExitStack() as hooks:
            for embedder in self.time_embedders():
                hooks.enter_context(
                    embedder.register_forward_hook(lambda _, __, time: time + added.to(time.dtype))
                )
            yield

    def checkpoint_gradients(self) -> None:
        self.network.enable_gradient_checkpointing()


def view_of(network: Any, replaced: Mapping[str, nn.Module | None]) -> Any:
    """Return an object of the network's class that shares its modules, except those which are replaced by name.

    The class's own forward runs: nothing is copied, and gradients reach the shared parameters. Build a view before
    the network is wrapped (accelerate, DDP, compile), and again if a top-level module of it is replaced. Under DDP
    call it only inside the wrapped module's forward: `ddp.module(...)` leaves gradients silently unsynchronised.
    """
    view = copy.copy(network)
    # What a wrapper may have put on the instance would run the full network.
    for patched in ("forward", "_original_forward", "_compiled_call_impl"):
        view.__dict__.pop(patched, None)
    view.__dict__["_modules"] = {**network._modules, **replaced}
    return view
