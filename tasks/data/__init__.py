"""Real images for the micro tasks: where they are found, how they are checked, how they are split.

Each data module has the same two functions: `locate(folder, cache)`, cheap and without numpy, for
`bench describe` and `bench doctor`; and `load(folder, cache, download, progress) -> Splits`.
"""

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called during a download with the file's name, the bytes so far and the bytes in all, None if unknown."""
