"""Evaluation metrics: each is a class that consumes a stream of extracted features."""
