"""Which sample of a protocol each given image is: by number, by prompt, by class, or by its own name."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from bench.core.errors import UserError, counted, listed, nearest
from bench.data.given.rows import Row

MANIFEST_FIX = "fix: say it in a manifest: --manifest FILE.csv with the columns file and index"


@dataclass(frozen=True)
class Wanted:
    """The images that a protocol measures. An image's number is repetition * samples + index."""

    samples: int
    repetitions: int
    images_per_prompt: int
    prompts: Sequence[str]
    """The prompt of each sample of a repetition; empty without prompts."""
    labels: Callable[[], Sequence[int]]
    """Returns the class of each number, over all repetitions; empty where conditions are no classes."""
    class_names: Mapping[str, int]
    """The numbers of classes by name; empty where they have none."""

    @property
    def total(self) -> int:
        """The number of images in all repetitions."""
        return self.samples * self.repetitions

    def how_many(self) -> str:
        """Say how many images are needed."""
        if self.repetitions == 1:
            return f"{self.samples:,} images, numbered from 0 to {self.samples - 1}"
        return (
            f"{self.total:,} images ({self.samples:,} samples x {self.repetitions} repetitions, numbered from 0 "
            f"to {self.total - 1}; the first {self.samples:,} alone give a result of one repetition)"
        )

    @cached_property
    def of_prompt(self) -> Mapping[str, Sequence[int]]:
        """The numbers of the images of each prompt, without spaces around it, in order."""
        return self._numbered([prompt.strip() for prompt in self.prompts] * self.repetitions)

    @cached_property
    def of_class(self) -> Mapping[str, Sequence[int]]:
        """The numbers of the images of each class, by its number."""
        return self._numbered([str(label) for label in self.labels()])

    @staticmethod
    def _numbered(keys: Sequence[str]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for number, key in enumerate(keys):
            found[key].append(number)
        return dict(found)


def placed(names: Sequence[str], rows: Mapping[str, Row], wanted: Wanted) -> list[str]:
    """Return the names of images in order of their numbers: those of the first repetition, or of all.

    `rows` are the descriptions of images, if there are any; otherwise their names give their numbers. Raises
    UserError with counts and the first few names if images are missing, doubled, too many, or not understood.
    """
    numbers = _by_rows(rows, wanted) if rows else _by_names(names, wanted)
    repeated = {number for number, count in Counter(numbers.values()).items() if count > 1}
    if repeated:
        first = min(repeated)
        same = [name for name, number in numbers.items() if number == first]
        raise UserError(
            f"{counted(len(repeated), 'image')} given more than once: number {first} is {listed(same)}; "
            "fix: keep one file for each number"
        )
    count = wanted.samples if len(numbers) <= wanted.samples else wanted.total
    by_number = {number: name for name, number in numbers.items()}
    if beyond := [name for number, name in sorted(by_number.items()) if number >= count]:
        raise UserError(
            f"{counted(len(beyond), 'image')} of {len(numbers):,} given beyond the first {count:,}: "
            f"{listed(beyond)}; the protocol needs {wanted.how_many()}; fix: give exactly these"
        )
    if missing := [number for number in range(count) if number not in by_number]:
        raise UserError(
            f"{counted(len(missing), 'image')} missing, {len(numbers):,} given: there is none with the number "
            f"{listed(missing)}; the protocol needs {wanted.how_many()}; fix: give exactly these"
        )
    return [by_number[number] for number in range(count)]


def _by_rows(rows: Mapping[str, Row], wanted: Wanted) -> dict[str, int]:
    """Return the numbers of images by their descriptions, whatever their names."""
    seen = Counter[int]()  # by the first image of the prompt or class, which may be spelled in several ways
    found = {}
    for name, row in rows.items():
        if row.number is not None:
            _refuse_other(name, row.number, row, wanted)
            found[name] = row.number
            continue
        key, numbers = _of_key(name, row, wanted)
        place = seen[numbers[0]] if row.image is None else row.image
        seen[numbers[0]] += 1
        found[name] = _nth(numbers, place, name, key)
    return found


def _nth(numbers: Sequence[int], place: int, name: str, key: str) -> int:
    if place >= len(numbers):
        raise UserError(
            f"{name} is image {place} of {key!r}, of which the protocol has {counted(len(numbers), 'image')} in "
            "all repetitions, numbered from 0; fix: leave it out, or correct its prompt or class"
        )
    return numbers[place]


def _refuse_other(name: str, number: int, row: Row, wanted: Wanted) -> None:
    """Raise UserError if a row's prompt or class, where it gives one beside the number, is another image's."""
    said = row.prompt if wanted.prompts else row.label
    if said is None or number >= wanted.total:
        return
    if wanted.prompts:
        agrees = said == wanted.prompts[number % wanted.samples].strip()
    else:
        agrees = number in (_of_class(said, wanted) or ())
    if not agrees:
        raise UserError(
            f"{name} is given as number {number} and as of {said!r}, but number {number} is of another "
            f"{'prompt' if wanted.prompts else 'class'}; fix: correct one of them, or leave one out"
        )


def _of_key(name: str, row: Row, wanted: Wanted) -> tuple[str, Sequence[int]]:
    """Return a row's prompt or class, whichever the protocol has, and the numbers of all its images.

    Raises UserError if the protocol has none.
    """
    if row.prompt is not None and (wanted.prompts or row.label is None):
        if row.prompt not in wanted.of_prompt:
            close = nearest(row.prompt, wanted.of_prompt, 1)
            raise UserError(
                f"{name}: the protocol has no prompt {row.prompt!r}"
                f"{f'; the nearest is {close[0]!r}' if close else ''}; fix: correct it, or give the index instead"
            )
        return row.prompt, wanted.of_prompt[row.prompt]
    label = str(row.label)
    numbers = _of_class(label, wanted)
    if numbers is None:
        raise UserError(f"{name}: the protocol has no class {label!r}; fix: {_classes(wanted)}")
    return label, numbers


def _of_class(label: str, wanted: Wanted) -> Sequence[int] | None:
    named = {key(text): number for text, number in wanted.class_names.items()}
    number = named.get(key(label), int(label) if label.isascii() and label.isdigit() else None)
    return None if number is None else wanted.of_class.get(str(number))


def _classes(wanted: Wanted) -> str:
    if not wanted.of_class:
        return "give the prompt or the index: the images of this task are of no classes"
    names = f", or their names: {listed(wanted.class_names)}" if wanted.class_names else ""
    return f"classes are numbers from 0 to {max(map(int, wanted.of_class))}{names}"


def _by_names(names: Sequence[str], wanted: Wanted) -> dict[str, int]:
    """Return the numbers of images by their own names, by the first rule that fits all of them."""
    paths = [PurePosixPath(name) for name in names]
    stems = [path.stem for path in paths]
    are_numbers = all(map(_is_number, stems))
    repeated = len(set(stems)) < len(stems)
    if wanted.prompts and are_numbers and repeated and len({path.parent for path in paths}) > 1:
        return _by_prompt_folders(paths, wanted)
    if not wanted.prompts and (repeated or not are_numbers):
        return _by_class_folders(paths, wanted)
    if are_numbers:
        return {name: int(stem) for name, stem in zip(names, stems, strict=True)}
    return _by_prompt_names(paths, wanted)


def _by_prompt_folders(paths: Sequence[PurePosixPath], wanted: Wanted) -> dict[str, int]:
    """Place PROMPT/NUMBER.png and GenEval's PROMPT/samples/NUMBER.png, where PROMPT is the prompt's number."""
    each = wanted.images_per_prompt
    found = {}
    counts = Counter(int(path.stem) for path in paths)
    for path in sorted(paths, key=lambda path: counts[int(path.stem)] == 1):  # the repeated ones are named first
        prompt, image = path.parts[0], int(path.stem)
        if len(path.parts) < 2 or not prompt.isdecimal() or int(prompt) * each >= wanted.samples:
            raise UserError(
                f"{path}: {counted(counts[image], 'image')} of the number {image}, and its folder is no number "
                f"of a prompt (0 to {(wanted.samples - 1) // each}); {MANIFEST_FIX}"
            )
        numbers = [
            repetition * wanted.samples + int(prompt) * each + which
            for repetition in range(wanted.repetitions)
            for which in range(each)
        ]
        found[str(path)] = _nth(numbers, image, str(path), f"prompt {prompt}")
    return found


def _by_class_folders(paths: Sequence[PurePosixPath], wanted: Wanted) -> dict[str, int]:
    """Place CLASS/NAME.png, where CLASS is a class's name or number, in the order of the images."""
    seen = Counter[int]()
    found = {}
    of_class = {path: _of_class(path.parent.name, wanted) if path.parent.name else None for path in paths}
    if odd := [path for path, numbers in of_class.items() if numbers is None]:
        raise _without_class(odd, paths, wanted)
    for path, numbers in of_class.items():
        assert numbers is not None
        found[str(path)] = _nth(numbers, seen[numbers[0]], str(path), f"class {path.parent.name}")
        seen[numbers[0]] += 1
    return found


def _without_class(odd: Sequence[PurePosixPath], paths: Sequence[PurePosixPath], wanted: Wanted) -> UserError:
    """Build the error for images that are in no folder of a class, which names those that are to be mended."""
    counts = Counter(path.stem for path in paths)
    if named := [path for path in odd if not _is_number(path.stem)]:
        what = "say by their names neither their number, as 000123.png does, nor"
    elif named := [path for path in odd if counts[path.stem] > 1]:
        what = "have a number that another image has, too, and do not say"
    else:
        named, what = list(odd), "have numbers as names where others have not, and do not say"
    return UserError(
        f"{len(named):,} of {len(paths):,} images {what} their class, as the folder in 3/a.png does: "
        f"{listed(named)} ({_classes(wanted)}); {MANIFEST_FIX}"
    )


def _by_prompt_names(paths: Sequence[PurePosixPath], wanted: Wanted) -> dict[str, int]:
    """Place PROMPT.png, and PROMPT_0.png, PROMPT_1.png, ... where a prompt has several images.

    Capitals and all characters but letters and digits do not count, since names of files cannot have them all.
    """
    by_key: dict[str, str] = {}
    for prompt in wanted.of_prompt:
        if key(prompt) in by_key:
            raise UserError(
                f"names of files cannot tell the prompts {by_key[key(prompt)]!r} and {prompt!r} apart; "
                f"{MANIFEST_FIX}"
            )
        by_key[key(prompt)] = prompt
    found: dict[str, int] = {}
    odd: dict[str, list[PurePosixPath]] = {}
    for path in paths:
        whole, (stem, number) = key(path.stem), _last_number(path.stem)
        fits = [(by_key[one], place) for one, place in ((whole, 0), (key(stem), number)) if one in by_key]
        if len(fits) != 1:
            what = "fit more than one image" if fits else "are neither a number nor a prompt"
            odd.setdefault("are numbers" if _is_number(path.stem) and not fits else what, []).append(path)
            continue
        prompt, place = fits[0]
        found[str(path)] = _nth(wanted.of_prompt[prompt], place, str(path), prompt)
    numbers = odd.pop("are numbers", [])
    for what, named in odd.items():
        raise UserError(
            f"{len(named):,} of {len(paths):,} images have names that {what}: {listed(named)}; {MANIFEST_FIX}"
        )
    if numbers:
        raise UserError(
            f"{len(numbers):,} of {len(paths):,} images have numbers as names, and the others prompts: "
            f"{listed(numbers)}; {MANIFEST_FIX}"
        )
    return found


def _is_number(stem: str) -> bool:
    return stem.isascii() and stem.isdigit()


def _last_number(stem: str) -> tuple[str, int]:
    found = re.fullmatch(r"(.*[^\d])(\d+)", stem)
    return (found[1], int(found[2])) if found else ("", 0)


def key(text: str) -> str:
    """Return a text's letters and digits, in lower case, with one underscore between words."""
    return re.sub(r"[\W_]+", "_", text.casefold()).strip("_")
