"""Whole engines, in memory: a member says and sends what it likes to a node with an honest friend.

An input is a frame, and its first bytes say of which kind and for which socket. A link that makes
no sense is reset, which takes the time of joining anew; here the reset is only counted, so that
what follows meets a link that is up, and a scene is made anew when the liar has left by it. At the
end of a scene the friend is served as if nothing had been.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any

from mesh.engine import control as c
from mesh.wire import frames
from mesh.wire.codec import Codec
from patterns import messages as m
from patterns.groupcast import casts as k
from patterns.groupcast.sources import MAX_CREDIT
from patterns.streams import MIN_WINDOW_BYTES, Stream
from patterns.streams import messages as s
from tests.fuzz.campaign.target import Target, place_of
from tests.fuzz.campaign.targets.patterns import CONTROLS, REPLIES, REQUESTS
from tests.sim import Simulation

__all__ = ["TARGETS"]

STREAM = 5
"""The number of the liar's stream."""

ERA = 1
"""Of its messages of streams."""

SCENE_INPUTS = 1000
"""Inputs until a scene is made anew, and its friend asked."""

LARGEST = 2**64 - 1

codec = Codec()


class Scene:
    """``node`` is the one under test."""

    def __init__(self) -> None:
        self.sim = Simulation()
        self.node, self.honest, self.liar = self.sim.meshed(3)
        self.inputs = 0
        self.resets: dict[Hashable, None] = {}
        """What of this input would have reset the link."""
        self.node.member("crew", lambda message: None, inline=True)
        self.node.subscribe("a.*", lambda message: None, group="billing")
        self.node.hear(">")
        self.node.subscribe(">", policy="latest", buffer=10)
        self.node.subscribe("a.>", buffer=10)
        self.node.serve("add", lambda a, b=0: a + b, service="calc")
        self.node.serve("echo", lambda value: value, service="calc")
        self.liar.serve("add", lambda a, b=0: a + b, service="theirs")
        self.sim.run(0.5)
        self.node.engine._control.reset = self._count_reset  # type: ignore[method-assign]
        self.session = self.node.engine._core.sessions[self.liar.config.id]
        source = self.node.engine._work.receiver._sources[self.session]
        self.control([k.WANT, CONTROLS[18][1], 1000, 0, source.era])
        self.next_message = self.session.inbox.expected or 0
        self.stream: Stream | None = None
        self.renew_stream()

    def renew_stream(self) -> None:
        """The liar has a stream open, always under the same number, and nobody reads it."""
        if self.stream is None or self.stream.error is not None or self.stream.is_ended:
            streams = self.node.engine.streams.streams
            streams.give_up(self.session.id, STREAM)
            streams._called_off.clear()
            windows, era = (
                (MIN_WINDOW_BYTES, MIN_WINDOW_BYTES),
                streams._port.peer_era(self.session),
            )
            self.stream = streams.accept(self.session, STREAM, "files", windows, {}, None, era)
            self.stream.offer_message(codec.pack("hello"))

    def _count_reset(self, session: Any, error: BaseException) -> None:
        self.resets[place_of(error)] = None

    @property
    def is_over(self) -> bool:
        gone = not self.session.is_joined or self.session.dial is None
        return gone or self.inputs >= SCENE_INPUTS

    def control(self, *entries: Any) -> None:
        session = self.session
        if session.inbox.link is not None:
            self.node.engine._control.on_entries(session, session.inbox.link, entries)
            self.node.engine._core.flush()

    def take(self, give: Callable[[Any], None]) -> None:
        self.inputs += 1
        self.renew_stream()
        engine = self.node.engine
        engine.begin_drain()
        try:
            give(engine)
        finally:
            engine.end_drain()
        if not self.inputs % 64:
            self.sim.run(0.01)

    def check(self) -> None:
        """What is kept for the liar is bounded."""
        core = self.node.engine._core
        receiver = self.node.engine._work.receiver
        assert len(core.counters) < 60
        assert len(self.session.routes) <= 16
        for source in receiver._sources.values():
            assert len(source.open) <= 2 * MAX_CREDIT
            assert sum(map(len, source.back.values())) <= 2 * MAX_CREDIT
        assert len(core.sessions) <= 4096
        assert self.stream is not None
        assert sum(len(data) for _, data in self.stream._buffer) <= MIN_WINDOW_BYTES
        assert len(self.session.streams.urgent) < 100

    def end(self) -> None:
        """The liar dies; the friend is there, and is served."""
        self.sim.kill(self.liar)
        self.sim.run(1.0)
        assert self.node.knows(self.honest)
        assert self.sim.outcome(self.honest.call("calc.add", 1, 2)) == 3
        heard = self.honest.hear("b.c")
        self.sim.run(0.5)
        self.node.publish("b.c", "there?")
        self.sim.run(0.5)
        assert [message.data for message in heard] == ["there?"]


class Stage:
    """The scene that is, for one target. ``give(scene, data)`` plays an input."""

    def __init__(self, give: Callable[[Scene, bytes], None]) -> None:
        self._give = give
        self._scene: Scene | None = None

    def play(self, data: bytes) -> Hashable:
        logging.disable(logging.CRITICAL)
        scene = self._scene
        if scene is None or scene.is_over:
            if scene is not None:
                scene.end()
            scene = self._scene = Scene()
        counters = self._changes(scene, data)
        scene.check()
        return counters

    def _changes(self, scene: Scene, data: bytes) -> Hashable:
        """Which of the counters it moved: another set is another way to end."""
        before = dict(scene.node.engine._core.counters)
        scene.resets.clear()
        self._give(scene, data)
        after = scene.node.engine._core.counters
        moved = frozenset(name for name, count in after.items() if count != before.get(name))
        return moved, frozenset(scene.resets), scene.is_over


def link_frame(scene: Scene, data: bytes) -> None:
    """A kind, a count and whether the number fits, then the body: a frame of the liar's link."""
    kind, count, hint = (*data[:3], 0, 0, 0)[:3]
    session = scene.session
    link = session.inbox.link or 0
    first = session.inbox.expected or 0
    if kind == frames.STREAM:
        first = session.streams.arrivals.expected
    if hint == 1:
        first += count
    elif hint == 2:
        first = 0
    elif hint == 3:
        link += 1
    first &= LARGEST  # what it said of itself may have brought it beyond
    header = frames.pack_link(scene.node.config.id, link, kind, scene.liar.config.id, first, count)
    body, _, payload = data[3:].partition(b"||payload||")
    if not kind & frames.IN_PARTS:
        payload = b""
    dial = session.dial
    scene.take(lambda engine: engine.on_link_frame(dial, header + body, payload))


def stranger_frame(scene: Scene, data: bytes) -> None:
    """A whole frame, with any header, on that connection."""
    dial = scene.session.dial
    scene.take(lambda engine: engine.on_link_frame(dial, data, b""))


def request_frame(scene: Scene, data: bytes) -> None:
    kind, count = (*data[:2], 0, 0)[:2]
    header = frames.pack_data(kind, scene.liar.config.id, scene.node.config.id, 0, count)
    scene.take(lambda engine: engine.on_request_frame(b"route", header + data[2:]))


def reply_frame(scene: Scene, data: bytes) -> None:
    """Replies to calls that are in flight at the liar, whose ids the inputs do not know."""
    waiter = scene.node.call("theirs.add", 1, 2, timeout=0.5)
    scene.node.engine._core.flush()
    lane = scene.session.lane.lane
    if lane is None or waiter.done():
        return
    kind, count = (*data[:2], 0, 0)[:2]
    header = frames.pack_data(kind, scene.liar.config.id, scene.node.config.id, 0, count)
    call_id = scene.node.engine._client._last_id
    body = data[2:].replace(b"\xcd\x7f\x01", b"\xce" + call_id.to_bytes(4, "big"))
    scene.take(lambda engine: engine.on_reply_frame(lane, header + body))


def work_frame(scene: Scene, data: bytes) -> None:
    kind, count, hint = (*data[:3], 0, 0, 0)[:3]
    session = scene.session
    source = scene.node.engine._work.receiver._sources.get(session)
    first = (source.expected or 0) if source is not None else 0
    if hint == 1:
        first += count
    link = (session.outbox.link or 0) + (hint == 3)
    header = frames.pack_link(scene.node.config.id, link, kind, scene.liar.config.id, first, count)
    scene.take(lambda engine: engine.on_work_frame(header + data[3:]))


def topic(scene: Scene, data: bytes) -> None:
    """A string at the link socket, as the transport tells of it."""

    def give(engine: Any) -> None:
        hello = frames.unpack_hello(data)
        if hello is None:
            engine.on_info(data)
        elif hello[0] != scene.liar.config.id:
            link = frames.link_number(hello[1], scene.inputs)
            engine.on_hello(hello[0], link)
            if scene.inputs % 3:
                engine.on_info(INFO[:1] + hello[0] + INFO[17:])
            if scene.inputs % 2:
                engine.on_bye(hello[0], link)

    scene.take(give)


def entries(kind: int, *bodies: Any, hint: int | None = 0) -> bytes:
    head = [kind, len(bodies)] + ([] if hint is None else [hint])
    return bytes(head) + b"".join(map(codec.pack, bodies))


def chunk(kind: int, id: int, entry: Any) -> bytes:
    """A parcel of one chunk."""
    piece = codec.pack(entry)
    return bytes([frames.CHUNK, 0, 0]) + frames.pack_chunk(kind, id, len(piece), 0) + piece


INFO = frames.pack_info(bytes(16), {"v": 1, "mesh": "mesh", "link": ["10.9.9.9:7000"], "rpc": 7001})
CREW = CONTROLS[18][1]
LINK_FRAMES = (
    *(entries(frames.CONTROL, control) for control in CONTROLS if control[0] != c.GOODBYE),
    entries(frames.CONTROL, [c.PING, 1], [c.ACK, 1, 0]),
    entries(frames.PUBLISH, ["a.b", 1], ["a.b", {"x": [1, 2]}, {"h": "v"}]),
    entries(frames.SEND, ["a.b", None]),
    entries(frames.BROADCAST, [CREW, "hello"]),
    entries(frames.PUBLISH | frames.IN_PARTS, ["a.b", None]) + b"||payload||" + b"x" * 40,
    chunk(frames.PUBLISH, 1, ["a.b", 1]),
    chunk(frames.REQUEST, 2, [7, "calc.add", 9000, [1, 2]]),
    chunk(frames.CANCEL, 3, 7),
    entries(frames.PARCEL, 1),
    *(
        entries(frames.STREAM, ERA, [STREAM, *message])
        for message in (
            [s.WHOLE, b"\x01"],
            [s.PART, b"\x92"],
            [s.BYTES, b"abc"],
            [s.CREDIT, 0],
            [s.END, {"t": "x"}],
            [s.END, {}, "E", "m", "t"],
            [s.STOP],
            [s.ABORT, "why"],
        )
    ),
    entries(frames.STREAM, ERA, [-1, s.WHOLE, b"\x01"], [STREAM, s.BYTES, b""]),
    entries(frames.STREAM, ERA + 1),
)  # fmt: skip
IN_FLIGHT = 0x7F01
"""Stands for the id of a call that is in flight."""

TARGETS = [
    Target(
        name,
        Stage(give).play,
        seeds,
        law=lambda data, result: result,
        packed_at=packed_at,
        is_costly=True,
    )
    for name, give, seeds, packed_at in (
        ("engine_link", link_frame, LINK_FRAMES, 3),
        (
            "engine_stranger",
            stranger_frame,
            (
                frames.pack_link(bytes(16), 1, frames.CONTROL, bytes(range(16)), 0, 1)
                + codec.pack(CONTROLS[0]),
                frames.pack_link(bytes(16), 1, frames.CONTROL, bytes(range(16)), 0, 1)
                + codec.pack(CONTROLS[2]),
            ),
            frames.LINK_HEADER_SIZE,
        ),
        (
            "engine_requests",
            request_frame,
            (
                *(entries(frames.REQUEST, *some, hint=None) for some in REQUESTS),
                entries(frames.CANCEL, 1, 2, hint=None),
                entries(frames.REFUSED, hint=None),
            ),
            2,
        ),
        (
            "engine_replies",
            reply_frame,
            (
                entries(frames.REPLY, [IN_FLIGHT, m.STATUS_OK, 3], hint=None),
                entries(frames.REPLY, [IN_FLIGHT, m.STATUS_ERROR, "E", "m", "t"], hint=None),
                entries(frames.REFUSED, hint=None),
                *(entries(frames.REPLY, *some, hint=None) for some in REPLIES),
            ),
            2,
        ),
        (
            "engine_work",
            work_frame,
            (
                entries(frames.CAST, [CREW, 1], [CREW, 2]),
                entries(frames.CAST, [CREW, 1, {"h": "v"}, k.FLAG_REDELIVERED, "key"]),
                entries(frames.CAST, ["_mesh.q.billing", 1, {}, 0, None, "a.b"]),
            ),
            3,
        ),
        ("engine_topics", topic, (INFO, frames.pack_hello(bytes(range(16)), 7)), 17),
    )
]
