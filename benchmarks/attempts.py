"""Variants of a benchmark, of which one may fail or not fit into memory without ending the others."""

from __future__ import annotations

import contextlib
import gc
import sys
import traceback
from collections.abc import Iterator

import torch
from rows import show


class Attempts:
    """Measurements one after the other, each with the memory that the one before has released."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    @contextlib.contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Measure one variant. A failure is shown and remembered; what does not fit is an answer."""
        _release_memory()
        try:
            yield
        except torch.OutOfMemoryError as error:
            traceback.clear_frames(error.__traceback__)
            show(f"{name}: out of memory", variant=name, out_of_memory=True)
        except Exception as error:
            traceback.print_exc(limit=-6)
            traceback.clear_frames(error.__traceback__)  # what they held would stay for as long as the error
            self.failed.append(name)
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            show(f"{name}: failed: {reason}", variant=name, failed=reason)
        _release_memory()

    def end(self) -> None:
        """End this process with code 1 if a variant has failed."""
        if self.failed:
            raise SystemExit(1)


def _release_memory() -> None:
    """Give memory that nothing uses back to the GPU, and begin to measure its peak anew."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()  # compiled graphs hold memory
    gc.collect()
    if torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):  # a GPU that has failed says so again at each call
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
