"""The figures of a training step: which a method may return, and in which iterations they are logged."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.training.alarms import PREFIX, REAL

LOG_EVERY = 10

OWN_FIGURES = ("iteration", "lr", "fd", "fd_samples", "gradient/", PREFIX, REAL)
"""Names, and prefixes that end in "/", of the figures that the trainer logs itself."""

MOST_COMPARED = 64
"""Most images of a batch whose distances are measured, since there are as many as its square."""


def is_logged_update(updates: int, iterations: int) -> bool:
    """Say whether a network's update number `updates`, made in iteration number `iterations`, is logged.

    If the generator has a turn in every fifth iteration, or a critic in every even one, no tenth iteration may be
    one, and its losses would never be logged. So about one of its updates in ten iterations is, chosen by numbers
    that a checkpoint restores.
    """
    return updates % max(1, round(LOG_EVERY * updates / iterations)) == 0


def check_figures(figures: object, first: object) -> None:
    """Raise ValueError unless the figures of a training step can be logged.

    There must be at least one, each a real tensor without dimensions. Names must not be those of OWN_FIGURES, and
    must be the same as in `first`, the figures of the iteration's first micro-batch.
    """
    if not isinstance(figures, dict) or not figures:
        found = "{}" if isinstance(figures, dict) else type(figures).__name__
        raise ValueError(
            f"training_step returned {found}; fix: return at least one figure to log, {{name: tensor}}"
        )
    for name, value in figures.items():
        if not isinstance(name, str) or not name or any(_is_own(name, own) for own in OWN_FIGURES):
            raise ValueError(
                f"training_step returned a figure named {name!r}; a name is a text, and not one of those that the "
                f"trainer logs itself ({', '.join(OWN_FIGURES)}); fix: call it loss/{name} for example"
            )
        if not isinstance(value, Tensor) or value.ndim or value.is_complex():
            what = f"{list(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"training_step returned {what} for {name!r}; fix: return a real tensor without dimensions"
            )
    if isinstance(first, dict) and figures.keys() != first.keys():
        odd = sorted(figures.keys() ^ first.keys())
        raise ValueError(
            f"training_step returned {odd[0]!r} for some micro-batches of an iteration and not for others"
        )


def check_loss(loss: object, whose: str) -> None:
    """Raise ValueError unless a loss is a tensor without dimensions; one for each image would be added up."""
    if not isinstance(loss, Tensor) or loss.ndim:
        what = f"the shape {list(loss.shape)}" if isinstance(loss, Tensor) else f"the type {type(loss).__name__}"
        raise ValueError(f"the loss of {whose} has {what}; fix: give a tensor without dimensions, loss.mean()")


def diversity(images: Tensor) -> Tensor:
    """Return how different the images [B, ...] of a batch are, B > 1, from at most the first 64 of them.

    It is the root mean square difference of an image from the nearest other one, averaged over the images. Images
    that collapse within their class have near neighbours as soon as two of a class are in the batch.
    """
    flat = images[:MOST_COMPARED].flatten(1)
    distances = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    return distances.amin(1).mean() / flat.shape[1] ** 0.5


def _is_own(name: str, own: str) -> bool:
    return name.startswith(own) if own.endswith("/") else name == own
