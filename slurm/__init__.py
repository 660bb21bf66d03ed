"""Jobs on a Slurm cluster: profiles, what is to be done as a graph, its submission; a Slurm for one machine."""

SUBMISSIONS = ".slurm"
"""Name of the folder of all submissions, inside the folder of the runs."""
