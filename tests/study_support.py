"""A study whose raters answer as the page does."""

from __future__ import annotations

import json
import random
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.files import digest
from bench.report.study.key import PAGE, Key, read_key


@dataclass(frozen=True)
class Study:
    """A study that was made."""

    folder: Path
    key_path: Path
    runs: Path

    @property
    def key(self) -> Key:
        """Its key."""
        return read_key(self.key_path)

    @property
    def page(self) -> Path:
        """The file that raters get."""
        return self.folder / PAGE

    def sent(self, name: str, content: dict[str, Any], checksum: str | None = None) -> Path:
        """Write answers as a rater sends them, with the checksum that fits unless another is given."""
        path = self.folder.parent / f"answers-{name}.json"
        path.write_text(json.dumps({**content, "checksum": checksum or digest(content)}), encoding="utf-8")
        return path

    def answers(
        self,
        rater: str,
        appealing: Collection[int],
        fitting: Collection[int] | None = None,
        milliseconds: int = 2000,
    ) -> dict[str, Any]:
        """Return a rater's answers without checksum.

        Run A's image is the more appealing in pairs with these numbers, and fits the prompt better in those of
        `fitting`, by default the same.
        """
        rng, key, given = random.Random(rater), self.key, []
        for_a = (appealing, appealing if fitting is None else fitting)
        for number, pair in enumerate(key.pairs):
            left = rng.choice(["first", "second"])
            sides = ["left" if (left == pair.a) == (number in numbers) else "right" for numbers in for_a]
            given.append({"choices": sides, "left": left, "milliseconds": [milliseconds] * 2, "pair": pair.name})
        rng.shuffle(given)
        return {
            "answers": given,
            "questions": key.questions,
            "rater": rater,
            "session": f"{rng.getrandbits(128):032x}",
            "study": key.digest(),
            "version": 1,
        }
