"""A publisher at full rate, and subscribers that count: what came, what is missing, the order.

``Count`` and ``Flood`` are for the agent: numbers are kept as sums, for at full rate the messages
themselves would fill the memory.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import mesh

__all__ = ["Count", "Flood"]

FLUSH_EVERY = 2000
"""Messages between flushes: the publisher goes as fast as those take that do."""


class Count:
    """Counts the messages ``[number, ...]`` of a subject, which come in order, by sender."""

    def __init__(self, node: mesh.Node, subject: str) -> None:
        self.received = 0
        self.last: dict[str, int] = {}
        self.holes = 0
        """Numbers that were passed over."""
        self.disorder = 0
        node.subscriber(subject, inline=True)(self._on_message)

    def _on_message(self, message: mesh.Message) -> None:
        number = message.data[0]
        sender = message.sender.id
        last = self.last.get(sender)
        self.last[sender] = number
        self.received += 1
        if last is not None:
            self.holes += number - last - 1
            self.disorder += number <= last

    def sums(self) -> dict[str, Any]:
        return vars(self)


class Flood:
    """Publishes numbered messages from a thread, until ``end``; ``flush`` sets the pace."""

    def __init__(self, node: mesh.Node, subject: str, size: int) -> None:
        self._node = node
        self._subject = subject
        self._filling = "x" * size
        self._is_over = threading.Event()
        self.published = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        publish, subject, filling = self._node.publish, self._subject, self._filling
        while not self._is_over.is_set():
            for number in range(self.published, self.published + FLUSH_EVERY):
                publish(subject, [number, filling])
            self.published += FLUSH_EVERY
            with contextlib.suppress(mesh.Timeout):
                self._node.flush(1.0)

    def end(self) -> int:
        """How many there were; they are numbered from 0."""
        self._is_over.set()
        self._thread.join()
        return self.published
