"""Suites and the paper's tables: named sets of runs, what they decide for their rows, and their plans."""
