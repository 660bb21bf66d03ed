"""Micro tasks: real images that are small enough to train on in minutes on a CPU."""

from tasks.micro.task import ClassifierRecipe, MicroTask, NetworkSpec, TeacherRecipe, TrainedTask, TrainingRecipe

__all__ = ["ClassifierRecipe", "MicroTask", "NetworkSpec", "TeacherRecipe", "TrainedTask", "TrainingRecipe"]
