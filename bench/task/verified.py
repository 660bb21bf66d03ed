"""Verify pinned assets before numbers depend on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import folder_size
from bench.features.references.store import ReferenceStatistics, load_reference, reference_store
from bench.task.assets import PreparedAsset
from bench.task.pinned import PinnedAsset


def verified(
    role: str, asset: PinnedAsset, sha256: str, altered: Mapping[str, int] | None = None
) -> PreparedAsset:
    """Return a pinned asset as a prepared one; `altered` is that of its manifest.

    Raises UserError if `sha256`, that of its bytes now, differs.
    """
    path = Path(asset.path)
    if sha256 != asset.sha256:
        raise UserError(f"{path} has changed since bench prepare pinned it; fix: run bench prepare with it again")
    return PreparedAsset(role, path, sha256, folder_size(path), altered or {})


def verified_reference(
    role: str, asset: PinnedAsset, cache: Path, network: str, option: str
) -> tuple[ReferenceStatistics, PreparedAsset]:
    """Load the pinned reference, which must have been made with `network`; `option` pins another.

    Raises UserError if it was made with another network, has changed or is damaged.
    """
    found = load_reference(reference_store(cache), asset.name)
    about = found.description
    if about.features != network:
        raise UserError(
            f"the reference {about.name!r} was made with {about.features}, but the feature network is {network}, "
            f"so their distance has no meaning; fix: run bench prepare again with {option}"
        )
    return found, verified(role, asset, about.sha256, about.altered)
