"""The states of runs: attempts and locks in their folders, pending runs, and the output of --dry-run."""
