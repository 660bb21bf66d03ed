"""Comparisons of results: values, tests of differences, recipes, and images of the same noise."""
