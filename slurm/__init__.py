"""Jobs on a Slurm cluster: profiles, what is to be done as a graph, its submission; and a Slurm for one machine."""
