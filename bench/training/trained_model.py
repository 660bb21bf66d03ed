"""Networks of a distiller: trained networks, each with its optimiser, and target networks that average them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.training.half_weights import HalfWeights
from bench.training.one_base import OwnState


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Freeze a network's parameters; gradients still pass through it to its input."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


class TrainedModel(OwnState):
    """A network with its optimiser. It is called like the network itself, with or without gradients.

    Under DDP a call that trains must go through the wrapper, which averages the gradients of all processes. Any
    other call must not, because the wrapper waits for a backward pass. A call trains if gradients are enabled and
    a parameter requires them, which is not the case under `torch.no_grad()` or within `frozen(model.network)`.
    """

    def __init__(
        self,
        network: nn.Module,
        wrapped: nn.Module,
        optimizer: torch.optim.Optimizer,
        lr: float,
        shared: Mapping[str, str] | None = None,
        half: HalfWeights | None = None,
    ) -> None:
        """Store the parts. `wrapped` is the network as accelerate prepared it (DDP), or the sharded network.

        `shared`: the tensors that belong to the teacher (`shared_names`). `half`: if the network runs in bf16; the
        optimiser is its master's.
        """
        super().__init__(network, shared, half)
        self.wrapped = wrapped
        self.optimizer = optimizer
        self.lr = lr
        """Learning rate before warm-up and decay."""
        self.group_rates = [float(group.get("lr", lr)) for group in optimizer.param_groups]
        """The same of each of the optimiser's groups, as `build_optimizer` gave it: mostly `lr`."""
        self.updates = 0
        """Number of optimiser steps so far."""
        self.gradient_norm: Tensor | None = None
        """Gradient norm of the last step, before clipping."""
        self.micro_batch: object = None
        """The micro-batch of the last backward pass; each is an object of its own."""

    def set_rate(self, factor: float) -> None:
        """Set every group's learning rate to a share of its full one.

        Raises UserError if the optimiser got groups after it was built: their full rates are not known.
        """
        if len(self.optimizer.param_groups) != len(self.group_rates):
            raise UserError(
                f"the optimiser has {len(self.optimizer.param_groups)} groups, and was built with "
                f"{len(self.group_rates)}; fix: make every group in build_optimizer()"
            )
        for group, rate in zip(self.optimizer.param_groups, self.group_rates, strict=True):
            group["lr"] = rate * factor

    def step(self) -> None:
        """Step the optimiser, from the gradients that the master has."""
        self.optimizer.step()
        self.refresh()
        self.release_gradients()
        self.updates += 1

    def release_gradients(self) -> None:
        """Free the gradients, which are as large as the weights, while other networks train."""
        self.optimizer.zero_grad()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        trains = torch.is_grad_enabled() and any(one.requires_grad for one in self.network.parameters())
        return (self.wrapped if trains else self.network)(*args, **kwargs)


class TargetNetwork(OwnState):
    """A frozen network that follows a trained one as an exponential moving average of its weights."""

    def __init__(
        self,
        network: nn.Module,
        model: TrainedModel,
        decay: float,
        shared: Mapping[str, str] | None = None,
        half: HalfWeights | None = None,
    ) -> None:
        """Copy the model's current weights into `network`, which has the same shape and shares the same."""
        super().__init__(network.requires_grad_(False).eval(), shared, half)
        self.model = model
        self.decay = decay
        self.copy_model()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.network(*args, **kwargs)

    def copy_model(self) -> None:
        """Copy the model's weights."""
        self.load_state_dict(self.model.state_dict())

    def update(self) -> None:
        """Move every weight towards the model's: decay * own + (1 - decay) * the model's."""
        move_average(self.state_dict(), self.model.state_dict(), self.decay)
        self.refresh()


@torch.no_grad()
def move_average(own: Mapping[str, Tensor], current: Mapping[str, Tensor], decay: float) -> None:
    """Move an average of a network's state, in place, to decay * own + (1 - decay) * current."""
    weights = [name for name, value in own.items() if value.is_floating_point()]
    torch._foreach_lerp_([own[n] for n in weights], [current[n] for n in weights], 1 - decay)
    for name in own.keys() - set(weights):  # counters are not averaged
        own[name].copy_(current[name])
