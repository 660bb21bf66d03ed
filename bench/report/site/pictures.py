"""The pictures of the site: each sample sheet once, under a name that follows from its content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.files import read_bytes
from bench.evaluation.sheet import SheetInfo, read_sheet_info

TINY = 48
"""Images with fewer pixels across are enlarged without smoothing."""


@dataclass(frozen=True)
class Picture:
    """A sample sheet on the site."""

    href: str
    """Address from the site's root."""
    source: Path
    info: SheetInfo

    @property
    def width(self) -> int:
        """Width of the whole sheet, in pixels."""
        return self.info.columns * self.info.width

    @property
    def height(self) -> int:
        """Height of the whole sheet, in pixels."""
        return self.info.rows * self.info.height

    @property
    def tiny(self) -> bool:
        """Whether its images are so small that they are enlarged without smoothing."""
        return self.info.width < TINY

    def described(self) -> dict[str, Any]:
        """Return what a script needs: the address, and the size, number, captions and noise of the images."""
        return {"href": self.href, **self.info.model_dump(exclude={"version"})}


def picture_of(sheet: Path) -> Picture:
    """Return a sheet as a picture. Raises UserError if the file is no sheet."""
    info = read_sheet_info(sheet)
    name = hashlib.sha256(read_bytes(sheet)).hexdigest()[:20]
    return Picture(f"pictures/{name}.png", sheet, info)
