"""Progress that keeps its notes, for tests of what a user is told."""

from __future__ import annotations

from bench.core.progress import SilentProgress


class RecordedNotes(SilentProgress):
    """Keeps what was noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)
