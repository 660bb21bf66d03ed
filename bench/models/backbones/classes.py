"""The interface of a family of class-conditional networks: its classes, and the condition without one."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from bench.models.backbones.base import BackboneFamily


class ClassFamily(BackboneFamily):
    """A family whose networks are conditioned on a class alone, a whole number [B] below `classes`."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of classes that the network is conditioned on, without a null class."""

    @property
    def null_condition(self) -> Tensor | None:
        """The null class, [1]: what the network takes for unconditional images; None if it has none."""
        return None
