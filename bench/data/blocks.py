"""Fill one .npy file block by block, in parallel and resumable at any point."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from bench.core.errors import UserError
from bench.core.files import canonical_json, human_size, write_text
from bench.core.made import made_once
from bench.core.progress import Progress

PLAN, DONE = "plan.json", "blocks.txt"
DONE_LINE = re.compile(r"(\d+) (\{.*\})\n")
"""Block number and tally as JSON; a line without its end was cut short by a kill."""

Tally = Mapping[str, int]
"""Counts of the caller's, by what they count."""
Make = Callable[[int, int], tuple[np.ndarray, Tally]]
"""Makes a block, given its first item and the one after its last: values [B, ...] and their tally."""
Finish = Callable[[int, np.ndarray], np.ndarray]
"""Turns the values of Make, given the block's first item, into the values that are written, [B, *shape]."""


@dataclass(frozen=True)
class ArrayFile:
    """One .npy file of `count` items, of which `block` are made at once."""

    name: str
    what: str
    """The noun for the items in messages: images."""
    origin: Path
    """The path that the items are read from."""
    count: int
    shape: tuple[int, ...]
    """The shape of one item."""
    dtype: np.dtype
    block: int
    decided_by: Mapping[str, Any]
    """Everything else that decides the bytes, as plain data; if it differs, earlier blocks are made again."""

    def blocks(self) -> int:
        """Return the number of blocks."""
        return -(-self.count // self.block)

    def size(self, number: int) -> int:
        """Return the number of items in block `number`; the last block may be shorter."""
        return min(self.block, self.count - number * self.block)

    def bytes(self, items: int) -> int:
        """Return the size of this many items in bytes."""
        return items * int(np.prod(self.shape)) * self.dtype.itemsize

    def plan(self) -> str:
        """Serialise everything that decides the bytes."""
        return canonical_json({**self.decided_by, "count": self.count, "block": self.block})


class Block(NamedTuple):
    """A block of consecutive items, with its tally."""

    number: int
    values: np.ndarray
    tally: Tally


def pack_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a hidden folder and rename it to `folder`; do nothing if `folder` exists.

    After a kill, `write` finds its earlier files again. Raises UserError if the folder cannot be written.
    """
    try:
        with made_once(folder) as missing:
            if missing:
                partial = folder.with_name(f".{folder.name}.partial")
                write(partial)
                partial.rename(folder)
            for name in (PLAN, DONE):  # a kill right after the renaming has left them
                with contextlib.suppress(OSError):  # they are gone; or another user's, and do no harm
                    (folder / name).unlink()
    except OSError as error:
        raise UserError(
            f"{error.filename or folder} could not be written: {error.strerror}; "
            "fix: free some space or change the permissions, and run again: it continues from here"
        ) from error


def fill(
    partial: Path,
    file: ArrayFile,
    make: Make,
    workers: int,
    progress: Progress,
    finish: Finish = lambda _first, values: values,
) -> Counter[str]:
    """Write all blocks of `file` into `partial`, continue an earlier call, and return the sum of the tallies.

    `make` runs in `workers` threads and `finish` in the caller's thread. A block always has the same items, so
    the bytes depend neither on the number of threads nor on a kill. Raises UserError if the disk is too small or
    the source disappears, ValueError if a block has another shape or type than the file.
    """
    done = _begun(partial, file, progress)
    todo = [number for number in range(file.blocks()) if number not in done]
    _check_space(partial, file, len(todo))
    completed = file.count - sum(file.size(number) for number in todo)
    with (
        progress.bar(f"pack {file.what}", file.count, completed) as bar,
        (partial / file.name).open("r+b") as array,
        (partial / DONE).open("a") as finished,
        contextlib.closing(_made(file, make, todo, workers)) as blocks,
    ):
        header = os.fstat(array.fileno()).st_size - file.bytes(file.count)
        for block in blocks:
            values = finish(block.number * file.block, block.values)
            if values.shape != (file.size(block.number), *file.shape) or values.dtype != file.dtype:
                raise ValueError(
                    f"a block of {file.what} is {values.shape} {values.dtype}, not of {file.shape} {file.dtype}"
                )
            array.seek(header + block.number * file.bytes(file.block))
            array.write(np.ascontiguousarray(values).data)
            _flush(array)
            finished.write(_line(block.number, block.tally))
            _flush(finished)
            done[block.number] = block.tally
            bar.advance(len(values))
    total = Counter[str]()
    for tally in done.values():
        total.update(tally)
    return total


def _begun(partial: Path, file: ArrayFile, progress: Progress) -> dict[int, Tally]:
    """Return the blocks that an earlier call finished, with their tallies; start the file if there is none."""
    plan = file.plan()
    if (partial / PLAN).is_file():
        before = (partial / PLAN).read_text(encoding="utf-8")
        if before == plan:
            lines = DONE_LINE.findall((partial / DONE).read_text(encoding="utf-8"))
            write_text(partial / DONE, "".join(f"{number} {tally}\n" for number, tally in lines))
            return {int(number): json.loads(tally) for number, tally in lines}
        progress.note(f"starting again because this has changed: {_changed(before, plan)}")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    shape = (file.count, *file.shape)
    np.lib.format.open_memmap(partial / file.name, mode="w+", dtype=file.dtype, shape=shape)
    write_text(partial / DONE, "")
    write_text(partial / PLAN, plan)
    return {}


def _line(number: int, tally: Tally) -> str:
    """Write the line that notes a block as done."""
    return f"{number} {json.dumps(tally)}\n"


def _changed(before: str, now: str) -> str:
    """List the keys that differ between two plans."""
    old, new = json.loads(before), json.loads(now)
    return ", ".join(key for key in sorted({*old, *new}) if old.get(key) != new.get(key))


def _flush(file: IO[Any]) -> None:
    """Flush a file to the disk: a block is noted as done only when a power cut cannot undo it."""
    file.flush()
    os.fsync(file.fileno())


def _check_space(partial: Path, file: ArrayFile, blocks: int) -> None:
    """Raise UserError if the disk cannot hold `blocks` more blocks; the file is sparse until then."""
    needed, free = blocks * file.bytes(file.block), shutil.disk_usage(partial).free
    if needed > free:
        raise UserError(
            f"the packed {file.what} need {human_size(needed)} more, but the disk of {partial.parent} has "
            f"{human_size(free)} free; fix: free some space, or name a folder on another disk"
        )


def _made(file: ArrayFile, make: Make, numbers: list[int], workers: int) -> Generator[Block, None, None]:
    """Make blocks in `workers` threads and yield each when it is ready; only a few wait in memory."""
    remaining = iter(numbers)
    pool = ThreadPoolExecutor(workers)

    def made(number: int) -> Block:
        first = number * file.block
        try:
            return Block(number, *make(first, first + file.size(number)))
        except OSError as error:
            where = error.filename or file.origin
            raise UserError(f"{where} cannot be read: {error.strerror}; fix: restore it and run again") from error

    try:
        running: set[Future[Block]] = {
            pool.submit(made, number) for number in itertools.islice(remaining, workers + 1)
        }
        while running:
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(made, number) for number in itertools.islice(remaining, len(ready))}
            # Finished blocks come first, so that a failure does not lose a block that is ready.
            for future in sorted(ready, key=lambda future: future.exception() is not None):
                yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
