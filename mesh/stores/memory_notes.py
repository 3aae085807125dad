"""The notes of one queue, in memory."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from patterns.queues.notes import Note
from patterns.queues.ticket import NEVER

__all__ = ["MAX_NOTES", "MAX_NOTE_BYTES", "MemoryNotes"]

MAX_NOTES = 1_000_000
"""Of one queue, of those that end: some 300 MB. Those that do not are of jobs that live."""

MAX_NOTE_BYTES = 256 * 1024 * 1024
"""Of results in these: who puts says how long they are kept, and workers how large they are."""

SPARE = 1_000
"""Ends of notes that are gone which are kept at least until they are tidied up."""


class MemoryNotes:
    """Beyond ``most`` of those that end, or so many bytes, the first to end go."""

    def __init__(self, most: int = MAX_NOTES, most_bytes: int = MAX_NOTE_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lasting: dict[str, Note] = {}
        self._ending: dict[str, Note] = {}
        self._ends: list[tuple[int, str]] = []
        """When those end, as a heap; also of some that are gone."""

    def keep(self, note: Note) -> None:
        """Instead of any of its name."""
        name = note.name
        if note.until_ms == NEVER:
            self._forget(name)
            self._lasting[name] = note
            return
        self._lasting.pop(name, None)
        self._forget(name)
        self._ending[name] = note
        self._bytes += len(note.value or b"")
        if len(self._ends) > 2 * len(self._ending) + SPARE:
            self._ends = [(note.until_ms, name) for name, note in self._ending.items()]
            heapify(self._ends)
        else:
            heappush(self._ends, (note.until_ms, name))
        while len(self._ending) > self._most or self._bytes > self._most_bytes:
            self._drop_first()

    def _forget(self, name: str) -> None:
        note = self._ending.pop(name, None)
        if note is not None:
            self._bytes -= len(note.value or b"")

    def _drop_first(self) -> None:
        until_ms, name = heappop(self._ends)
        note = self._ending.get(name)
        if note is not None and note.until_ms == until_ms:
            self._forget(name)

    def drop(self, name: str) -> None:
        """Forget one."""
        if self._lasting.pop(name, None) is None:
            self._forget(name)

    def find(self, name: str) -> Note | None:
        """None when it is not there."""
        return self._lasting.get(name) or self._ending.get(name)

    def all(self) -> list[Note]:
        """In no order."""
        return [*self._lasting.values(), *self._ending.values()]

    def sweep(self, now_ms: int) -> None:
        """Forget those whose time is over."""
        while self._ends and self._ends[0][0] <= now_ms:
            self._drop_first()
