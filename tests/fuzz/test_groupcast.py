"""Groupcast's messages from a peer that says and sends whatever it likes.

Laws: nothing escapes but a reset of its own link; what is kept for it is bounded; and when it is
gone, those who are honest are served as if it had never been.
"""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mesh.engine.control import GOODBYE, GOODBYE_ACK
from mesh.engine.session import Session
from mesh.wire import frames
from mesh.wire.codec import Codec
from patterns.groupcast import casts as k
from patterns.groupcast.sources import MAX_CREDIT
from patterns.names import group_subject, queue_pool
from tests.sim import Simulation
from tests.sim.groupcast import unfinished

SETTINGS = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))

CREW, BILLING = group_subject("crew"), queue_pool("billing")
POOLS = [CREW, BILLING, group_subject("other"), group_subject("*"), "", "x" * 300]
NUMBERS = [
    0,
    1,
    2,
    3,
    5,
    7,
    100,
    4096,
    4097,
    2**16,
    2**31,
    2**32,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
]
KINDS = [k.WANT, k.GRANT, k.RETURN, k.DONE, k.BACK, k.HELD, k.CHECK, k.RECALL, 10, 23]

numbers = st.sampled_from(NUMBERS) | st.integers(0, 20)
small = st.integers(0, 12)
texts = st.sampled_from(POOLS) | st.text(max_size=5)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=20)
    | texts
    | numbers
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
ranges = st.lists(small | numbers, max_size=6) | st.lists(values, max_size=4)
fields_of = {
    k.WANT: st.tuples(texts, numbers, numbers, small),
    k.GRANT: st.tuples(texts, small, numbers),
    k.RETURN: st.tuples(texts, small, numbers, numbers),
    k.DONE: st.tuples(ranges),
    k.BACK: st.tuples(small | numbers, ranges, st.binary(max_size=20)),
    k.HELD: st.tuples(small, numbers, ranges, ranges),
    k.CHECK: st.tuples(numbers, numbers),
    k.RECALL: st.tuples(texts, small),
    10: st.tuples(numbers),
    23: st.tuples(values),
}
shaped = st.sampled_from(KINDS).flatmap(lambda kind: fields_of[kind].map(lambda f: [kind, *f]))
shapeless = st.tuples(st.sampled_from(KINDS), st.lists(values, max_size=5)).map(
    lambda pair: [pair[0], *pair[1]]
)
controls = st.tuples(st.just("control"), shaped | shaped | shapeless | values)

cast_fields = st.tuples(
    texts,
    values,
    st.just({}) | values,
    st.integers(0, 7) | values,
    st.none() | st.text(max_size=3) | st.integers(-(2**63), 2**64 - 1) | values,
    st.sampled_from(["a.b", "a", "x" * 400]) | values,
)
entries = st.tuples(cast_fields, st.integers(0, 6)).map(lambda pair: list(pair[0][: pair[1]]))
casts = st.tuples(
    st.just("casts"),
    numbers,
    st.lists(entries | values | st.just([CREW, 1]), max_size=5),
    st.integers(-1, 1),
    st.binary(max_size=3),
)
waits = st.tuples(st.just("wait"), st.sampled_from([0.0, 0.01, 1.1, 2.5]))
steps = st.lists(controls | controls | casts | waits, max_size=25)


class Scene:
    """A member that also sends, an honest node, and one that is not."""

    def __init__(self, *, is_reading: bool = False) -> None:
        self.sim = Simulation()
        self.node, self.honest, self.liar = self.sim.meshed(3)
        self.handled: list[Any] = []
        self.caught: list[str] = []
        handler = None if is_reading else self.handle
        self.node.member("crew", handler, inline=True)
        self.liar.member("crew", lambda message: None, inline=True)
        self.node.subscribe("a.*", self.handle, group="billing")
        self.sim.run(1.1)
        self.codec = Codec()
        for number in range(20):
            self.node.groupcast("crew", number)
        self.sim.run(0.01)

    def handle(self, message: Any) -> None:
        """What a handler relies on; the node would only log what is raised here."""
        is_right = (
            isinstance(message.headers, dict)
            and isinstance(message.redelivered, bool)
            and message.group in ("crew", "billing")
            and (message.subject is None) is (message.kind == "groupcast")
        )
        if not is_right:
            self.caught.append(repr(message))
        self.handled.append(message.data)

    @property
    def session(self) -> Session:
        """The liar, as the node knows it."""
        return self.node.engine._core.sessions[self.liar.config.id]

    def say(self, message: Any) -> None:
        """A control message on its link; what cannot travel is not said."""
        session = self.session
        if session.inbox.link is not None:
            self.node.engine._control.on_entries(session, session.inbox.link, [message])
            self.node.engine._core.flush()

    def send(self, first: int, entries: list[Any], off: int, tail: bytes) -> None:
        """A work frame on the link that is up, with any numbers."""
        session = self.session
        link = session.outbox.link
        body = b"".join(self.codec.pack(entry) for entry in entries) + tail
        count = max(0, len(entries) + off)
        header = frames.pack_link(
            self.node.config.id, link or 0, frames.CAST, self.liar.config.id, first, count
        )
        engine = self.node.engine
        engine.begin_drain()
        engine.on_work_frame(header + body)
        engine.end_drain()

    def play(self, steps: list[Any]) -> None:
        # Without this no wish of the liar counts, and nearly all is refused at the door.
        era = self.node.engine._work.receiver._sources[self.session].era
        self.say([k.WANT, CREW, 8, 0, era])
        for what, *rest in steps:
            if what == "control":
                message = rest[0]
                if isinstance(message, list) and message[:1] == [k.WANT] and len(message) == 5:
                    message = [*message[:4], era if message[4] == 0 else message[4]]
                self.say(message)
            elif what == "casts":
                self.send(*rest)
            else:
                self.sim.run(rest[0])
            self.check_bounds()

    def check_bounds(self) -> None:
        receiver, sender = self.node.engine._work.receiver, self.node.engine._work.sender
        for source in receiver._sources.values():
            assert len(source.open) <= 2 * MAX_CREDIT
            assert sum(map(len, source.back.values())) <= 2 * MAX_CREDIT
            assert len(source.parked) <= 2 * MAX_CREDIT
        assert set(receiver._pools) <= {CREW, BILLING}
        assert len(sender.lines.groups) <= 3
        assert sender.unacked <= 20

    def check_honest(self) -> None:
        """With the liar gone all is as it should be."""
        self.sim.kill(self.liar)
        self.sim.run(3.0)
        self.handled.clear()
        data = [f"honest {number}" for number in range(30)]
        waiters = [self.honest.groupcast("crew", one) for one in data]
        self.sim.run(5.0)
        assert [waiter.error for waiter in waiters] == [None] * 30
        assert [one for one in self.handled if str(one).startswith("honest")] == data
        self.sim.until(lambda: not unfinished(self.honest), 10.0)
        self.sim.until(lambda: not unfinished(self.node), 10.0)


@SETTINGS
@given(steps)
@example([("control", [k.HELD, 1, 2**62, [], []])])
@example([("control", [k.GRANT, CREW, 1, 2**62]), ("wait", 2.5)])
@example([("control", [k.CHECK, 2**62, 0]), ("wait", 1.1), ("control", [k.CHECK, 2**62, 0])])
@example([("casts", 2**62, [[CREW, 1]], 0, b"")])
@example([("control", [k.DONE, [0, 2**62]])])
@example([("control", [GOODBYE_ACK])])
@example([("control", [GOODBYE])])
@example([("control", [k.BACK, 0, [0, 20], b""])] * 5)
@example([("control", [k.BACK, 1, [0, 20], b""])] * 5)
@example([("control", [k.BACK, 4, [0, 20], b""])] * 25)
def test_whatever_a_peer_says_or_sends_others_are_served(steps: list[Any]) -> None:
    scene = Scene()
    scene.play(steps)
    scene.check_honest()
    assert not scene.caught


@pytest.fixture(scope="module")
def reader() -> Scene:
    """One whose liar has credit, and keeps it: all examples are its next casts."""
    scene = Scene()
    for desk in scene.node.engine._work.receiver._desks.values():
        desk.worklist.took(0.0, 1)
    for pool in (CREW, BILLING):
        era = scene.node.engine._work.receiver._sources[scene.session].era
        scene.say([k.WANT, pool, 1000, 0, era])
    return scene


@settings(SETTINGS, max_examples=500)
@given(some=st.lists(entries | values, min_size=1, max_size=8), plain=st.integers(0, 8))
def test_any_entries_within_the_credit_are_handled_or_given_back(
    reader: Scene, some: list[Any], plain: int
) -> None:
    source = reader.node.engine._work.receiver._sources[reader.session]
    some = [[CREW, number] for number in range(plain)] + some
    reader.caught.clear()
    first = source.expected
    assert first is not None
    reader.send(first, some, 0, b"")
    reader.sim.run(0.001)
    assert source.expected == first + len(some)
    assert not source.open
    assert not source.back
    assert not reader.caught


@pytest.mark.parametrize("is_reading", [False, True])
def test_a_peer_that_wants_and_sends_without_end_costs_a_bounded_amount(is_reading: bool) -> None:
    scene = Scene(is_reading=is_reading)
    era = scene.node.engine._work.receiver._sources[scene.session].era
    first = 0

    def flood(rounds: int) -> None:
        nonlocal first
        for number in range(rounds):
            scene.say([k.WANT, CREW, 2**40, 0, era])
            scene.say([k.WANT, f"_mesh.g.x{number}", 2**40, 0, era])
            scene.say([k.CHECK, first + 50, 0])
            scene.send(first, [[CREW, bytes(1000)]] * 50, 0, b"")
            first += 50
            scene.sim.run(0.01)
        scene.handled.clear()
        gc.collect()

    flood(100)
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    flood(600)
    grown = sum(stat.size_diff for stat in tracemalloc.take_snapshot().compare_to(before, "lineno"))
    tracemalloc.stop()
    assert grown < 4_000_000, "30 MB were sent"


def test_the_node_that_is_lied_to_is_named(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.say([k.DONE, ["nonsense"]])
    assert scene.node.engine.counters["link_resets"] == 1
    assert any(scene.liar.name in record.getMessage() for record in caplog.records)
