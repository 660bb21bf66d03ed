"""The tasks `fashion` and `fashion-flow`: their declarations, their data set and what prepares them."""

from tasks.fashion.task import TASK, TASK_FLOW

__all__ = ["TASK", "TASK_FLOW"]
