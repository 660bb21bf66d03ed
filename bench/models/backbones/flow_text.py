"""What the rectified flows on text have in common: their schedule's shift, and what describes a denoiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.models.backbones.text import TextFamily
from bench.models.backbones.transformer import TransformerFamily
from bench.models.descriptions import layout_of, number_of, taps_of, whole_of
from bench.models.schedules import FlowSchedule
from bench.models.text.flow_scheduler import schedule_options


class FlowTextFamily(TransformerFamily, TextFamily):
    """A transformer on packed text embeddings that predicts the velocity of a rectified flow."""

    schedule: FlowSchedule

    @classmethod
    def schedule_options(cls, scheduler: Mapping[str, Any]) -> dict[str, Any]:
        return dict(schedule_options(scheduler))

    @classmethod
    def options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "schedule": FlowSchedule(number_of(about, "shift")),
            "layout": layout_of(about),
            "side": whole_of(about, "side"),
            "taps": taps_of(about, cls.tap_names),
        }

    def describe(self) -> dict[str, Any]:
        return {
            "shift": self.schedule.shift,
            "layout": self.layout.describe(),
            "side": self.side,
            "taps": list(self.taps),
        }


class GuidedFlowFamily(FlowTextFamily):
    """One of which some networks take the scale of their guidance as an input."""

    embedded_guidance: float | None
    """The scale that the network takes; None if it takes none."""

    @classmethod
    def takes_guidance(cls, network: Any) -> bool:
        return bool(network.config.guidance_embeds)

    @classmethod
    def options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        scale = None if about["embedded_guidance"] is None else number_of(about, "embedded_guidance")
        return super().options(about) | {"embedded_guidance": scale}

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"embedded_guidance": self.embedded_guidance}
