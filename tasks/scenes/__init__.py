"""The tasks `scenes` and `scenes-flow`: their declarations, their data set and what prepares them."""

from tasks.scenes.task import TASK, TASK_FLOW

__all__ = ["TASK", "TASK_FLOW"]
