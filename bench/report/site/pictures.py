"""The pictures of the site: each sample sheet once, under a name that follows from its content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import UserError
from bench.core.files import read_bytes
from bench.evaluation.sheet import SheetInfo, read_sheet_info

END, LAST = b"IEND", 12
"""The name of the part that ends a PNG, and the bytes of that part."""
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
    """Return a sheet as a picture. Raises UserError if the file is no sheet, or is cut off."""
    info = read_sheet_info(sheet)
    content = read_bytes(sheet)
    if END not in content[-LAST:]:
        raise UserError(f"{sheet} is cut off; fix: copy it again")
    name = hashlib.sha256(content).hexdigest()[:20]
    return Picture(f"pictures/{name}.png", sheet, info)
