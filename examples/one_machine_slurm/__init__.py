"""A real Slurm on one machine, for tests and to try `--executor slurm` at home: `python -m one_machine_slurm`."""
