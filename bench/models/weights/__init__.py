"""Read published weights of ImageNet-64 networks as denoisers: EDM, DMD2 and consistency models."""
