"""The task `scenes`: its declaration, its data set and what prepares it."""

from tasks.scenes.task import TASK

__all__ = ["TASK"]
