"""Names of the published feature spaces, which records and references hold. Imports no numpy."""

from __future__ import annotations

FID_FEATURES = "inception-2015-12-05"
"""The features of the FID Inception, from either of its files, which agree to 1e-6; distances in them are FID."""
CLEAN_FEATURES = f"{FID_FEATURES}-clean"
"""The same network after clean-fid's resize: the FID of text-to-image papers."""
SPATIAL_FEATURES = f"{FID_FEATURES}-spatial"
DINO_FEATURES = "dinov2-vitl14"
