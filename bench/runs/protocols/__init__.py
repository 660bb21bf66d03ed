"""Protocols of commands: those made from a task's own, with the networks and feature spaces of extractors."""
