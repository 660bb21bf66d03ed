"""Jobs on a Slurm cluster: profiles, what is to be done as a graph, its submission; a Slurm for one machine."""

SUBMISSIONS = ".slurm"
"""In the folder of the runs: all submissions."""
