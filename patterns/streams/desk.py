"""The streams of one node: which there are, where what arrives belongs, and how they end. Pure.

A stream is opened by a call of its name (``patterns.streams.serving``), so it finds its peer as any
call does; its number is that call's. All else goes by the stream lane of the two nodes' link,
which is ordered and loses nothing while both are members of each other's view. When one gives the
other up, all streams between them are lost, on either side.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from patterns.errors import (
    BadPayload,
    BadRequest,
    MeshError,
    NodeClosed,
    Overloaded,
    PeerLost,
    RemoteError,
    StreamAborted,
)
from patterns.keys import Key
from patterns.port import Handle, StreamPort
from patterns.streams import messages as m
from patterns.streams.stream import MIN_WINDOW_BYTES, Stream
from patterns.texts import MAX_TEXT_CHARS, sendable

__all__ = ["MAX_STREAMS", "MAX_STREAMS_PER_PEER", "WINDOWS_BYTES", "Streams"]

MAX_STREAMS = 4096
"""Open at one node at a time: with the least window each they may hold 512 MiB."""

MAX_STREAMS_PER_PEER = 1024
"""Of those, opened by one peer: it cannot take all."""

WINDOWS_BYTES = 256 * 1024 * 1024
"""The sum of the windows that are given freely; beyond it a stream gets the least one."""

MAX_CALLED_OFF = 4096
"""Aborts of streams that are not here: most are over already, and only a request that is under way
on its own connection makes one matter."""

_MALFORMED = (TypeError, ValueError, IndexError, KeyError)


class _Opening(Protocol):
    """The call that opens a stream, while it lasts and after."""

    handle: Handle | None


class Streams:
    """All of them. ``port.ready`` is told of streams with something to send."""

    def __init__(self, port: StreamPort) -> None:
        self._port = port
        self._open: dict[tuple[bytes, int], Stream] = {}
        """By the other node, and the number as it comes in what that node sends."""
        self._opening: dict[int, tuple[Stream, _Opening]] = {}
        """Those that were asked for, and not accepted as far as is known here."""
        self._of_peer: dict[bytes, int] = {}
        """How many each peer has opened here."""
        self._called_off: dict[tuple[bytes, int], bool] = {}
        """Streams that were given up before they were asked for here, the oldest first."""
        self._windows = 0
        self._is_closed = False
        self.pack = port.pack
        self.opened = 0
        """Streams that were opened from here, or accepted here."""
        self.stale = 0
        """Messages for streams that were over here already."""

    # The life of a stream.

    def room(self, wanted: int) -> int:
        """The window that a new stream gets. Raises Overloaded when there are too many."""
        if self._is_closed:
            raise NodeClosed("this node is closed")
        if len(self) >= MAX_STREAMS:
            raise Overloaded(f"{len(self)} streams are open at this node, as many as it may have")
        if self._windows + wanted > WINDOWS_BYTES:
            return MIN_WINDOW_BYTES
        return wanted

    def begin(self, stream: Stream, opening: _Opening) -> None:
        """It was asked for, by the call whose number it has."""
        self._opening[stream.id] = stream, opening
        self._windows += stream.window

    def accepted(self, stream: Stream, answer: object) -> None:
        """Whom it was asked of has taken it: ``answer`` is its window and era.

        Raises what broke it meanwhile, and RemoteError for an answer that is none.
        """
        found = self._opening.pop(stream.id, None)
        if found is None or (handle := found[1].handle) is None:
            return
        try:
            stream.peer_window, stream.peer_era = m.read_terms(answer)
        except ValueError as error:
            stream.fail(RemoteError("ProtocolError", f"its answer: {error}", "", handle.peer))
        if stream.peer_era < self._port.peer_era(handle):
            stream.fail(PeerLost(f"the stream {stream.name!r}: it has given this node up"))
        if stream.error is None:
            self._add(stream, handle)
            return
        self._windows -= stream.window
        self._call_off(stream, handle)
        raise stream.error

    def refused(self, stream: Stream, *, may_be_taken: bool) -> None:
        """It does not come to be, or nobody waits for it any more."""
        found = self._opening.pop(stream.id, None)
        if found is not None:
            self._windows -= stream.window
            if may_be_taken and found[1].handle is not None:
                self._call_off(stream, found[1].handle)

    def _call_off(self, stream: Stream, handle: Handle) -> None:
        """Whoever has taken it, or will, shall know that nobody is there."""
        message = [stream.id, m.ABORT, "its opener has given up"]
        self._port.tell_stream(handle, self.pack(message))

    def accept(
        self,
        handle: Handle,
        number: int,
        name: str,
        windows: tuple[int, int],
        headers: dict[str, str],
        key: Key | None,
        era: int = 1,
    ) -> Stream:
        """A stream that ``handle`` opens here; its window and ours, and its era.

        Raises Overloaded, and BadRequest for one that was called off before it came.
        """
        if era < self._port.peer_era(handle) or self._called_off.pop((handle.id, number), False):
            raise BadRequest("whoever asked for this stream has given it up since")
        of_peer = self._of_peer.get(handle.id, 0)
        if of_peer >= MAX_STREAMS_PER_PEER:
            raise Overloaded(f"{of_peer} streams of yours are open at this node")
        if len(self) >= MAX_STREAMS - MAX_STREAMS_PER_PEER:
            raise Overloaded(f"{len(self)} streams are open at this node; it takes no more")
        if (handle.id, number) in self._open:
            raise Overloaded(f"a stream of yours has the number {number} already")
        peer_window, window = windows
        stream = Stream(self, -number, name, self.room(window), headers, key)
        stream.peer_window, stream.peer_era = peer_window, era
        self._windows += stream.window
        self._of_peer[handle.id] = of_peer + 1
        self._add(stream, handle)
        return stream

    def _add(self, stream: Stream, handle: Handle) -> None:
        stream.handle = handle
        self._open[handle.id, -stream.id] = stream
        self.opened += 1

    def settle(self, stream: Stream) -> None:
        """Forget it if both sides are through with it; a handler of it may still run."""
        is_through_here = stream.is_ended and stream.is_sent
        if stream.error is not None or (
            is_through_here and (stream.is_ended_there or stream.has_stopped)
        ):
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        handle = stream.handle
        if handle is None or self._open.pop((handle.id, -stream.id), None) is None:
            return
        self._windows -= stream.window
        if stream.id < 0:
            left = self._of_peer[handle.id] - 1
            if left:
                self._of_peer[handle.id] = left
            else:
                del self._of_peer[handle.id]

    def abort(self, stream: Stream, text: str) -> None:
        """End it both ways at once, and tell the other side why."""
        if stream.error is None and stream.handle is not None:
            self.tell(stream, [stream.id, m.ABORT, sendable(text)])
        self._break(stream, StreamAborted(f"the stream {stream.name!r} was aborted here: {text}"))

    def violated(self, stream: Stream, what: str) -> MeshError:
        """The other side broke the rules: nothing of it can be relied on."""
        self._port.count("streams_violated")
        self.abort(stream, f"the other side sent {what}")
        return stream.error or StreamAborted(what)

    def give_up(self, handle_id: bytes, number: int) -> None:
        """Whoever opened it has given up before it knew that it was accepted."""
        stream = self._open.get((handle_id, number))
        if stream is not None and stream.id < 0:
            self._break(stream, StreamAborted("its caller has given up"))

    def on_lost(self, handle: Handle, reason: str, before: int | None = None) -> int:
        """The peer is gone, or has given this node up: what there was between us is over.

        With ``before`` that of an older era of the peer is. Returns how many streams that were.
        """
        lost = [
            stream
            for stream in self._open.values()
            if stream.handle is handle and (before is None or stream.peer_era < before)
        ]
        for stream in lost:
            error = PeerLost(f"the stream {stream.name!r}: {reason}")
            self._break(stream, error, is_loss=True)
        return len(lost)

    def _break(self, stream: Stream, error: MeshError, *, is_loss: bool = False) -> None:
        stream.fail(error, is_loss=is_loss)
        self._forget(stream)

    def close(self) -> None:
        """Break all that there are."""
        self._is_closed = True
        opening = [stream for stream, _ in self._opening.values()]
        self._opening.clear()
        for stream in [*self._open.values(), *opening]:
            self._break(stream, NodeClosed("the node was closed while the stream was open"))

    def __len__(self) -> int:
        return len(self._open) + len(self._opening)

    @property
    def era(self) -> int:
        """This node's."""
        return self._port.era

    # What leaves.

    def ready(self, stream: Stream) -> None:
        """It may have something that can leave."""
        if stream.handle is not None and not stream.is_queued:
            stream.is_queued = True
            self._port.stream_ready(stream.handle, stream)

    def tell(self, stream: Stream, message: list[Any]) -> None:
        """Send a message of the stream ahead of all data."""
        if stream.handle is not None:
            self._port.tell_stream(stream.handle, self.pack(message))

    # What arrives.

    def on_messages(self, handle: Handle, entries: Iterable[Any]) -> int:
        """The messages of one frame, in order; returns how many were malformed."""
        malformed = 0
        for entry in entries:
            try:
                number, kind = entry[0], entry[1]
                stream = self._open.get((handle.id, number)) or self._early(handle, number)
                if stream is None:
                    self._on_stale(handle, number, kind)
                elif kind in m.DATA_KINDS:
                    stream.on_data(kind, entry[2])
                elif kind == m.CREDIT:
                    stream.on_credit(entry[2])
                elif kind == m.END:
                    stream.on_end(entry[2], _failure(handle, entry[3:6]))
                elif kind == m.STOP:
                    stream.on_stop()
                elif kind == m.ABORT:
                    self._on_abort(stream, handle, entry[2])
                else:
                    malformed += 1
            except _MALFORMED:
                malformed += 1
        return malformed

    def _early(self, handle: Handle, number: object) -> Stream | None:
        """The stream that this peer may have accepted, though its answer is not here yet."""
        if type(number) is not int or (found := self._opening.get(-number)) is None:
            return None
        stream, opening = found
        return stream if opening.handle is handle else None

    def _on_stale(self, handle: Handle, number: Any, kind: Any) -> None:
        """For a stream that is over here; or that its opener gives up, and that will come yet."""
        self.stale += 1
        if kind == m.ABORT and type(number) is int and number > 0:
            self._called_off[handle.id, number] = True
            if len(self._called_off) > MAX_CALLED_OFF:
                del self._called_off[next(iter(self._called_off))]

    def _on_abort(self, stream: Stream, handle: Handle, text: object) -> None:
        shown = text[:MAX_TEXT_CHARS] if isinstance(text, str) else ""
        error = StreamAborted(f"the stream {stream.name!r} was aborted by {handle.peer}: {shown}")
        self._break(stream, error)

    def unpack(self, stream: Stream, data: bytes | bytearray) -> Any:
        """The value of a message. Raises BadPayload, and the stream is over: what cannot be
        decoded is lost, and nobody shall take the next for it."""
        try:
            return self._port.unpack(bytes(data))
        except ValueError as error:
            text = f"a message that cannot be decoded: {error}"
            self.abort(stream, text)
            raise BadPayload(f"the stream {stream.name!r}: {text}") from error


def _failure(handle: Handle, fields: list[Any]) -> MeshError | None:
    """What a handler at the other side has raised."""
    if not fields:
        return None
    kind, text, trace = (f[:MAX_TEXT_CHARS] if isinstance(f, str) else "" for f in fields)
    return RemoteError(kind, text, trace, handle.peer)
