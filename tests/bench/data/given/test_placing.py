"""Each image is found its sample by number, prompt or class; what is missing, doubled or unknown is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from given_forms import write_folder

from bench.core.errors import UserError
from bench.data.given.files import open_given
from bench.data.given.placing import Wanted, placed
from bench.data.given.rows import rows_of

CLASSES = Wanted(4, 2, 1, (), lambda: [0, 1, 0, 1] * 2, {"Cat": 0, "T-shirt/top": 1})
"""Two classes with names, four samples, two repetitions."""
PROMPTS = Wanted(4, 2, 2, ("a red bird",) * 2 + ("two dogs, in the snow",) * 2, list, {})
"""Two prompts with two images each."""


def names(pattern: str, count: int) -> list[str]:
    return [pattern.format(number) for number in range(count)]


@pytest.mark.parametrize("count", [4, 8])
def test_numbers_count_over_the_repetitions(count: int) -> None:
    given = names("{:06d}.png", count)
    assert placed(given[::-1], {}, CLASSES) == placed(given, {}, PROMPTS) == given
    nested = [f"{number // 4:03d}/{number}.png" for number in range(count)]  # the seeds' folders of EDM's script
    assert placed(nested, {}, CLASSES) == nested


def test_class_folders_are_taken_by_name_or_number() -> None:
    expected = ["cat/a.png", "t-shirt_top/a.png", "cat/b.png", "t-shirt_top/b.png"]
    assert placed(sorted(expected), {}, CLASSES) == expected
    numbered = ["0/0.png", "1/0.png", "0/1.png", "1/1.png"]
    assert placed(sorted(numbered), {}, CLASSES) == numbered


def test_genevals_folders_are_prompts_with_their_images() -> None:
    first = [f"{prompt:05d}/samples/{image:04d}.png" for prompt in range(2) for image in range(2)]
    assert placed(first, {}, PROMPTS) == first
    second = [f"{prompt:05d}/samples/{image:04d}.png" for prompt in range(2) for image in (2, 3)]
    assert placed(sorted(first + second), {}, PROMPTS) == first + second


def test_names_that_are_prompts_need_not_have_its_capitals_and_signs() -> None:
    given = ["a red bird_0.png", "a red bird_1.png", "Two_dogs_in_the_snow_0.png", "Two_dogs_in_the_snow_1.png"]
    assert placed(given, {}, PROMPTS) == given
    single = Wanted(2, 1, 1, ("cat 1", "cat"), list, {})
    assert placed(["cat.png", "cat 1.png"][:1], {}, Wanted(1, 1, 1, ("cat",), list, {})) == ["cat.png"]
    with pytest.raises(
        UserError, match=r"1 of 2 images have names that fit more than one image: cat 1\.png; fix: say it"
    ):
        placed(["cat.png", "cat 1.png"], {}, single)
    with pytest.raises(UserError, match=r"cannot tell the prompts 'a dog' and 'A dog!' apart; fix: .*manifest"):
        placed(["a dog.png"], {}, Wanted(2, 1, 1, ("a dog", "A dog!"), list, {}))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            names("{:06d}.png", 3),
            r"1 image missing, 3 given: there is none with the number 3; the protocol needs 8",
        ),
        (names("{:06d}.png", 6), r"2 images missing, 6 given: there is none with the number 6, 7; .* fix: "),
        ([*names("{}.png", 4), "00001.png"], r"1 image given more than once: number 1 is 1\.png, 00001\.png"),
        ([*names("{}.png", 3), "7.png"], r"1 image of 4 given beyond the first 4: 7\.png"),
        ([*names("{}.png", 3), "last.png"], r"1 of 4 images have names that are neither .* prompt: last\.png;"),
        (["0.png", "a red bird.png"], r"1 of 2 images have numbers as names, and the others prompts: 0\.png; fix"),
        (
            ["²/samples/0.png", *names("1/samples/{}.png", 2)],
            r"²/samples/0\.png: .* its folder is no number of a prompt",
        ),
        ([*names("{}.png", 4), "1.PNG"], r"1 image given more than once: number 1 is 1\.png, 1\.PNG; fix"),
    ],
    ids=[
        "one missing",
        "part of a repetition",
        "doubled",
        "beyond",
        "no number",
        "number and prompt",
        "folder",
        "by case",
    ],
)
def test_what_is_missing_doubled_or_unknown_is_named(given: Sequence[str], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        placed(given, {}, PROMPTS)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["cat/a.png", "dog/a.png"], r"1 of 2 images say by their names neither .* does: dog/a\.png \("),
        ([*names("{}.png", 3), "last.png"], r"1 of 4 images say by their names neither .* does: last\.png \("),
        (
            [*names("x/{}.png", 2), *names("y/{}.png", 2)],
            r"4 of 4 images have a number that another .* x/0\.png",
        ),
        (["cat/a.png", "1.png"], r"1 of 2 images have numbers as names where others have not, .* does: 1\.png \("),
    ],
    ids=["no class", "one name among numbers", "numbers in two folders", "numbers and classes"],
)
def test_only_images_without_class_or_number_are_named_with_the_classes(given: list[str], problem: str) -> None:
    with pytest.raises(UserError, match=problem + r"?.*classes are numbers from 0 to 1, or their names: Cat"):
        placed(given, {}, CLASSES)


IMAGES = np.zeros((4, 3, 4, 4), np.uint8)
NAMES = ["w.png", "x.png", "y.png", "z.png"]


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("m.csv", "file,index\nw.png,3\nx.png,2\ny.png,1\nz.png,0\n", CLASSES),
        ("m.csv", "file,class\nz.png,cat\ny.png,1\nx.png,0\nw.png,T-shirt/top\n", CLASSES),
        ("m.csv", 'file,prompt\nz.png,a red bird\ny.png,a red bird\nx.png,"two dogs, in the snow"\n'
         'w.png,"two dogs, in the snow"\n', PROMPTS),
        ("m.jsonl", '{"file": "w.png", "prompt": "two dogs, in the snow", "image": 1}\n'
         '{"file": "x.png", "prompt": "two dogs, in the snow", "image": 0}\n\n'
         '{"file": "y.png", "prompt": "a red bird", "image": 1}\n'
         '{"file_name": "./z.png", "caption": "a red bird", "image": 0}\n', PROMPTS),
        ("m.csv", "file,index,class\nw.png,3,1\nx.png,2,cat\ny.png,1,1\nz.png,0,0\n", CLASSES),
        ("m.jsonl", "".join(f'{{"file": "{name}.png", "index": {number}, "text": "\u2028"}}\n'
         for number, name in enumerate("zyxw")), CLASSES),
    ],
    ids=["index", "class", "prompt", "prompt and image", "index and class", "line separator in a text"],
)  # fmt: skip
def test_a_manifest_says_what_each_file_is(name: str, content: str, wanted: Wanted, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", IMAGES, NAMES)
    (folder / name).write_text(content)  # it may lie among the images
    files = open_given(folder, folder / name)
    assert placed(list(files.images), rows_of(files, folder / name), wanted) == NAMES[::-1]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("file,index\nw.png,0\nx.png,1\ny.png,2\n", r"1 image in .*mine but not in .*m\.csv: z\.png"),
        (
            "file,index\nw.png,0\nx.png,1\ny.png,2\nz.png,3\nv.png,4\n",
            r"1 image in .*m\.csv but not in .*: v\.png",
        ),
        ("file,index\nw.png,0\nw.png,1\n", r"line 3 repeats w\.png"),
        ("file,index\nw.png,-1\n", r"line 2 has the index \"-1\"; fix: give a whole number"),
        ("file,indx\nw.png,0\n", r"line 2 has no index, number, prompt"),
        ("name,index\nw.png,0\n", r"has the columns name, index; fix: give it file, and index"),
        (
            "file,class\nw.png,2\nx.png,0\ny.png,0\nz.png,0\n",
            r"w\.png: the protocol has no class '2'; fix: classes",
        ),
        ("file,prompt\nw.png,a cat\nx.png,b\ny.png,b\nz.png,b\n", r"w\.png: the protocol has no prompt 'a cat'"),
        (
            "file,class,image\nw.png,0,9\nx.png,0,0\ny.png,1,0\nz.png,1,1\n",
            r"w\.png is image 9 of '0', of which .* 4",
        ),
        (
            "file,index,class\nw.png,0,1\nx.png,1,1\ny.png,2,0\nz.png,3,1\n",
            r"w\.png is given as number 0 and as of '1', but number 0 is of another class",
        ),
        ("file,index,index\nw.png,0,3\n", r"m\.csv has two columns 'index'; fix:"),
        (
            "file,prompt\nw.png,two dogs, in the snow\n",
            r"line 2 has more fields than the header, which has 2; fix:",
        ),
        ('file,prompt\nw.png,"a dog\n', r"is not CSV: .*; fix: close its quotes"),
    ],
)
def test_a_manifest_that_does_not_fit_is_a_sentence(content: str, problem: str, tmp_path: Path) -> None:
    files = open_given(write_folder(tmp_path / "mine", IMAGES, NAMES))
    manifest = tmp_path / "m.csv"
    manifest.write_text(content)
    with pytest.raises(UserError, match=problem):
        placed(list(files.images), rows_of(files, manifest), CLASSES)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[\n {"file": "w.png", "index": 0}\n]', r"m\.json begins as an array, and not as JSON lines; fix: write"),
        ('{\n "file": "w.png"\n}', r"m\.json: line 1 is not JSON .*; fix: write one JSON object on each line"),
        ('"w.png"\n', r"m\.json: line 1 is a text and not an object; fix: write one JSON object on each line"),
    ],
)
def test_a_manifest_of_json_has_an_object_on_each_line(content: str, problem: str, tmp_path: Path) -> None:
    files = open_given(write_folder(tmp_path / "mine", IMAGES, NAMES))
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(UserError, match=problem):
        rows_of(files, tmp_path / "m.json")


def test_a_text_beside_an_image_is_an_object(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", IMAGES, NAMES)
    for name in NAMES:
        (folder / name).with_suffix(".json").write_text("[0]")
    with pytest.raises(UserError, match=r"\.json is an array and not an object; fix: give it file, and index"):
        rows_of(open_given(folder), None)


def test_a_prompt_beside_a_number_has_to_be_that_of_the_number(tmp_path: Path) -> None:
    """Else alignment would be measured with another prompt than the one that the image was made for."""
    files = open_given(write_folder(tmp_path / "mine", IMAGES, NAMES))
    manifest = tmp_path / "m.csv"
    lines = [f'{name},{number},"{PROMPTS.prompts[number]}"' for number, name in enumerate(NAMES)]
    manifest.write_text("\n".join(["file,index,prompt", *lines]))
    assert placed(list(files.images), rows_of(files, manifest), PROMPTS) == NAMES
    manifest.write_text("\n".join(["file,index,prompt", *lines[:3], "z.png,3,a red bird"]))
    with pytest.raises(
        UserError, match=r"z\.png .* as number 3 and as of 'a red bird', but .* another prompt; fix:"
    ):
        placed(list(files.images), rows_of(files, manifest), PROMPTS)


def test_texts_beside_images_say_what_they_are(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", IMAGES, NAMES)
    for name, prompt in zip("wxyz", PROMPTS.prompts[::-1], strict=True):
        (folder / f"{name}.txt").write_text(f"{prompt}\n")
    files = open_given(folder)
    assert placed(list(files.images), rows_of(files, None), PROMPTS) == ["y.png", "z.png", "w.png", "x.png"]
    for name, label in zip("wxyz", (1, 1, 0, 0), strict=True):
        (folder / f"{name}.txt").unlink()
        (folder / f"{name}.cls").write_text(str(label))
    files = open_given(folder)
    assert placed(list(files.images), rows_of(files, None), CLASSES) == ["y.png", "w.png", "z.png", "x.png"]
    for name, prompt in zip("wxyz", PROMPTS.prompts[::-1], strict=True):  # as webdatasets of both have them
        (folder / f"{name}.txt").write_text(prompt)
        (folder / f"{name}.json").write_text('{"width": 4}')
    files = open_given(folder)
    assert placed(list(files.images), rows_of(files, None), PROMPTS) == ["y.png", "z.png", "w.png", "x.png"]
    assert placed(list(files.images), rows_of(files, None), CLASSES) == ["y.png", "w.png", "z.png", "x.png"]
    (folder / "w.json").write_text('{"caption": "a cat"}')
    with pytest.raises(
        UserError, match=r"w\.json and w\.txt: they say the prompt 'a cat' and 'two dogs, .*; fix:"
    ):
        rows_of(open_given(folder), None)
    for name in "wxyz":
        (folder / f"{name}.json").unlink()
        (folder / f"{name}.txt").unlink()
    (folder / "w.cls").unlink()
    with pytest.raises(UserError, match=r"3 images of 4 have a text beside them, and others have none: w\.png"):
        rows_of(open_given(folder), None)
