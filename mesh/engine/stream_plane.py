"""The streams of an engine: opened by calls, carried by the link.

Here the pure parts meet: ``patterns.streams`` decides, a ``StreamLane`` for each peer carries, the
calls find the peer. See ``patterns.streams.desk`` for the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesh.engine import control as c
from mesh.engine.core import Core
from mesh.engine.local import LocalSession
from mesh.engine.session import Session
from mesh.engine.stream_lane import StreamLane
from mesh.wire.frames import BadFrame, LinkHeader
from patterns.errors import CallTimeout, MeshError, PeerLost
from patterns.port import Runner, Waiter
from patterns.rpc import CallOptions, RpcClient, RpcServer
from patterns.streams import MAX_STREAMS_PER_PEER, Stream, Streams, StreamServer
from patterns.streams.method import shown_name

__all__ = ["StreamPlane"]


MAX_URGENT = 8 * MAX_STREAMS_PER_PEER
"""Messages that wait to go ahead of data to one peer: some for each stream that it may have here.
One that opens streams, breaks their rules and takes no answer would have us keep all of these."""


class StreamPlane:
    """The port of streams, their frames, and their opening."""

    def __init__(
        self, core: Core, local: LocalSession, client: RpcClient, server: RpcServer, runner: Runner
    ) -> None:
        self._core = core
        self._client = client
        self.pack = core.codec.pack
        self.count = core.count
        self.streams = Streams(self)
        server.streams = StreamServer(self.streams, runner)
        local.streams = LocalStreamLane(local, self.streams)

    # The port.

    def unpack(self, entry: bytes) -> Any:
        return self._core.codec.unpack_all(entry, 1)[0]

    @property
    def era(self) -> int:
        return self._core.era

    def peer_era(self, handle: Session) -> int:
        return handle.streams.arrivals.era

    def stream_ready(self, handle: Session, stream: Stream) -> None:
        handle.streams.add(stream)

    def tell_stream(self, handle: Session, entry: bytes) -> None:
        lane = handle.streams
        if len(lane.urgent) < MAX_URGENT:
            lane.tell(entry)
        else:
            self.count("streams_overrun")
            self.lost(handle, "it takes no messages of streams any more")

    # Opening.

    def open(
        self,
        call: Any,
        name: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: CallOptions,
        window: int,
        waiter: Waiter,
        until: float | None,
    ) -> Stream:
        """Ask for a stream; ``waiter`` ends with it once it is accepted. Raises as a call does."""
        window = self.streams.room(window)
        options = options.for_stream([window, self.era])
        opening = _Opening(self.streams, waiter)
        number = call(name, args, kwargs, options, opening, until)
        stream = Stream(
            self.streams, number, shown_name(name), window, options.headers or {}, options.key
        )
        opening.stream = stream
        self.streams.begin(stream, self._client.pending(number))
        return stream

    def abandon(self, stream: Stream) -> None:
        """Nobody waits for it to be opened any more."""
        self._client.cancel(stream.id)
        self.streams.refused(stream, may_be_taken=True)
        self.streams.abort(stream, "its opener has given up")

    # Frames and control messages.

    def on_frame(self, session: Session, header: LinkHeader, body: memoryview) -> None:
        """Messages on the present link. Raises BadFrame for what makes no sense there."""
        core = self._core
        entries = core.codec.unpack_all(body, header.count)
        if not entries or type(entries[0]) is not int or entries[0] < 1:
            raise BadFrame("a frame of streams begins with its era")
        era, messages = entries[0], entries[1:]
        lane = session.streams
        arrivals = lane.arrivals
        if era < arrivals.era:
            core.count("stale_frames")
            return
        if not arrivals.era and header.first:
            # We knew it once, and have forgotten: nothing of that is left here.
            session.control(c.STREAMS_LOST, era)
            return
        if arrivals.begins(era):
            self.streams.on_lost(session, "the other node had given this one up", before=era)
        known = arrivals.receive(header.first, len(messages))
        if known is None:
            raise BadFrame(f"messages of streams are missing before {header.first}")
        lane.arrived()
        malformed = self.streams.on_messages(session, messages[known:])
        if malformed:
            core.count("bad_entries", malformed)

    def on_control(self, session: Session, kind: int, fields: list[Any]) -> None:
        """STREAM_ACK and STREAMS_LOST."""
        lane = session.streams
        if kind == c.STREAM_ACK:
            if not lane.on_ack(fields[0], fields[1]):
                self._core.count("bad_acks")
        elif fields[0] == lane.outgoing.era:
            self.lost(session, "the other node has forgotten this one")

    def close(self) -> None:
        """Break all streams, and open no more."""
        self.streams.close()

    def lost(self, session: Session, reason: str) -> None:
        """The peer is given up: all between us is over."""
        lane = session.streams
        # Also where nothing was sent as yet: the peer may have streams that are open to us.
        if self.streams.on_lost(session, reason) or lane.is_in_use:
            lane.reset()


class LocalStreamLane(StreamLane):
    """Streams of a node to itself: packed and decoded like any other."""

    __slots__ = ("_streams",)

    def __init__(self, session: Session, streams: Streams) -> None:
        super().__init__(session)
        self._streams = streams

    def flush(self) -> None:
        now = self.session.core.clock.now()
        entries = self._frame(now)
        # It is there as it leaves.
        self.outgoing.acknowledge(self.outgoing.era, self.outgoing.next_number, now)
        if entries:
            unpack = self.session.core.codec.unpack_all
            self._streams.on_messages(self.session, unpack(b"".join(entries), len(entries)))
            self.mark()


class _Opening:
    """Where the outcome of the call goes that opens a stream."""

    __slots__ = ("_streams", "_waiter", "stream")

    stream: Stream

    def __init__(self, streams: Streams, waiter: Waiter) -> None:
        self._streams = streams
        self._waiter = waiter

    def done(self) -> bool:
        """Never: a stream that nobody waits for must be ended."""
        return False

    def set_result(self, window: Any) -> None:
        try:
            self._streams.accepted(self.stream, window)
        except MeshError as error:
            self.set_exception(error)
            return
        if self._waiter.done():
            self._streams.abort(self.stream, "its opener has given up")
        else:
            self._waiter.set_result(self.stream)

    def set_exception(self, error: BaseException) -> None:
        is_open_question = isinstance(error, CallTimeout | PeerLost)
        self._streams.refused(self.stream, may_be_taken=is_open_question)
        if not self._waiter.done():
            self._waiter.set_exception(error)
