"""A real Slurm on one machine, for tests and for trying `--executor slurm` at home: `python -m slurm.local`."""
