"""The value of a metric as a record keeps it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

Count = Annotated[int, Field(ge=0, lt=2**63)]
"""What fits the 64-bit integers of tables."""
Diagnostic = (
    StrictBool
    | Annotated[int, Field(strict=True, gt=-(2**63), lt=2**63)]
    | Annotated[float, Field(strict=True)]
    | None
)
"""What a metric noticed: a count, a measure, or whether; never text that looks like one."""


class Model(BaseModel):
    """Plain data: no unknown fields, no change after construction, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MetricResult(Model):
    """One metric, over independent generation seeds."""

    name: str
    title: str
    direction: Literal["lower", "higher"]
    """Which values are better."""
    value: float | None
    """Mean over the generation seeds; None if the metric failed."""
    values: list[float]
    """One per generation seed."""
    std: float | None
    """Sample standard deviation (n - 1) over the generation seeds; None for fewer than two."""
    low: float | None
    """Lower bound of the Student-t interval over the generation seeds."""
    high: float | None
    """Upper bound of it."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Confidence level of the interval."""
    samples: Count
    """Images per generation seed."""
    diagnostics: list[dict[str, Diagnostic]]
    """What the metric noticed, one per generation seed: rank, clipped eigenvalues, and so on."""
