"""Micro tasks: real images that are small enough to train on in minutes on a CPU."""

from tasks.micro.task import (
    ClassifierRecipe,
    DenoiserSpec,
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
    "DenoiserSpec",
    "FlowTeacherRecipe",
    "MicroTask",
    "NetworkSpec",
    "TeacherRecipe",
    "TrainedTask",
    "TrainingRecipe",
    "TransformerSpec",
]
