"""The students of runs: training one, its cost, and measuring one that was saved."""
