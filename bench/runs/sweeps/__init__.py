"""Sweeps: measurements over the settings of samplers, and the point that a rule chooses."""
