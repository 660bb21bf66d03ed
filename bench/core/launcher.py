"""What other launchers leave in the environment: `bench` starts its own processes and reads none of it."""

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
"""Of torchrun, `accelerate launch` and MPI: accelerate would take the ranks, the backend, even the precision."""


def clear(environment: MutableMapping[str, str]) -> list[str]:
    """Remove what other launchers set; return the names, sorted."""
    found = sorted(name for name in environment if name in _NAMES or name.startswith(_PREFIXES))
    for name in found:
        del environment[name]
    return found
