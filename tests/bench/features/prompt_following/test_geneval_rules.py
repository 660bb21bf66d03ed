"""GenEval's rules, one by one, on detections made by hand."""

from collections.abc import Sequence

import pytest

from bench.data.text.geneval import GenEvalPrompt, Wanted
from bench.features.prompt_following.geneval_rules import MOST_OBJECTS, Detection, judge, kept_objects, relations

Box = tuple[float, float, float, float]
CENTRE: Box = (100, 100, 120, 120)


def seen(name: str, score: float = 0.95, box: Box = CENTRE) -> Detection:
    return Detection(name, score, box)


def prompt(task: str, *include: Wanted, exclude: tuple[Wanted, ...] = ()) -> GenEvalPrompt:
    return GenEvalPrompt("a photo", task, include, exclude)


def no_colours(_objects: Sequence[Detection]) -> Sequence[str]:
    raise AssertionError("no colour is asked for")


def test_a_single_object_is_correct_and_needs_no_reason() -> None:
    assert judge(prompt("single_object", Wanted("dog", 1)), [seen("dog"), seen("cat")], no_colours) == (True, "")


def test_a_missing_object_is_named_with_the_count() -> None:
    found = judge(prompt("two_object", Wanted("dog", 1), Wanted("cat", 1)), [seen("dog")], no_colours)
    assert found == (False, "expected cat>=1, found 0")


def test_all_that_is_wrong_is_said() -> None:
    found = judge(prompt("two_object", Wanted("dog", 1), Wanted("cat", 1)), [], no_colours)
    assert found.reason == "expected dog>=1, found 0\nexpected cat>=1, found 0"


@pytest.mark.parametrize(("score", "task", "counts"), [
    (0.3, "single_object", False),
    (0.31, "single_object", True),
    (0.9, "counting", False),
    (0.91, "counting", True),
])  # fmt: skip
def test_an_object_counts_above_the_threshold_of_its_task(score: float, task: str, counts: bool) -> None:
    assert judge(prompt(task, Wanted("dog", 1)), [seen("dog", score)], no_colours).correct is counts


@pytest.mark.parametrize(("dogs", "reason"), [
    (1, "expected dog>=2, found 1"),
    (2, ""),
    (3, "expected dog<3, found 3"),
])  # fmt: skip
def test_a_count_has_both_limits(dogs: int, reason: str) -> None:
    two = prompt("counting", Wanted("dog", 2), exclude=(Wanted("dog", 3),))
    assert judge(two, [seen("dog")] * dogs, no_colours) == (not reason, reason)


def test_the_sixteen_surest_objects_of_a_class_are_kept_and_overlap_removes_none() -> None:
    many = [seen("dog", 0.5 + number / 100) for number in range(20)]
    kept = kept_objects([*many, seen("cat")], "single_object")
    assert [one.score for one in kept["dog"]] == [one.score for one in reversed(many)][:MOST_OBJECTS]
    assert len(kept["cat"]) == 1


def test_colours_are_those_of_the_surest_objects() -> None:
    surest, other = seen("car", 0.9), seen("car", 0.8)
    red = prompt("colors", Wanted("car", 1, "red"))

    def colours(objects: Sequence[Detection]) -> Sequence[str]:
        return ["blue" if one is surest else "red" for one in objects]

    assert judge(red, [other, surest], colours) == (False, "expected red car>=1, found 0 red; and 1 blue")


def test_as_many_objects_as_asked_for_have_the_colour() -> None:
    two = prompt("colors", Wanted("car", 2, "red"))
    cars = [seen("car", 0.9), seen("car", 0.8)]
    assert judge(two, cars, lambda objects: ["red"] * len(objects)).correct
    mixed = judge(two, cars, lambda _objects: ["white", "red"])
    assert mixed.reason == "expected red car>=2, found 1 red; and 1 red, 1 white"


def test_two_objects_with_exchanged_colours_are_wrong_twice() -> None:
    both = prompt("color_attr", Wanted("dog", 1, "red"), Wanted("cat", 1, "blue"))
    found = judge(
        both, [seen("dog"), seen("cat")], lambda objects: ["blue" if objects[0].name == "dog" else "red"]
    )
    assert len(found.reason.splitlines()) == 2


@pytest.mark.parametrize(("box", "expected"), [
    ((0, 100, 20, 120), ("left of",)),
    ((200, 100, 220, 120), ("right of",)),
    ((100, 0, 120, 20), ("above",)),
    ((100, 200, 120, 220), ("below",)),
    ((0, 0, 20, 20), ("left of", "above")),
    ((101, 100, 121, 120), ()),  # nearer than a tenth of both widths
    ((104, 100, 124, 120), ()),  # exactly a tenth of both widths
    ((105, 100, 125, 120), ()),  # 1 of 5 pixels is beyond: not more than half of the offset
    ((109, 100, 129, 120), ("right of",)),  # 5 of 9
    (CENTRE, ()),
])  # fmt: skip
def test_a_relation_is_one_of_centres_beyond_a_tenth_of_the_sizes(box: Box, expected: tuple[str, ...]) -> None:
    assert relations(seen("cat", box=box), seen("dog", box=CENTRE)) == expected


def test_a_position_is_relative_to_an_earlier_object() -> None:
    left = prompt("position", Wanted("dog", 1), Wanted("cat", 1, position=("left of", 0)))
    dog = seen("dog", box=CENTRE)
    assert judge(left, [dog, seen("cat", box=(0, 100, 20, 120))], no_colours).correct
    right = judge(left, [dog, seen("cat", box=(200, 100, 220, 120))], no_colours)
    assert right.reason == "expected cat left of target, found right of target"
    alone = judge(left, [seen("cat")], no_colours)
    assert alone.reason == "expected dog>=1, found 0\nno target for cat to be left of"


def test_every_pair_of_objects_must_have_the_relation() -> None:
    left = prompt("position", Wanted("dog", 2), Wanted("cat", 1, position=("left of", 0)))
    dogs = [seen("dog", 0.9, (200, 100, 220, 120)), seen("dog", 0.8, (0, 100, 20, 120))]
    found = judge(left, [*dogs, seen("cat", box=CENTRE)], no_colours)
    assert found.reason == "expected cat left of target, found right of target"
