"""Published weights of ImageNet-64 networks as denoisers: EDM's, DMD2's, consistency models'."""
