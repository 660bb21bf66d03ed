"""The published networks of feature extractors, each with its weights and its preprocessing."""
