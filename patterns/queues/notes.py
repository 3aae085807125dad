"""``Note``: a small record that a queue keeps by name, beside its jobs and as safely.

================================  ================================================================
name                              what for
================================  ================================================================
``id:<id>``                       the number of the job of that id, for as long as it lives, and for
                                  the window within which another of that id is the same job
``unique:<name>``                 the number of the job that is queued or runs under that name
``result:<number>:<group>``       the outcome of a job, packed, for as long as it is to be kept
``paused:<group>``                the group takes no jobs
================================  ================================================================
"""

from __future__ import annotations

from patterns.queues.ticket import NEVER

__all__ = ["Note"]


class Note:
    """``until_ms`` is the time on the home's clock when it is forgotten; ``NEVER``."""

    __slots__ = ("name", "number", "until_ms", "value")

    def __init__(
        self, name: str, number: int = 0, until_ms: int = NEVER, value: bytes | None = None
    ) -> None:
        self.name = name
        self.number = number
        self.until_ms = until_ms
        self.value = value

    def __repr__(self) -> str:
        return f"<Note {self.name}: {self.number}>"
