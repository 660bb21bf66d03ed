"""GenEval's published file of prompts: every line is read as it is, or refused by its number."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import UserError
from bench.data.text.geneval import Wanted, geneval_prompts, read_geneval
from bench.data.text.object_names import NAMES, detector_names

DOGS: dict[str, Any] = {
    "tag": "counting",
    "include": [{"class": "dog", "count": 2}],
    "exclude": [{"class": "dog", "count": 3}],
    "prompt": "a photo of two dogs",
}
BESIDE: dict[str, Any] = {
    "tag": "position",
    "include": [{"class": "tv", "count": 1}, {"class": "cat", "count": 1, "position": ["left of", 0]}],
    "prompt": "a photo of a cat left of a tv",
}
RED = {
    "tag": "colors",
    "include": [{"class": "car", "count": 1, "color": "red"}],
    "prompt": "a photo of a red car",
}


def written(path: Path, *lines: object) -> Path:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines))
    return path


def test_lines_are_read_in_their_order(tmp_path: Path) -> None:
    dogs, beside, red = read_geneval(written(tmp_path / "metadata.jsonl", DOGS, BESIDE, RED))
    assert (dogs.task, dogs.include, dogs.exclude) == ("counting", (Wanted("dog", 2),), (Wanted("dog", 3),))
    assert beside.include[1].position == ("left of", 0)
    assert red.include[0].colour == "red"


def test_the_list_of_prompts_keeps_a_prompt_that_comes_twice(tmp_path: Path) -> None:
    found = geneval_prompts(written(tmp_path / "metadata.jsonl", RED, RED))
    assert found.prompts == ("a photo of a red car",) * 2
    assert found.categories == ("colors", "colors"), "its tasks, by which scores are split"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"tag": "colours"}, "unknown task .* 'colors'"),
        ({"include": []}, "nothing is included"),
        ({"include": [{"class": "doggo", "count": 1}]}, "unknown class of objects 'doggo'; did you mean 'dog'"),
        ({"include": [{"class": "dog", "count": 0}]}, "count 0 of 'dog'"),
        ({"include": [{"class": "dog"}]}, "count is missing"),
        ({"include": [{"class": "dog", "count": 1, "color": "grey"}]}, "unknown color 'grey'"),
        ({"include": [{"class": "dog", "count": 1, "position": ["under", 0]}]}, "unknown relation 'under'"),
        ({"include": [{"class": "dog", "count": 1, "position": ["above", 0]}]}, "entry 0, which is not earlier"),
        ({"include": [{"class": "dog", "count": 1, "colour": "red"}]}, "colour is not a known key"),
        ({"exclude": [{"class": "dog", "count": 1, "color": "red"}]}, "would not be read"),
        ({"prompt": ""}, "is no text"),
    ],
)
def test_a_line_with_a_mistake_is_refused_by_its_number(change: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"line 2: .*{why}"):
        read_geneval(written(tmp_path / "metadata.jsonl", RED, DOGS | change))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "is not GenEval's metadata: metadata.jsonl: line 1 is not JSON"),
        ("[]", "begins as an array"),
        ("3", "line 1 is a number and not an object"),
        (json.dumps(RED).replace("{", '{"prompt": "a cat", ', 1), "line 1 has 'prompt' twice"),
        ("", "no prompts"),
    ],
)
def test_another_file_is_refused(line: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=why):
        read_geneval(written(tmp_path / "metadata.jsonl", line))


def test_windows_editors_change_nothing(tmp_path: Path) -> None:
    """They begin a file with a mark, and end lines by two characters."""
    path = written(tmp_path / "metadata.jsonl", RED, DOGS)
    whole = read_geneval(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_geneval(path) == whole


def test_one_prompt_cannot_ask_for_two_things(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 2 asks for other objects of the earlier prompt"):
        read_geneval(written(tmp_path / "metadata.jsonl", RED, DOGS | {"prompt": RED["prompt"]}))


def test_detectors_may_use_older_names_of_the_same_eighty_kinds() -> None:
    older = {"motorcycle": "motorbike", "tv": "tvmonitor", "computer mouse": "mouse"}
    labels = {number: older.get(name, name) for number, name in enumerate(NAMES)}
    assert list(detector_names(labels, "it").values()) == list(NAMES)


@pytest.mark.parametrize(
    "labels",
    [
        {0: "LABEL_0", 1: "LABEL_1"},
        dict(enumerate(NAMES[:-1])),
        dict(enumerate((*NAMES, "banner"))),
        dict(enumerate((*NAMES, "mouse"))),
    ],
)
def test_a_detector_of_other_kinds_is_an_error_and_not_a_score_of_zero(labels: dict[int, str]) -> None:
    with pytest.raises(UserError, match="does not detect COCO's 80 kinds"):
        detector_names(labels, "it")
