"""Scenes: two coloured items of Fashion-MNIST side by side, with a caption that can be checked exactly.

A scene is 16x16 RGB: it has an item of 8x8 pixels in each half, at any height. An item's colour varies around
the colour that the caption names; the caption does not name its variant, height and shade. Importing this module
is cheap: numpy is imported only by the functions that use it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.core.errors import UserError, unknown
from bench.core.progress import Progress
from tasks.fashion import data as fashion

if TYPE_CHECKING:
    import numpy as np

    from bench.data.images import LabelledImages, Splits

KINDS = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
"""One word for each class of Fashion-MNIST, in their order."""
COLOURS = {
    "red": (215, 50, 50),
    "green": (50, 175, 70),
    "blue": (60, 90, 225),
    "yellow": (225, 205, 60),
    "purple": (165, 65, 200),
    "white": (220, 220, 220),
}
SHADE = 28
"""Largest difference between an item's red, green or blue and its named colour."""
SIZE, ITEM = 16, 8
"""Sides of a scene and of an item, in pixels."""
TRAIN_SCENES, HELD_OUT_SCENES = 60_000, 10_000
RELATIONS = ("left", "right")

locate = fashion.locate


class Item(NamedTuple):
    """One item of a caption: positions in `KINDS` and in `COLOURS`."""

    kind: int
    colour: int

    @property
    def words(self) -> str:
        """The item's words, such as `red boot`."""
        return f"{list(COLOURS)[self.colour]} {KINDS[self.kind]}"


class Content(NamedTuple):
    """The left and the right item of a scene."""

    left: Item
    right: Item

    def caption(self, relation: str) -> str:
        """Return a true caption: `left` starts with the left item, `right` with the right item."""
        first, second = (self.left, self.right) if relation == "left" else (self.right, self.left)
        return f"a {first.words} {relation} of a {second.words}"


ITEMS = tuple(Item(kind, colour) for kind in range(len(KINDS)) for colour in range(len(COLOURS)))
CONTENTS = tuple(Content(left, right) for left in ITEMS for right in ITEMS)
CAPTIONS = tuple(content.caption(relation) for relation in RELATIONS for content in CONTENTS)
"""All captions. A caption's position, modulo the number of contents, is that of its content."""
WORDS = tuple(sorted({"a", "of", *RELATIONS, *COLOURS, *KINDS}))


def parse(caption: str) -> Content:
    """Return the content of a caption. Raises UserError if the grammar has no such sentence."""
    words = caption.split()
    if len(words) == 8 and words[4:6] == ["of", "a"] and words[0] == "a" and words[3] in RELATIONS:
        first, second = (_item(words[at], words[at + 1], caption) for at in (1, 6))
        return Content(first, second) if words[3] == "left" else Content(second, first)
    raise UserError(f'{caption!r} is not a caption of a scene; fix: write one such as "{CAPTIONS[0]}"')


def _item(colour: str, kind: str, caption: str) -> Item:
    if colour not in COLOURS:
        raise unknown(f"colour in {caption!r}:", colour, COLOURS)
    if kind not in KINDS:
        raise unknown(f"kind of item in {caption!r}:", kind, KINDS)
    return Item(KINDS.index(kind), list(COLOURS).index(colour))


def truths() -> np.ndarray:
    """Return each caption's answers, [captions, 4] int64: kind and colour on the left, then on the right."""
    import numpy as np

    return np.array([[*content.left, *content.right] for content in CONTENTS] * len(RELATIONS))


def load(folder: Path | None, cache: Path, download: bool = False, progress: Progress | None = None) -> Splits:
    """Return 60,000 scenes of Fashion-MNIST's training images, and 10,000 held-out scenes of its test images.

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

    Its random choices come from `scrambled` numbers, which do not depend on a library's version.
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
        positions, colour = which % len(small), colour % len(palette)
        rgb = (palette[colour] + np.stack(shade, 1) % (2 * SHADE + 1) - SHADE).clip(0, 255)
        item = np.rint(small[positions][:, None] * rgb[:, :, None, None] / 255).astype(np.uint8)
        rows = (height % (SIZE - ITEM + 1))[:, None] + np.arange(ITEM)
        columns = np.arange(ITEM) + place * ITEM
        scenes[np.arange(count)[:, None, None], :, rows[:, :, None], columns] = item.transpose(0, 2, 3, 1)
        found[:, place] = kinds[positions] * len(palette) + colour
    content = found[:, 0] * len(ITEMS) + found[:, 1]
    return LabelledImages.of(scenes, content + relation * len(CONTENTS))


def scrambled(seed: int, count: int) -> np.ndarray:
    """Return the first `count` numbers of 63 bits, int64, of a SplitMix64 stream.

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
