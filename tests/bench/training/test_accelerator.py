"""Processes that train together: gradients are where they are exchanged, and are there once."""

from __future__ import annotations

import torch
from processes import in_processes
from torch import nn

from bench.training.accelerator import accelerator_of
from bench.training.recipe import Recipe


def _train() -> None:
    """Take three steps of a few layers, with gradients freed between them, and compare with one process's."""
    accelerator = accelerator_of(Recipe(), cpu=True)
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    alone = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    alone.load_state_dict(network.state_dict())
    wrapped = accelerator.prepare(network)
    batch = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(1))
    for one in batch:
        for net, given in ((wrapped, one[accelerator.process_index :][:1]), (alone, one)):
            for weight in net.parameters():
                weight.grad = None
            net(given).square().mean().backward()
        gradients = [weight.grad for weight in network.parameters()]
        assert len({gradient.untyped_storage().data_ptr() for gradient in gradients}) == 1, "one buffer has all"
        with torch.no_grad():
            for net in (network, alone):
                for weight in net.parameters():
                    weight -= 0.1 * weight.grad
        for own, other in zip(network.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(own, other)


def test_gradients_are_views_of_the_buffers_in_which_processes_exchange_them() -> None:
    in_processes(2, _train)
