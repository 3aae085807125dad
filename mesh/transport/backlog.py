"""How much of what was sent on a request connection its reader has not taken yet.

The request plane has no window. Small frames are bounded by their number (``SNDHWM``); large ones
are followed one by one: libzmq tells when it has let go of a buffer that it was lent.
"""

from __future__ import annotations

from collections import deque

import zmq

__all__ = ["MAX_UNSENT_BYTES", "Backlog"]

MAX_UNSENT_BYTES = 32 * 1024 * 1024
"""Large frames waiting for one reader: two of the largest. One that takes none is not there."""


class Backlog:
    """The large frames of one connection that libzmq still holds."""

    __slots__ = ("_sent", "_size")

    def __init__(self) -> None:
        self._sent: deque[tuple[zmq.MessageTracker, int]] = deque()
        self._size = 0

    @property
    def is_full(self) -> bool:
        """Whether the reader is to take something first."""
        sent = self._sent
        while sent and sent[0][0].done:
            self._size -= sent.popleft()[1]
        return self._size > MAX_UNSENT_BYTES

    @property
    def is_empty(self) -> bool:
        return not self._sent

    def send(self, socket: zmq.Socket[bytes], frame: bytes) -> None:
        """Send a large frame without a copy, and remember it until it is gone."""
        tracker = socket.send(frame, zmq.NOBLOCK, copy=False, track=True)
        if tracker is not None:
            self._sent.append((tracker, len(frame)))
            self._size += len(frame)
