"""Alarms: each fires on its sign alone, once, and is the same after a kill, in several processes, and off."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from processes import in_processes
from torch import Tensor

from bench.core.progress import SilentProgress
from bench.core.run_folder import METRICS
from bench.runs.plan import Run
from bench.runs.record import Record
from bench.runs.registry import Catalogue
from bench.runs.runner import Runner
from bench.task.base import PreparedTask
from bench.training.alarms import ALARMS, REAL, AlarmNote, Monitor, alarm_notes, alarms_of
from bench.training.checkpoint import checkpoints
from bench.training.distiller import TrainingContext
from bench.training.figures import diversity
from bench.training.log import read_lines
from bench.training.recipe import ALARM_KEYS, Recipe
from methods.dmd import DMD
from methods.recipes import DMDRecipe

REAL_IMAGES = {"real/pixel_mean": 0.3, "real/pixel_std": 0.4, "real/pixel_diversity": 0.2, "real/pixel_cast": 0.02}
GOOD = REAL_IMAGES | {
    "pixel_mean": 0.32,
    "pixel_std": 0.38,
    "pixel_diversity": 0.15,
    "pixel_cast": 0.03,
    "logits/real": 1.0,
    "logits/fake": -1.0,
    "loss/denoising": 0.4,
}
"""The figures of a healthy iteration."""
BAD = {
    "brightness": {"pixel_mean": 0.5},
    "colour": {"pixel_cast": 0.14},
    "saturation": {"pixel_std": 0.5},
    "collapse": {"pixel_diversity": 0.05},
    "discriminator": {"logits/real": 6.0, "logits/fake": -6.0},
    "critic": {"loss/denoising": 0.9},
}
"""The figures that give each alarm."""
WORST = {
    "brightness": 0.5,
    "colour": 0.3,
    "saturation": 1.25,
    "collapse": 0.25,
    "discriminator": 12,
    "critic": 0.9,
}
WINDOW = 5


def watched(monitor: Monitor, figures: Sequence[dict[str, float]], start: int = 0) -> list[tuple[int, str]]:
    """Give iterations to a monitor; return the iterations at which it said something, and what."""
    found = []
    for done, one in enumerate(figures, start=start + 1):
        if window := monitor.add(done, one):
            found += [(done, sentence) for sentence in (*window.blind, *window.begun, *window.ended)]
    return found


def test_every_alarm_has_a_threshold_in_the_recipe_and_a_case_here() -> None:
    names = {alarm.name for alarm in ALARMS}
    assert {f"alarm_{name}" for name in names} | {"alarms", "alarm_window"} == ALARM_KEYS
    assert names == BAD.keys()


@pytest.mark.parametrize("name", BAD)
def test_an_alarm_begins_with_a_bad_window_and_ends_with_a_good_one(name: str) -> None:
    recipe = Recipe(iterations=50, alarm_window=WINDOW)
    threshold = getattr(recipe, f"alarm_{name}")
    figures = [GOOD] * 10 + [GOOD | BAD[name]] * 10 + [GOOD] * 5
    begun, ended = watched(Monitor(recipe), figures)
    assert begun[0] == 15 and begun[1].startswith(f"alarm {name}: ")
    assert begun[1].endswith(f"(alarm_{name}={threshold:g}), in iterations 11 to 15")
    assert f" {WORST[name]:.3g}" in begun[1]
    assert ended[0] == 25 and ended[1].startswith(f"alarm {name} is over: ")


def test_one_bad_iteration_in_a_window_is_not_enough() -> None:
    for bad in BAD.values():
        assert not watched(
            Monitor(Recipe(iterations=50, alarm_window=20)), [GOOD] * 20 + [GOOD | bad] + [GOOD] * 19
        )


def test_brightness_that_swings_is_a_drift_though_its_mean_is_right() -> None:
    swings = [GOOD | {"pixel_mean": 0.3 + 0.2 * (-1) ** i} for i in range(10)]
    assert [done for done, _ in watched(Monitor(Recipe(iterations=50, alarm_window=WINDOW)), swings)] == [10]


def test_the_first_window_is_not_judged() -> None:
    """In it the student leaves its start."""
    for bad in BAD.values():
        figures = [GOOD | bad] * WINDOW + [GOOD] * WINDOW
        assert not watched(Monitor(Recipe(iterations=20, alarm_window=WINDOW)), figures)


def test_a_student_has_a_tenth_of_its_training_to_make_images_that_differ() -> None:
    """A one-step student starts with blurred images; a collapse later is one."""
    alike = [GOOD | BAD["collapse"]] * 100
    assert not watched(Monitor(Recipe(iterations=1000, alarm_window=WINDOW)), alike)
    ((done, _),) = watched(Monitor(Recipe(iterations=1000, alarm_window=WINDOW)), alike + alike)
    assert done == 105
    notes = alarm_notes([{"iteration": 100, "alarm/collapse": 0.3}], Recipe(iterations=1000))
    assert not notes and alarm_notes([{"iteration": 200, "alarm/collapse": 0.3}], Recipe(iterations=1000))


@pytest.mark.parametrize("name", BAD)
def test_a_chosen_threshold_of_an_alarm_that_can_see_nothing_is_named_once(name: str) -> None:
    """A method without a critic has no critic's loss, and grey images have no colour cast."""
    seen = {"loss/other": 1.0}
    chosen = Recipe.model_validate({"iterations": 50, "alarm_window": WINDOW, f"alarm_{name}": 0.5})
    ((done, sentence),) = watched(Monitor(chosen), [seen] * 20)
    assert done == WINDOW and sentence == (
        f"alarm {name} has nothing to watch: the first 5 iterations logged none of the figures that it reads, so "
        f"alarm_{name}=0.5 has no effect"
    )
    assert not [said for _, said in watched(Monitor(chosen), [GOOD] * 20) if "nothing to watch" in said]
    assert not watched(Monitor(Recipe(iterations=50, alarm_window=WINDOW)), [seen] * 20), (
        "nobody chose a threshold"
    )
    off = Recipe.model_validate({"iterations": 50, "alarm_window": WINDOW, f"alarm_{name}": 0.0})
    assert not watched(Monitor(off), [seen] * 20)


def test_latents_are_compared_with_latents() -> None:
    latents = {name.replace("pixel", "latent"): value for name, value in (GOOD | BAD["saturation"]).items()}
    ((_, sentence),) = watched(Monitor(Recipe(iterations=50, alarm_window=WINDOW)), [latents] * 10)
    assert sentence.startswith("alarm saturation")


def test_a_figure_of_some_iterations_counts_where_it_is() -> None:
    rare = [GOOD if i % 3 else {**GOOD, **BAD["critic"]} for i in range(10)]
    without = [
        {name: value for name, value in one.items() if name != "loss/denoising" or value > 0.5} for one in rare
    ]
    assert not watched(Monitor(Recipe(iterations=50, alarm_window=WINDOW)), rare)
    assert len(watched(Monitor(Recipe(iterations=50, alarm_window=WINDOW)), without)) == 1
    assert not watched(Monitor(Recipe(iterations=50, alarm_window=WINDOW)), [{"loss/a": 1.0}] * 10)


def test_a_threshold_of_0_turns_one_alarm_off_and_off_turns_all_off() -> None:
    bad = [{**GOOD, **BAD["critic"], **BAD["collapse"]}] * 10
    one = watched(Monitor(Recipe(iterations=50, alarm_window=WINDOW, alarm_collapse=0)), bad)
    assert [sentence.partition(":")[0] for _, sentence in one] == ["alarm critic"]
    off = Recipe(alarms="off")
    assert not alarms_of(off) and off.idle().keys() >= ALARM_KEYS - {"alarms"}
    assert not Recipe().idle().keys() & ALARM_KEYS


def test_a_monitor_continues_from_its_state_in_the_middle_of_a_window() -> None:
    recipe = Recipe(iterations=50, alarm_window=WINDOW)
    figures = [GOOD] * 6 + [GOOD | BAD["critic"] | BAD["brightness"]] * 12 + [GOOD] * 12
    whole = watched(Monitor(recipe), figures)
    assert len(whole) == 4
    for cut in range(1, len(figures)):
        first, second = Monitor(recipe), Monitor(recipe)
        before = watched(first, figures[:cut])
        second.load(json.loads(json.dumps(first.state())))
        assert before + watched(second, figures[cut:], cut) == whole


def test_notes_have_the_first_the_last_and_the_worst_window() -> None:
    values = {200: 0.6, 300: 0.3, 400: 0.7, 500: 0.2, 600: 0.3, 700: 0.9}
    lines = [{"iteration": done, "loss/a": 1.0, "alarm/collapse": value} for done, value in values.items()]
    note = AlarmNote(name="collapse", first=300, last=600, worst=0.2, threshold=0.4)
    assert alarm_notes([{"iteration": 150, "loss/a": 1.0}, *lines], Recipe(iterations=1000)) == [note]
    assert alarm_notes(lines, Recipe(iterations=1000, alarm_collapse=0.1)) == []
    assert alarm_notes(lines, Recipe(iterations=1000, alarms="off")) == []


def test_diversity_is_the_distance_to_the_nearest_image_of_the_batch() -> None:
    a, b, c = (torch.full((1, 2, 2), value) for value in (0.0, 0.3, 1.0))
    assert diversity(torch.stack([a, b, c])).item() == pytest.approx((0.3 + 0.3 + 0.7) / 3)
    assert diversity(torch.stack([a, a, c, c])).item() == 0  # one image for each class
    many = torch.rand(80, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(diversity(many), diversity(many[:64]))


def test_a_yellow_cast_is_seen_though_the_brightness_is_that_of_real_images(tiny: PreparedTask) -> None:
    distiller = DMD(
        DMDRecipe(),
        TrainingContext(Accelerator(cpu=True), copy.deepcopy(tiny.teacher), None, lambda _: pytest.fail()),
    )
    grey = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0)) - 0.5
    yellow = grey + torch.tensor([0.2, 0.2, -0.4]).reshape(3, 1, 1)
    figures = {name: value.item() for name, value in distiller.statistics(yellow).items()}
    figures |= {REAL + name: value.item() for name, value in distiller.statistics(grey).items()}
    values = {alarm.name: alarm.value(figures) for alarm in ALARMS}
    assert values["brightness"] == pytest.approx(0, abs=1e-5)
    assert values["colour"] is not None and values["colour"] > Recipe().alarm_colour
    assert "pixel_cast" not in distiller.statistics(grey[:, :1]) and len(distiller.statistics(grey[:1, :1])) == 2


QUICK = {"iterations": 20, "alarm_window": 4, "alarm_brightness": 1e-6, "ema_decay": 0.9}
"""A recipe of a short training with an alarm for brightness, since no two batches have the same."""


def alarmed(record: Record) -> list[str]:
    return [note.name for note in record.alarms]


def test_a_run_logs_an_alarm_says_it_once_and_has_it_in_its_record(
    plan: Callable[..., Run], catalogue: Catalogue, tiny: PreparedTask
) -> None:
    said: list[str] = []

    class Heard(SilentProgress):
        def note(self, text: str) -> None:
            said.append(text)

    run = plan(**QUICK)
    record = Runner(catalogue, tiny, Heard()).run(run)
    (note,) = [note for note in record.alarms if note.name == "brightness"]
    assert (note.first, note.last, note.threshold) == (8, 20, 1e-6)
    assert len([text for text in said if text.startswith("alarm brightness")]) == 1
    lines = [line for line in read_lines(run.folder / METRICS) if "alarm/brightness" in line]
    assert [line["iteration"] for line in lines] == [4, 8, 12, 16, 20], "the first is logged, but not judged"
    assert note.worst == max(line["alarm/brightness"] for line in lines[1:])
    assert all("real/pixel_mean" in line for line in lines)


def test_alarms_do_not_change_a_bit_of_the_training(plan: Callable[..., Run], runner: Runner) -> None:
    on, off = plan("dmd2", **QUICK), plan("dmd2", **{**QUICK, "alarms": "off"})
    assert on.id == off.id, "both are the same run"
    first = runner.run(on)
    (runs := on.folder.rename(on.folder.with_name("first"))).joinpath("record.json").unlink()
    second = runner.run(off)
    assert alarmed(first) and not alarmed(second)
    assert first.checkpoint == second.checkpoint and first.metrics == second.metrics
    plain = [line for line in read_lines(off.folder / METRICS) if "loss/denoising" in line]
    noted = {line["iteration"]: line for line in read_lines(runs / METRICS) if "loss/denoising" in line}
    assert not any(name.startswith(("alarm/", "real/")) for line in plain for name in line)
    assert all(line.items() <= noted[line["iteration"]].items() for line in plain)


def test_an_alarm_ends_a_run_if_its_recipe_says_so(plan: Callable[..., Run], runner: Runner) -> None:
    run = plan(**QUICK, alarms="stop")
    record = runner.run(run)
    assert record.error is not None and record.error.type == "DivergedError"
    assert record.error.message.startswith("alarm brightness: the mean of the generated images is ")
    assert "brightness" in alarmed(record) and record.cost.iterations == 8
    assert runner.run(run) == record, "it would stop again"


def test_a_training_that_was_stopped_has_the_same_alarms(
    plan: Callable[..., Run], runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole, broken = (plan(root=tmp_path / name, **QUICK) for name in ("whole", "broken"))
    expected = runner.run(whole)
    step = DMD.training_step

    def fails(self: DMD, batch: object) -> dict[str, Tensor]:
        if batch.iteration == 11:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return step(self, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(DMD, "training_step", fails)
        runner.run(broken)
    for old in checkpoints(broken.folder / "checkpoints")[-1:]:
        old.unlink()  # so that training goes on from the middle of a window
    assert runner.run(broken).alarms == expected.alarms
    assert read_lines(broken.folder / METRICS) == read_lines(whole.folder / METRICS)


def test_a_checkpoint_from_before_there_were_alarms_is_read(plan: Callable[..., Run], runner: Runner) -> None:
    run = plan(**QUICK)
    expected = runner.run(run)
    run.record.unlink()
    (run.folder / "training.json").unlink()
    for path in checkpoints(run.folder / "checkpoints"):
        content = torch.load(path, weights_only=True)
        assert content.pop("alarms")["on"]
        torch.save(content, path)
    assert runner.run(run).metrics == expected.metrics


@pytest.mark.own_process
def test_two_processes_stop_together(plan: Callable[..., Run], catalogue: Catalogue, tiny: PreparedTask) -> None:
    run = plan(**QUICK, batch_size=12, alarms="stop")

    def work() -> None:
        record = Runner(catalogue, tiny, SilentProgress()).run(run)
        assert record.error is not None and record.error.type == "DivergedError", record.error
        assert "brightness" in alarmed(record)

    in_processes(2, work)
