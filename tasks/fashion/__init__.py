"""The task `fashion`: its declaration, its data set and what prepares it."""

from tasks.fashion.task import TASK

__all__ = ["TASK"]
