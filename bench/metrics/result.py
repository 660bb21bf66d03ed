"""The value of a metric in a record."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

Count = Annotated[int, Field(ge=0, lt=2**63)]
"""A count that fits the 64-bit integers of tables."""
Diagnostic = (
    StrictBool
    | Annotated[int, Field(strict=True, gt=-(2**63), lt=2**63)]
    | Annotated[float, Field(strict=True)]
    | None
)
"""One diagnostic of a metric: a boolean, a count or a measure; never text that could be parsed as one."""


class Model(BaseModel):
    """Plain data: no unknown fields, no change after construction, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MetricResult(Model):
    """The result of one metric over independent generation seeds."""

    name: str
    title: str
    direction: Literal["lower", "higher"]
    """Whether lower or higher values are better."""
    value: float | None
    """Mean over the generation seeds; None if the metric failed."""
    values: list[float]
    """One per generation seed."""
    std: float | None
    """Sample standard deviation (n - 1) over the generation seeds; None for fewer than two."""
    low: float | None
    """Lower bound of the Student-t interval over the generation seeds."""
    high: float | None
    """Upper bound of the interval."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Confidence level of the interval."""
    samples: Count
    """Images per generation seed."""
    diagnostics: list[dict[str, Diagnostic]]
    """The metric's diagnostics, one dictionary per generation seed: rank, clipped eigenvalues, and so on."""
