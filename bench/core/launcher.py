"""Environment variables of other launchers: `bench` starts its own processes and ignores all of them."""

from __future__ import annotations

from collections.abc import MutableMapping

_NAMES = frozenset(
    {
        *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE"),
        *("ROLE_RANK", "ROLE_NAME", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "CROSS_RANK", "CROSS_SIZE"),
        *("MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    }
)
_PREFIXES = (
    *("ACCELERATE_", "TORCHELASTIC_", "FSDP_", "DEEPSPEED_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "FP8_"),
    *("OMPI_COMM_WORLD_", "PMI_", "PMIX_", "MV2_COMM_WORLD_"),
)
"""Prefixes of torchrun, `accelerate launch` and MPI; accelerate would read ranks and precision from them."""


def clear(environment: MutableMapping[str, str]) -> list[str]:
    """Remove the variables that other launchers set; return their names, sorted."""
    found = sorted(name for name in environment if name in _NAMES or name.startswith(_PREFIXES))
    for name in found:
        del environment[name]
    return found
