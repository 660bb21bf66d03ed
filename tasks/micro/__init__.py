"""Micro tasks: real images that are small enough to train on in minutes on a CPU."""

from tasks.micro.task import (
    ClassifierRecipe,
    FlowTeacherRecipe,
    MicroTask,
    NetworkSpec,
    TeacherRecipe,
    TrainedTask,
    TrainingRecipe,
    TransformerSpec,
)

__all__ = [
    "ClassifierRecipe",
    "FlowTeacherRecipe",
    "MicroTask",
    "NetworkSpec",
    "TeacherRecipe",
    "TrainedTask",
    "TrainingRecipe",
    "TransformerSpec",
]
