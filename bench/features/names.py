"""Names of the published feature spaces, as records and references have them."""

FID_FEATURES = "inception-2015-12-05"
"""Of either file that the FID Inception comes in, which are equal to 1e-6: distances in them are FID."""
CLEAN_FEATURES = f"{FID_FEATURES}-clean"
"""The same network behind clean-fid's resize: the FID of text-to-image papers."""
SPATIAL_FEATURES = f"{FID_FEATURES}-spatial"
DINO_FEATURES = "dinov2-vitl14"
