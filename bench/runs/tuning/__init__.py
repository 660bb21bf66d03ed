"""Tunings: trainings over a grid of recipe values, and the best of them."""
