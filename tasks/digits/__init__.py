"""The task `digits`: its declaration, its data set and what prepares it."""

from tasks.digits.task import TASK

__all__ = ["TASK"]
