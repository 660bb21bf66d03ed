"""Scenes: two coloured items of Fashion-MNIST side by side, and a caption whose truth can be checked exactly.

A scene is 16x16 RGB: an item of 8x8 pixels in each half, at any height. Its colour varies about the one that
the caption names; which item of its kind it is, its height and its shade, no caption says. Importing this
module costs nothing: numpy is imported only by the functions that need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.core.errors import UserError, unknown
from bench.core.progress import Progress
from bench.data.base import Dataset
from tasks.fashion import data as fashion

if TYPE_CHECKING:
    import numpy as np

    from bench.data.images import LabelledImages, Splits

KINDS = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
"""One word for each of Fashion-MNIST's classes, in their order."""
COLOURS = {
    "red": (215, 50, 50),
    "green": (50, 175, 70),
    "blue": (60, 90, 225),
    "yellow": (225, 205, 60),
    "purple": (165, 65, 200),
    "white": (220, 220, 220),
}
SHADE = 28
"""Most that an item's red, green and blue lie above or below the colour's own."""
SIZE, ITEM = 16, 8
"""Sides of a scene and of an item, in pixels."""
TRAIN_SCENES, HELD_OUT_SCENES = 60_000, 10_000
RELATIONS = ("left", "right")

locate = fashion.locate


class Item(NamedTuple):
    """One item as a caption names it: positions in `KINDS` and in `COLOURS`."""

    kind: int
    colour: int

    @property
    def words(self) -> str:
        """`red boot`"""
        return f"{list(COLOURS)[self.colour]} {KINDS[self.kind]}"


class Content(NamedTuple):
    """What is in a scene, and at which place."""

    left: Item
    right: Item

    def caption(self, relation: str) -> str:
        """Say it: `left` starts with the left item, `right` with the right one; both are true."""
        first, second = (self.left, self.right) if relation == "left" else (self.right, self.left)
        return f"a {first.words} {relation} of a {second.words}"


ITEMS = tuple(Item(kind, colour) for kind in range(len(KINDS)) for colour in range(len(COLOURS)))
CONTENTS = tuple(Content(left, right) for left in ITEMS for right in ITEMS)
CAPTIONS = tuple(content.caption(relation) for relation in RELATIONS for content in CONTENTS)
"""Every caption that there is. A caption's content is the one of its position, modulo their number."""
WORDS = tuple(sorted({"a", "of", *RELATIONS, *COLOURS, *KINDS}))


def parse(caption: str) -> Content:
    """Read a caption back. Raises UserError if the grammar has no such sentence."""
    words = caption.split()
    if len(words) == 8 and words[4:6] == ["of", "a"] and words[0] == "a" and words[3] in RELATIONS:
        first, second = (_item(words[at], words[at + 1], caption) for at in (1, 6))
        return Content(first, second) if words[3] == "left" else Content(second, first)
    raise UserError(f'{caption!r} is no caption of a scene; one is "{CAPTIONS[0]}"')


def _item(colour: str, kind: str, caption: str) -> Item:
    if colour not in COLOURS:
        raise unknown(f"colour in {caption!r}:", colour, COLOURS)
    if kind not in KINDS:
        raise unknown(f"kind of item in {caption!r}:", kind, KINDS)
    return Item(KINDS.index(kind), list(COLOURS).index(colour))


def truths() -> np.ndarray:
    """What each caption says: [captions, 4] int64, kind and colour at the left, kind and colour at the right."""
    import numpy as np

    return np.array([[*content.left, *content.right] for content in CONTENTS] * len(RELATIONS))


def load(folder: Path | None, cache: Path, download: bool = False, progress: Progress | None = None) -> Splits:
    """Return 60,000 training scenes of Fashion-MNIST's training images, and 10,000 held-out of its test images.

    Images are [N, 3, 16, 16]; labels are positions in `CAPTIONS`. Raises UserError as `fashion.load`.
    """
    from bench.data.images import Splits

    found = fashion.originals(folder, cache, download, progress)
    return Splits(
        train=compose(*found.train, TRAIN_SCENES, split=0),
        held_out=compose(*found.test, HELD_OUT_SCENES, split=1),
        source=found.source,
    )


def compose(images: np.ndarray, kinds: np.ndarray, count: int, split: int) -> LabelledImages:
    """Make `count` scenes of `images` [N, 28, 28] uint8 and their classes [N]; scene i depends on `split` and i.

    Its choices are taken from `scrambled` numbers, which no library's version changes.
    """
    import numpy as np

    from bench.data.images import LabelledImages

    small = shrink(images)
    palette = np.array(list(COLOURS.values()))
    drawn = scrambled(split, count * 13).reshape(count, 13)
    relation, halves = drawn[:, 0] % len(RELATIONS), drawn[:, 1:].reshape(count, 2, 6)
    scenes = np.zeros((count, 3, SIZE, SIZE), np.uint8)
    found = np.zeros((count, 2), np.int64)
    for place in range(2):
        which, colour, height, *shade = halves[:, place].T
        chosen, colour = which % len(small), colour % len(palette)
        rgb = (palette[colour] + np.stack(shade, 1) % (2 * SHADE + 1) - SHADE).clip(0, 255)
        item = np.rint(small[chosen][:, None] * rgb[:, :, None, None] / 255).astype(np.uint8)
        rows = (height % (SIZE - ITEM + 1))[:, None] + np.arange(ITEM)
        columns = np.arange(ITEM) + place * ITEM
        scenes[np.arange(count)[:, None, None], :, rows[:, :, None], columns] = item.transpose(0, 2, 3, 1)
        found[:, place] = kinds[chosen] * len(palette) + colour
    content = found[:, 0] * len(ITEMS) + found[:, 1]
    return LabelledImages.of(scenes, content + relation * len(CONTENTS))


def scrambled(seed: int, count: int) -> np.ndarray:
    """Return `count` whole numbers of 63 bits, int64, the first of a stream without end (SplitMix64).

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    import numpy as np

    gamma = np.uint64(0x9E3779B97F4A7C15)
    z = (np.arange(1, count + 1, dtype=np.uint64) + (np.uint64(seed) << np.uint64(48))) * gamma
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


def shrink(images: np.ndarray) -> np.ndarray:
    """Frame 28x28 `images` [N, 28, 28] uint8 with two black pixels and average 4x4: [N, 8, 8] uint8."""
    import numpy as np

    framed = np.pad(images, ((0, 0), (2, 2), (2, 2))).astype(np.uint16)
    return np.rint(framed.reshape(len(images), ITEM, 4, ITEM, 4).sum((2, 4)) / 16).astype(np.uint8)


@dataclass(frozen=True)
class Scenes(Dataset):
    """The data set of this module."""

    def locate(self, folder: Path | None, cache: Path) -> Path | None:
        """Return where it is, or None."""
        return locate(folder, cache)

    def load(
        self, folder: Path | None, cache: Path, download: bool = False, progress: Progress | None = None
    ) -> Splits:
        """Return its two splits. Raises UserError if it is not there, or damaged."""
        return load(folder, cache, download, progress)


SCENES = Scenes(
    "scenes",
    "two coloured items of Fashion-MNIST at 16x16, with captions: 60,000 for training, 10,000 held out",
    "MIT (Zalando Research, Fashion-MNIST)",
    "apt-get install dataset-fashion-mnist, or bench prepare --task scenes --data FOLDER or --download",
)
