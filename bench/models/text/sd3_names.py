"""The original names of SD3's network, read by diffusers' conversion with nothing left over."""

from __future__ import annotations

from collections.abc import Mapping

from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from torch import Tensor

from bench.core.errors import UserError
from bench.models.weights.compare import problems


def diffusers_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a network's tensors by diffusers' names. Raises UserError if one is missing or belongs to nothing."""
    left = dict(state)
    try:
        found: dict[str, Tensor] = convert_sd3_transformer_checkpoint_to_diffusers(left)
    except KeyError as error:
        raise UserError(f"a network of SD3 in its original form lacks {error}; fix: name the whole file") from None
    if rest := problems((), left):
        raise UserError(
            f"a network of SD3 in its original form has more than its tensors: {rest}; "
            "fix: name the file of the network alone"
        )
    return found
