"""Declarations of text-to-image tasks with published teachers, whose assets `bench prepare` pins.

This module imports no torch, so that `bench list` and `bench describe` start at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.core.errors import unknown
from bench.core.imports import load_class
from bench.core.progress import Progress
from bench.features.scoring import CLIP_ROLES, LPIPS_TRUNK, PREFERENCES, CLIPProtocol, clip_protocol
from bench.metrics import catalogue, catalogue_images
from bench.metrics.info import MetricInfo
from bench.task.declaration import Baseline, Requirement, Sources
from bench.task.pinned import PinnedAsset, PinnedTask, read_pinned, requirement_of
from bench.task.protocol import MAIN, Protocol
from bench.task.text_rules import TextRules
from tasks.text.baselines import TextBaseline

if TYPE_CHECKING:
    from bench.task.base import PreparedTask

LATENTS = "latents"
"""The role of the real images that students are trained on; evaluations do not read them."""
REALS = "reals"
"""The role of the folder of real images, which feature extractors that the task does not have read."""
TRAINING_PROMPTS = "training_prompts"
"""An optional role; without it students are trained on the captions of the real latents."""
TINY_VAE = "tiny_vae"
"""An optional role, for losses on pixels."""
LPIPS = "lpips"
"""An optional role: the trunk of LPIPS diversity, and of LPIPS as a regression's distance; also the extractor's
name."""

BUILT_IN = [
    one for module in (catalogue, catalogue_images) for one in vars(module).values() if isinstance(one, MetricInfo)
]
"""The built-in metrics, of which those that read the protocol's own features need the FID Inception."""

PromptRule = Literal["coco10k", "coco30k", "parti-128", "parti", "list", "quoted", "geneval", "dpg"]
"""The rule by which the evaluation's prompts are read from the file that the user names."""


@dataclass(frozen=True)
class TextTask(PinnedTask):
    """A text-to-image task: a published teacher, real latents, a list of prompts, and scoring networks."""

    teacher_repository: str
    """The teacher's repository on the hub."""
    prompt_rule: PromptRule
    prompt_source: str
    """The file with the prompts, and its publisher."""
    pair_sampler: TextBaseline
    """The sampler with which the teacher makes noise-image pairs."""
    published_indices: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """Grid positions of published students by their number of steps; the default is first."""
    teacher_pipelines: Collection[str] = ()
    """The classes of diffusers' pipelines of which the teacher may be one; none: all that a family reads."""
    pinned: Mapping[str, PinnedAsset] = field(default_factory=dict)
    """The pinned assets that `located` found in the cache, by role."""

    takes: ClassVar[Collection[str]] = (
        *("data", "teacher", "prompts", "training_prompts", "tiny_vae"),
        *("weights", "reals", "own_weights"),
    )
    modules: ClassVar[Collection[str]] = ("tasks.text.prepared",)
    weight_names: ClassVar[Collection[str]] = ("inception", *CLIP_ROLES, LPIPS, *PREFERENCES)

    @property
    def rules(self) -> TextRules:
        """The text-to-image part of the protocol in use."""
        assert self.protocol.text is not None
        return self.protocol.text

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that an evaluation requires: teacher, prompts, and those of the protocol's metrics."""
        teacher = ("teacher",) if self.has_teacher else ()
        return *teacher, "prompts", *_metric_roles(self.protocol)

    def clip_in(self, role: str) -> CLIPProtocol:
        """Return the CLIP protocol whose weights have this name; the protocol in use comes first.

        Raises UserError if no protocol of the task has one.
        """
        found = [clip_protocol(one.text.clip) for one in (self.protocol, *self.protocols.values()) if one.text]
        for one in found:
            if one.role == role:
                return one
        raise unknown(f"CLIP weights of task {self.name!r}:", role, [one.role for one in found])

    def located(self, cache: Path) -> TextTask:
        pinned = read_pinned(self.pinned_path(cache))
        protocols = {name: _with_pinned(protocol, pinned) for name, protocol in self.protocols.items()}
        return replace(self, pinned=pinned, protocols=protocols).under(self.protocol.name)

    def naming_pinned(self, protocol: Protocol) -> Protocol:
        """Name the FID Inception and the real images, which the metrics of the task's protocol may not read."""
        used = {*_metric_roles(protocol)} & self.pinned.keys()
        features = self.pinned["features"].name if "features" in used else protocol.features
        return replace(protocol, features=features, reference=_reference_name(protocol, self.pinned))

    def identity(self) -> dict[str, str]:
        roles = [role for role in self.roles if role != REALS]  # the protocol names the images
        return {role: self.pinned[role].sha256 if role in self.pinned else "not chosen" for role in roles}

    def identity_of(self, roles: Collection[str]) -> dict[str, str]:
        used = [LATENTS, TRAINING_PROMPTS, *([TINY_VAE] if TINY_VAE in roles else [])]
        return {role: self.pinned[role].sha256 for role in used if role in self.pinned}

    def requirements(self, sources: Sources) -> list[Requirement]:  # noqa: ARG002 (everything was named before, to `pin`)
        prepare = f"bench prepare {self.called}"
        clip = clip_protocol(self.rules.clip)
        hint = "" if PREFERENCES.keys() & self.pinned.keys() else "; one preference model is enough"
        how = {
            "teacher": ("pipeline", f"{prepare} --teacher {self.teacher_repository} (or a folder, a file)"),
            LATENTS: ("captioned images or latents to train on", f"{prepare} --data PATH"),
            "prompts": ("the evaluation's prompts", f"{prepare} --prompts FILE ({self.prompt_source})"),
            "features": ("the FID Inception", f"{prepare} --weights inception=FILE, or --download"),
            "reference": ("real images", f"{prepare} --reals FOLDER"),
            "patch_reference": ("patches of real images", f"{prepare} --reals FOLDER"),
            REALS: ("the folder of real images", f"{prepare} --reals FOLDER"),
            clip.role: (clip.architecture, f"{prepare} --weights {clip.role}=FILE ({clip.source})"),
            LPIPS: ("LPIPS's trunk", f"{prepare} --weights lpips=FILE, or --download"),
        } | {
            name: (network.name, f"{prepare} --weights {name}=PATH ({network.files}; {network.source}){hint}")
            for name, network in PREFERENCES.items()
        }
        teacher = ("teacher", LATENTS) if self.has_teacher else ()
        return [
            requirement_of(role, how[role][0], self.pinned.get(role), how[role][1], for_training=role == LATENTS)
            for role in dict.fromkeys((*teacher, *self.roles))
        ]

    def role_requirements(self, roles: Collection[str]) -> list[Requirement]:
        prepare = f"bench prepare {self.called}"
        tiny = "madebyollin/taesdxl (of SD1.5 taesd, of SD3.5 taesd3, of FLUX.1 taef1; or a folder)"
        how = {
            TINY_VAE: ("a tiny VAE, for losses on pixels", f"{prepare} --tiny-vae {tiny}"),
            LPIPS: ("LPIPS's trunk, VGG16", f"{prepare} --weights lpips=FILE ({LPIPS_TRUNK})"),
        }
        return [
            requirement_of(role, what, self.pinned.get(role), fix, for_training=True)
            for role, (what, fix) in how.items()
            if role in roles
        ]

    def baseline_requirements(self, baseline: Baseline) -> list[Requirement]:
        assert isinstance(baseline, TextBaseline)
        weights = baseline.weights
        if weights is None:
            return []
        what = f"{weights.repository}{f', {weights.file}' if weights.file else ''} ({weights.licence})"
        fix = f"bench eval {self.called} --sampler {baseline.name} --download"
        return [Requirement(baseline.name, what, weights.cached(), fix)]

    def pin(self, sources: Sources, progress: Progress) -> TextTask:
        if sources.names_inputs:
            load_class("tasks.text.pin:pin")(self, sources, progress)
        return self.located(sources.cache)

    def prepare(self, sources: Sources, progress: Progress) -> PreparedTask:
        prepared: PreparedTask = load_class("tasks.text.prepared:prepare_text")(self, sources, progress)
        return prepared


def with_preferences(protocol: Protocol) -> Protocol:
    """Return the protocol with only preference models as metrics: the pinned ones, or all if none is pinned."""
    named = replace(
        protocol, name=f"{protocol.name}-preference", reference="none", features="none", teacher_reference=None
    )
    return _measured_by(named, PREFERENCES)


def _measured_by(protocol: Protocol, names: Iterable[str]) -> Protocol:
    metrics = tuple(names)
    return replace(protocol, metrics=metrics, extractors={name: PREFERENCES[name].name for name in metrics})


def _clip_role(protocol: Protocol) -> str:
    assert protocol.text is not None
    return clip_protocol(protocol.text.clip).role


def _metric_roles(protocol: Protocol) -> tuple[str, ...]:
    """Return the roles of the networks and references that a protocol's metrics read."""
    metrics, patch = protocol.metrics, "patch-fd" in protocol.metrics
    on_main = [one for one in BUILT_IN if one.name in metrics and one.extractor == MAIN]
    with_real = [one for one in BUILT_IN if one.name in metrics and one.needs_reference]
    extractors = {one.extractor for one in with_real if one.compares_with == "real"}
    real = patch or MAIN in extractors
    return (
        *(("features",) if patch or on_main or protocol.teacher_reference else ()),
        *(("reference",) if real else ()),
        *(("patch_reference",) if patch else ()),
        *((REALS,) if extractors - {MAIN, "patch"} else ()),
        *((_clip_role(protocol),) if "clip" in metrics else ()),
        *((LPIPS,) if "diversity" in metrics else ()),
        *(name for name in PREFERENCES if name in metrics),
    )


def _reference_name(protocol: Protocol, pinned: Mapping[str, PinnedAsset]) -> str:
    """Return the name of a protocol's real images: that of their features, or the folder's with its hash."""
    used, reference, reals = _metric_roles(protocol), pinned.get("reference"), pinned.get(REALS)
    if reference and ("reference" in used or protocol.reference == reference.name):
        return reference.name
    return f"{reals.name}, sha256 {reals.sha256[:12]}" if reals and REALS in used else protocol.reference


def _with_pinned(protocol: Protocol, pinned: Mapping[str, PinnedAsset]) -> Protocol:
    """Return the protocol with the names of the pinned assets, because its numbers depend on them."""
    if set(protocol.metrics) <= PREFERENCES.keys():
        protocol = _measured_by(protocol, [name for name in PREFERENCES if name in pinned] or PREFERENCES)
    used = {"prompts", *_metric_roles(protocol)}

    def name(role: str, missing: str) -> str:
        return pinned[role].name if role in pinned and role in used else missing

    def network_of(extractor: str, network: str) -> str:
        if extractor == "patch":
            return name("features", network)
        role = _clip_role(protocol) if extractor == "clip" else extractor
        what = "trunk" if extractor == LPIPS else "weights"
        return f"{network}, {what} {pinned[role].sha256[:12]}" if role in pinned else network

    assert protocol.text is not None
    return replace(
        protocol,
        features=name("features", protocol.features),
        reference=_reference_name(protocol, pinned),
        extractors={one: network_of(one, network) for one, network in protocol.extractors.items()},
        text=replace(protocol.text, prompts=name("prompts", protocol.text.prompts)),
    )
