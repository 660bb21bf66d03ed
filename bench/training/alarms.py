"""Alarms: signs that a training goes wrong, from the figures that it logs anyway. Imports no torch.

An alarm turns one iteration's figures into a value. The monitor takes the mean of the values over a window of
iterations, and compares it with a threshold of the recipe. docs/alarms.md tells what each alarm means.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.metrics.result import Count, Model
from bench.training.recipe import Recipe

Figures = Mapping[str, float]

PREFIX = "alarm/"
"""Beginning of the names of the windows' means in a run's log."""
REAL = "real/"
"""Beginning of the names of statistics of real images; the others are of the student's output."""
KINDS = ("pixel", "latent")
"""Beginning of the names of statistics of images, and of latents, which have no brightness."""


class AlarmNote(Model):
    """One alarm in a record: when a training had it, and how bad it was."""

    name: str
    first: Count
    """Last iteration of the first window beyond the threshold."""
    last: Count
    """Last iteration of the last such window. The alarm may have been over in between."""
    worst: float
    threshold: float


class Alarm(ABC):
    """A sign of a failure. It has a value in iterations whose figures it reads."""

    name: ClassVar[str]
    """The recipe's threshold is `alarm_` and this name."""
    meaning: ClassVar[str]
    """A sentence for people, with {value} in it."""
    below: ClassVar[bool] = False
    """True if values below the threshold are the bad ones."""
    grace: ClassVar[float] = 0.0
    """Share of the training before which there is no alarm. The first window is never judged."""

    @abstractmethod
    def value(self, figures: Figures) -> float | None:
        """Return the value of an iteration, or None if figures are missing."""


class Brightness(Alarm):
    """The generated images are darker or brighter than real ones, or swing between both."""

    name = "brightness"
    meaning = "the mean of the generated images is {value:.3g} standard deviations from that of the real ones"

    def value(self, figures: Figures) -> float | None:
        """Return |mean - real mean| / real standard deviation."""
        return _drift(figures, "mean")


class Colour(Alarm):
    """The generated images have a colour cast: a channel drifts from the others, which brightness does not see."""

    name = "colour"
    meaning = "the cast of the generated images is {value:.3g} standard deviations from that of the real ones"

    def value(self, figures: Figures) -> float | None:
        """Return |spread of the channels' means - real spread| / real standard deviation."""
        return _drift(figures, "cast")


class Saturation(Alarm):
    """The generated images have too much contrast, as of too much guidance."""

    name = "saturation"
    meaning = "the contrast of the generated images is {value:.3g} times that of the real ones"

    def value(self, figures: Figures) -> float | None:
        """Return the standard deviation of all elements over that of the real images."""
        return _ratio(figures, "std")


class Collapse(Alarm):
    """The generated images of a batch are like each other."""

    name = "collapse"
    meaning = "the generated images of a batch are {value:.3g} times as far from each other as real ones"
    below = True
    grace = 0.1  # a one-step student starts with blurred images, which are alike

    def value(self, figures: Figures) -> float | None:
        """Return the distance to the nearest image of the batch over that of the real images."""
        return _ratio(figures, "diversity")


class Discriminator(Alarm):
    """The discriminator tells real from generated images with certainty: its gradients say little."""

    name = "discriminator"
    meaning = "the discriminator's logits of real images are {value:.3g} above those of generated ones"

    def value(self, figures: Figures) -> float | None:
        """Return the difference of the mean logits."""
        real, fake = figures.get("logits/real"), figures.get("logits/fake")
        return None if real is None or fake is None else real - fake


class Critic(Alarm):
    """The critic does not know the generated images, so its score is not theirs."""

    name = "critic"
    meaning = "the critic's denoising loss on generated images is {value:.3g}, where 1 is to have learnt nothing"

    def value(self, figures: Figures) -> float | None:
        """Return the denoising loss."""
        return figures.get("loss/denoising")


ALARMS: tuple[Alarm, ...] = (Brightness(), Colour(), Saturation(), Collapse(), Discriminator(), Critic())


def threshold_of(alarm: Alarm, recipe: Recipe) -> float:
    """Return the recipe's threshold; 0 if the alarm is off."""
    return 0.0 if recipe.alarms == "off" else float(getattr(recipe, f"alarm_{alarm.name}"))


def alarms_of(recipe: Recipe) -> list[Alarm]:
    """Return the alarms that a recipe turns on."""
    return [alarm for alarm in ALARMS if threshold_of(alarm, recipe)]


def is_reason(alarm: Alarm, value: float, done: int, recipe: Recipe) -> bool:
    """Say whether the mean of a window that ends with iteration `done` is a reason for alarm."""
    if done <= max(recipe.alarm_window, alarm.grace * recipe.iterations):
        return False
    threshold = threshold_of(alarm, recipe)
    return threshold > 0 and (value < threshold if alarm.below else value > threshold)


@dataclass(frozen=True)
class Window:
    """The end of a window of iterations."""

    means: dict[str, float]
    """The mean of each alarm's values, by its name in the log."""
    begun: list[str]
    """A sentence for each alarm that begins with this window."""
    ended: list[str]
    """A sentence for each alarm that ends with this window."""
    blind: list[str]
    """A sentence for each alarm whose threshold was chosen and that has nothing to read; in the first window."""


class Monitor:
    """All alarms of one training. Its state is plain data, which a checkpoint holds."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.alarms = alarms_of(recipe)
        self.real = _Means()
        """Statistics of real images over the training so far, since those of one batch are noisy."""
        self.values = _Means()
        self.on: list[str] = []
        """Names of the alarms that have begun and are not over."""

    def add(self, done: int, figures: Figures) -> Window | None:
        """Take the figures of iteration number `done`, from 1. Return the window that it ends, if it ends one."""
        self.real.add({name: value for name, value in figures.items() if name.startswith(REAL)})
        figures = {**figures, **self.real.means()}
        found = {alarm.name: alarm.value(figures) for alarm in self.alarms}
        self.values.add({name: value for name, value in found.items() if value is not None})
        if done % self.recipe.alarm_window:
            return None
        means = self.values.means()
        self.values = _Means()
        blind = self._blind(means) if done == self.recipe.alarm_window else []
        return self._judged(done, means, blind) if means or blind else None

    def _blind(self, means: Mapping[str, float]) -> list[str]:
        """Return a sentence for each alarm without a value whose threshold is not the default of all recipes."""
        found = []
        for alarm in self.alarms:
            key, threshold = f"alarm_{alarm.name}", threshold_of(alarm, self.recipe)
            if alarm.name not in means and threshold != Recipe.model_fields[key].default:
                found.append(
                    f"alarm {alarm.name} has nothing to watch: the first {self.recipe.alarm_window} iterations "
                    f"logged none of the figures that it reads, so {key}={threshold:g} has no effect"
                )
        return found

    def _judged(self, done: int, means: Mapping[str, float], blind: list[str]) -> Window:
        window = Window({PREFIX + name: value for name, value in means.items()}, [], [], blind)
        for alarm in self.alarms:
            if alarm.name not in means:
                continue
            value, was_on = means[alarm.name], alarm.name in self.on
            of = f"{alarm.meaning.format(value=value)} (alarm_{alarm.name}={threshold_of(alarm, self.recipe):g})"
            when = f"in iterations {done - self.recipe.alarm_window + 1} to {done}"
            if is_reason(alarm, value, done, self.recipe) and not was_on:
                self.on.append(alarm.name)
                window.begun.append(f"alarm {alarm.name}: {of}, {when}")
            elif was_on and not is_reason(alarm, value, done, self.recipe):
                self.on.remove(alarm.name)
                window.ended.append(f"alarm {alarm.name} is over: {of}, {when}")
        return window

    def state(self) -> dict[str, Any]:
        """Return the state as data for a checkpoint."""
        return {"real": self.real.state(), "values": self.values.state(), "on": list(self.on)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint's state; an empty one is of a checkpoint without alarms."""
        if state:
            self.real, self.values = _Means(state["real"]), _Means(state["values"])
            self.on = list(state["on"])


class _Means:
    """Running means of figures, each over the iterations that have it."""

    def __init__(self, state: Mapping[str, tuple[float, int]] | None = None) -> None:
        self._sums = {name: (total, count) for name, (total, count) in (state or {}).items()}

    def add(self, figures: Figures) -> None:
        for name, value in figures.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value, count + 1

    def means(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self._sums.items()}

    def state(self) -> dict[str, tuple[float, int]]:
        return dict(self._sums)


def alarm_notes(lines: Iterable[Mapping[str, Any]], recipe: Recipe) -> list[AlarmNote]:
    """Return the alarms of a training from the lines of its log."""
    lines = list(lines)
    notes = []
    for alarm in alarms_of(recipe):
        key = PREFIX + alarm.name
        found = {int(line["iteration"]): float(line[key]) for line in lines if key in line}
        bad = {done: value for done, value in found.items() if is_reason(alarm, value, done, recipe)}
        if bad:
            worst, threshold = (min if alarm.below else max)(bad.values()), threshold_of(alarm, recipe)
            notes.append(
                AlarmNote(name=alarm.name, first=min(bad), last=max(bad), worst=worst, threshold=threshold)
            )
    return notes


def _statistic(figures: Figures, name: str) -> float | None:
    """Return a statistic of images or latents; `real/mean` is `real/pixel_mean` or `real/latent_mean`."""
    prefix, name = (REAL, name.removeprefix(REAL)) if name.startswith(REAL) else ("", name)
    return next((figures[key] for kind in KINDS if (key := f"{prefix}{kind}_{name}") in figures), None)


def _drift(figures: Figures, name: str) -> float | None:
    """Return the distance of a statistic from that of real images, in standard deviations of these."""
    made, real, scale = (_statistic(figures, key) for key in (name, REAL + name, REAL + "std"))
    return abs(made - real) / scale if made is not None and real is not None and scale else None


def _ratio(figures: Figures, name: str) -> float | None:
    """Return a statistic of generated images over that of real ones."""
    made, real = _statistic(figures, name), _statistic(figures, REAL + name)
    return made / real if made is not None and real else None
