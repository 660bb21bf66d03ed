"""SLURM: a real one on this machine, for tests and for trying what a cluster will do."""
