"""A data set of the user's: a folder with a folder of images for each class. Imports neither torch nor numpy."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.core.errors import UserError
from bench.core.escape import shell_path
from bench.core.files import whole_folder, write_text
from bench.core.progress import Progress
from bench.data.base import Dataset, SplitHashes
from bench.data.kinds import described, is_image, litter, other_kind

if TYPE_CHECKING:
    import numpy as np

    from bench.data.images import LabelledImages, Splits


@dataclass(frozen=True)
class ImageFolder(Dataset):
    """Images at `train/CLASS/NAME.png` and `test/CLASS/NAME.png`; classes are numbered in order of their names.

    `bench prepare --data FOLDER` packs them into the cache, where they are found from then on. Images of another
    size are cropped to their centre square and resized with LANCZOS.
    """

    size: int
    """Side in pixels."""
    channels: Literal[1, 3] = 3
    """3: RGB; 1: grey."""
    splits: tuple[str, str] = ("train", "test")
    """Folders of the images for training and of those held out."""

    def kept(self, cache: Path) -> SplitHashes | None:
        """Return the hashes of the images that were packed last."""
        path = self._pin(cache)
        if not path.exists():
            return None
        try:
            return SplitHashes(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); fix: rm {shell_path(path)}, then {self.fix}") from None

    def locate(self, folder: Path | None, cache: Path) -> Path | None:
        """Return the folder of the packed images."""
        del folder
        kept = self.kept(cache)
        packed = None if kept is None else self._packed(cache, kept)
        return packed if packed is not None and packed.is_dir() else None

    def keep(self, folder: Path, cache: Path, progress: Progress) -> None:
        """Read all images of a folder, check them and pack them. Raises UserError that names what is wrong."""
        import numpy as np

        from bench.data.altered import described_altered

        classes = _classes(folder / self.splits[0])
        if (other := _classes(folder / self.splits[1])) != classes:
            strange = sorted(set(classes) ^ set(other))
            raise UserError(
                f"{folder}: the class {strange[0]!r} is in one split alone; "
                "fix: add it to the other split, or move it elsewhere"
            )
        skipped, altered = Counter[str](), Counter[str]()
        found = [self._read(folder / split, classes, skipped, altered, progress) for split in self.splits]
        hashes = SplitHashes(*(split.sha256 for split in found))
        with whole_folder(self._packed(cache, hashes)) as temporary:
            for split, images in zip(self.splits, found, strict=True):
                np.save(temporary / f"{split}-images.npy", images.images, allow_pickle=False)
                np.save(temporary / f"{split}-labels.npy", images.labels, allow_pickle=False)
        write_text(self._pin(cache), json.dumps(asdict(hashes), indent=2) + "\n")
        progress.note(
            f"{self.name}: {len(found[0]):,} + {len(found[1]):,} images of {len(classes)} classes packed, "
            f"{described(skipped)}"
        )
        if note := described_altered(altered, len(found[0]) + len(found[1]), "images"):
            progress.note(note)

    def load(
        self, folder: Path | None, cache: Path, download: bool = False, progress: Progress | None = None
    ) -> Splits:
        """Return the packed images; `folder` was read by `keep`, and nothing is downloaded. Raises UserError."""
        from bench.data.images import LabelledImages, Splits

        del folder, download, progress
        packed = self.locate(None, cache)
        if packed is None:
            raise UserError(f"there are no images of the data set {self.name!r} in {cache}; fix: {self.fix}")
        train, held_out = (
            LabelledImages.of(_array(packed / f"{split}-images.npy"), _array(packed / f"{split}-labels.npy"))
            for split in self.splits
        )
        return Splits(train, held_out, str(packed))

    def _read(
        self,
        folder: Path,
        classes: list[str],
        skipped: Counter[str],
        altered: Counter[str],
        progress: Progress,
    ) -> LabelledImages:
        """Read a split; count the files that are no images, and what was changed in images beyond the crop."""
        import numpy as np

        from bench.data.images import LabelledImages

        files = list(_files(folder, classes, skipped))
        images = np.empty((len(files), self.channels, self.size, self.size), np.uint8)
        with progress.bar(f"{self.name}: {folder.name}", len(files)) as bar:
            for place, (path, _) in enumerate(files):
                images[place] = self._image(path, altered)
                bar.advance()
        return LabelledImages.of(images, np.array([label for _, label in files], np.int64))

    def _image(self, path: Path, altered: Counter[str]) -> np.ndarray:
        import numpy as np

        from bench.data.decoding import decode, edm
        from bench.data.source import read_bytes

        decoded = decode(read_bytes(path), str(path))
        image = decoded.image
        altered.update(decoded.altered_at(self.size))
        if image.size != (self.size, self.size):
            image = edm(image, self.size)
        pixels = np.asarray(image if self.channels == 3 else image.convert("L"))
        return pixels.reshape(self.size, self.size, self.channels).transpose(2, 0, 1)

    def _pin(self, cache: Path) -> Path:
        return cache / "data" / f"{self.name}.json"

    def _packed(self, cache: Path, hashes: SplitHashes) -> Path:
        return cache / "data" / f"{self.name}-{hashes.train[:8]}-{hashes.held_out[:8]}"


def _classes(folder: Path) -> list[str]:
    """Return the names of the class folders. Raises UserError if there are none."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; fix: put the images at {folder}/CLASS/NAME.png")
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not litter(path.name))
    if not found:
        raise UserError(f"{folder} has no folders of classes; fix: put the images at {folder}/CLASS/NAME.png")
    return found


def _files(folder: Path, classes: list[str], skipped: Counter[str]) -> Iterator[tuple[Path, int]]:
    """Yield each image and its class, and count all other files.

    Raises UserError for a class without images, and for an image that lies in no class.
    """
    from bench.data.source import images_under

    for path in sorted(folder.iterdir()):
        if (kind := litter(path.name)) is not None:
            skipped[kind] += 1
        elif is_image(path.name) and not path.is_dir():
            raise UserError(f"{path} is in no folder of a class; fix: put it at {folder}/CLASS/{path.name}")
        elif not path.is_dir():
            skipped[other_kind(path.name, str(path))] += 1
    for label, name in enumerate(classes):
        paths, others = images_under(folder / name)
        skipped.update(others)
        if not paths:
            raise UserError(f"{folder / name} has no images; fix: put some there, or move the folder elsewhere")
        yield from ((path, label) for path in paths)


def _array(path: Path) -> np.ndarray:
    import numpy as np

    try:
        found: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}); fix: name the data to bench prepare again") from None
    return found
