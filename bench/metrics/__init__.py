"""Evaluation metrics: each one a class that consumes a stream of extracted features."""
