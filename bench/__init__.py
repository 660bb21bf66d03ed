"""The engine: registry, configuration, training loop, evaluation, metrics, records, reports, command line."""

__version__ = "0.1.0"
