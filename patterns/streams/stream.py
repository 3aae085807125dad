"""One end of a stream: an ordered way both ways, each with its own credit and its own end. Pure.

Rules:

* What is sent waits here until the other side has room for it (*credit*: its window, less what it
  has not consumed); whoever sends more than ``QUEUED_BYTES`` beyond that waits. So either side
  holds no more than the window, whatever goes through.
* ``end`` is behind all data and leaves the other direction open; ``abort`` overtakes all and ends
  both. ``stop`` says that nobody reads here any more: the other side's sends raise.
* What breaks a stream (the peer is lost, or has aborted, or broke the rules) comes to whoever sends
  or reads at once, and a handler is cancelled; what was received and not read is void, unless the
  peer had ended its side before it was lost. A handler that raises *ends* the stream with that: it
  comes behind all that the handler had sent.
* Messages keep their boundaries, bytes have none. A message is at most as large as the other
  side's window; bytes are of any size.

It is on the list of its lane (``is_queued``) while it has something that may leave.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from patterns.errors import EndOfStream, MeshError, PayloadTooLarge, StreamAborted
from patterns.keys import Key
from patterns.port import Handle, Running, Waiter
from patterns.streams import messages as m

if TYPE_CHECKING:
    from patterns.streams.desk import Streams

__all__ = [
    "EMPTY",
    "MAX_TRAILERS_BYTES",
    "MIN_WINDOW_BYTES",
    "QUEUED_BYTES",
    "WINDOW_BYTES",
    "Stream",
]

WINDOW_BYTES = 1024 * 1024
"""What one end takes that is not consumed, unless it says otherwise: 8 ms of a 1 Gbit/s link."""

MIN_WINDOW_BYTES = 128 * 1024
"""Three quarters of it, which is what a sender has when nothing waits, must hold a piece."""

QUEUED_BYTES = 256 * 1024
"""Waits here for credit or for its turn before a sender waits: a few pieces ahead of the link."""

MAX_TRAILERS_BYTES = 16 * 1024
"""They travel as one message, whatever the window: a digest, a count, a reason."""

EMPTY: Final = object()
"""Nothing to read as yet."""


class Stream:
    """One end. ``id`` is how this side writes it; ``handle`` the node at the other end."""

    __slots__ = (
        "_buffer",
        "_consumed",
        "_desk",
        "_failure",
        "_parts",
        "_peer_consumed",
        "_queue",
        "_queued",
        "_readers",
        "_received",
        "_sent",
        "_told",
        "_writers",
        "error",
        "handle",
        "has_stopped",
        "headers",
        "id",
        "is_ended",
        "is_ended_there",
        "is_queued",
        "is_stopped_there",
        "key",
        "name",
        "peer_era",
        "peer_window",
        "running",
        "trailers",
        "window",
    )

    def __init__(
        self,
        desk: Streams,
        id: int,
        name: str,
        window: int,
        headers: dict[str, str],
        key: Key | None = None,
    ) -> None:
        self._desk = desk
        self.id = id
        self.name = name
        self.headers = headers
        self.key = key
        self.handle: Handle | None = None
        self.window = window
        """What this end takes."""
        self.peer_era = 0
        """The other node's era when it accepted, or opened, this: a later one ends it."""
        self.peer_window = 0
        """What the other takes; nothing before it has accepted."""
        self._queue: deque[tuple[int, bytes]] = deque()
        """What it costs, and the packed message; an end costs nothing."""
        self._queued = 0
        self._sent = 0
        self._peer_consumed = 0
        self._buffer: deque[tuple[int, bytes]] = deque()
        self._parts = bytearray()
        self._received = 0
        self._consumed = 0
        self._told = 0
        self._readers: deque[Waiter] = deque()
        self._writers: deque[Waiter] = deque()
        self.is_queued = False
        self.is_ended = False
        """Whether nothing more is sent from here."""
        self.has_stopped = False
        """Whether nobody reads here any more."""
        self.is_ended_there = False
        self.is_stopped_there = False
        self.trailers: dict[str, str] | None = None
        """What the other side said at its end; None before."""
        self.error: MeshError | None = None
        self._failure: MeshError | None = None
        """What the other side ended with, behind all that it had sent."""
        self.running: Running | None = None
        """The handler that serves it here."""

    # Sending.

    def offer_message(self, packed: bytes) -> bool:
        """Queue one message; False when there is no room now. Raises as ``check_may_send``."""
        if not self._may_queue():
            return False
        self._put_message(packed)
        return True

    def put_message(self, packed: bytes) -> None:
        """Queue one message whether there is room or not, for who bounds that; void if nothing is
        sent any more."""
        if self.error is None and not self.is_ended and not self.is_stopped_there:
            self._put_message(packed)

    def _put_message(self, packed: bytes) -> None:
        pieces = list(m.cut(packed))
        for piece in pieces[:-1]:
            self._put(m.PART, piece)
        self._put(m.WHOLE, pieces[-1])

    def check_size(self, size: int) -> None:
        """Raises PayloadTooLarge for a message that the other side can never take."""
        if m.cost(size) > self.peer_window:
            raise PayloadTooLarge(
                f"a message of {size} bytes: the other side of the stream {self.name!r} takes at "
                f"most {self.peer_window}; send bytes by write(), or have it make window= larger"
            )

    def offer_bytes(self, piece: memoryview) -> bool:
        """Queue bytes, at most ``PIECE_BYTES``; False when there is no room now."""
        if not self._may_queue():
            return False
        self._put(m.BYTES, piece)
        return True

    def check_may_send(self) -> None:
        """Raises what broke the stream, and StreamAborted where nothing is sent any more."""
        if self.error is not None:
            raise self.error
        if self.is_ended:
            raise StreamAborted(f"the stream {self.name!r} was ended here: send before end()")
        if self.is_stopped_there:
            raise StreamAborted(f"the other side of the stream {self.name!r} reads no more")

    def end(self, trailers: dict[str, str] | None = None, *failure: str) -> None:
        """Nothing more is sent from here; a second time does nothing.

        ``failure`` is the type, text and traceback of what a handler raised. Raises PayloadTooLarge
        for trailers above ``MAX_TRAILERS_BYTES``.
        """
        if self.is_ended or self.error is not None:
            return
        if len(self._desk.pack(trailers or {})) > MAX_TRAILERS_BYTES:
            raise PayloadTooLarge(
                f"the trailers of the stream {self.name!r} are above {MAX_TRAILERS_BYTES} bytes: "
                "send what is long as a message before the end"
            )
        end = self._desk.pack([self.id, m.END, trailers or {}, *failure])
        self.is_ended = True
        self._queue.append((0, end))
        self._desk.ready(self)
        _wake_all(self._writers)

    def when_writable(self, waiter: Waiter) -> None:
        """Ends ``waiter`` when it is worth while to offer again."""
        self._writers.append(waiter)

    def nudge(self) -> None:
        """Somebody who was woken has gone: the others look for themselves."""
        _wake_all(self._writers)
        _wake_all(self._readers)

    def next_entry(self) -> bytes | None:
        """What may leave now, packed; None when there is nothing."""
        if not self._queue:
            return None
        price, entry = self._queue[0]
        if price and self._sent + price - self._peer_consumed > self.peer_window:
            return None
        self._queue.popleft()
        if not price:
            self._desk.settle(self)
            return entry
        self._sent += price
        self._queued -= price
        if self._writers and self._queued < QUEUED_BYTES:
            _wake(self._writers)
        return entry

    @property
    def queued_bytes(self) -> int:
        """What waits here for credit or for its turn, about."""
        return self._queued

    @property
    def is_sent(self) -> bool:
        """Whether nothing waits here for credit."""
        return not self._queue

    def _may_queue(self) -> bool:
        self.check_may_send()
        return self._queued < QUEUED_BYTES

    def _put(self, kind: int, data: memoryview) -> None:
        price = len(data) + m.ENTRY_COST
        self._queue.append((price, self._desk.pack([self.id, kind, data])))
        self._queued += price
        if not self.is_queued:
            self._desk.ready(self)

    # Reading.

    def take(self) -> Any:
        """The next message, or some bytes, or ``EMPTY``.

        Raises EndOfStream when the other side has ended, and what broke the stream.
        """
        while self._buffer:
            kind, data = self._buffer.popleft()
            self._consume(len(data) + m.ENTRY_COST)
            if kind == m.BYTES:
                return data
            if kind == m.WHOLE and not self._parts:
                return self._desk.unpack(self, data)
            self._parts += data
            if len(self._parts) > self.window:
                raise self._desk.violated(self, "a message larger than the window")
            if kind == m.WHOLE:
                whole, self._parts = self._parts, bytearray()
                return self._desk.unpack(self, whole)
        if self.error is not None and not self.is_ended_there:
            raise self.error
        if self.has_stopped:
            raise StreamAborted(f"the stream {self.name!r} was closed here")
        if self._failure is not None:
            raise self._failure
        if self.is_ended_there:
            raise EndOfStream(f"the stream {self.name!r} has ended")
        return EMPTY

    @property
    def is_empty(self) -> bool:
        """Whether nothing that was received waits here; there may be an end, or an error."""
        return not self._buffer

    def when_readable(self, waiter: Waiter) -> None:
        """Ends ``waiter`` when ``take`` has something, or an end, or an error."""
        self._readers.append(waiter)

    def stop(self) -> None:
        """Nobody reads here any more; the other side is told, unless it has ended."""
        if self.has_stopped or self.error is not None:
            return
        self.has_stopped = True
        self._buffer.clear()
        self._parts.clear()
        if not self.is_ended_there:
            self._desk.tell(self, [self.id, m.STOP])
        _wake_all(self._readers)
        self._desk.settle(self)

    def _consume(self, price: int) -> None:
        self._consumed += price
        if self._consumed - self._told >= self.window // 4 and not self.is_ended_there:
            self._told = self._consumed
            self._desk.tell(self, [self.id, m.CREDIT, self._consumed])

    # What comes from the other side.

    def on_data(self, kind: int, data: Any) -> None:
        """A message, or a part of one, or bytes."""
        if type(data) is not bytes or self.is_ended_there:
            self._desk.violated(self, "data that is none, or comes behind the end")
            return
        if self.has_stopped:
            return  # sent before it knew
        self._received += len(data) + m.ENTRY_COST
        if self._received - self._consumed > self.window:
            self._desk.violated(self, "more than the window")
            return
        self._buffer.append((kind, data))
        if self._readers:
            _wake(self._readers)

    def on_credit(self, total: Any) -> None:
        """The other side has consumed so much."""
        if type(total) is not int or not self._peer_consumed <= total <= self._sent:
            self._desk.violated(self, "credit for what was never sent")
            return
        self._peer_consumed = total
        if self._queue and not self.is_queued:
            self._desk.ready(self)

    def on_end(self, trailers: Any, failure: MeshError | None) -> None:
        """Nothing more comes; with ``failure`` since what sent it has failed."""
        if self.is_ended_there or type(trailers) is not dict:
            self._desk.violated(self, "a second end, or one without trailers")
            return
        self.is_ended_there = True
        self.trailers = trailers
        self._failure = failure
        _wake_all(self._readers)
        self._desk.settle(self)

    def on_stop(self) -> None:
        """Nobody reads there: what waits is void, but the end."""
        self.is_stopped_there = True
        end = [item for item in self._queue if not item[0]]
        self._queue.clear()
        self._queue.extend(end)
        self._queued = 0
        if end and not self.is_queued:
            self._desk.ready(self)
        _wake_all(self._writers)

    # The end.

    def fail(self, error: MeshError, *, is_loss: bool = False) -> None:
        """It is broken: whoever sends or reads gets ``error``, and a handler is cancelled.

        At a loss of the peer, though, what it had sent to the end can be read to the end.
        """
        if self.error is not None:
            return
        self.error = error
        self._queue.clear()
        self._queued = 0
        if not (is_loss and self.is_ended_there):
            self.is_ended_there = False
            self._buffer.clear()
            self._parts.clear()
            if self.running is not None:
                self.running.cancel()
        _wake_all(self._readers)
        _wake_all(self._writers)


def _wake(waiters: deque[Waiter]) -> None:
    """The first that is still there."""
    while waiters:
        waiter = waiters.popleft()
        if not waiter.done():
            waiter.set_result(None)
            return


def _wake_all(waiters: deque[Waiter]) -> None:
    while waiters:
        _wake(waiters)
