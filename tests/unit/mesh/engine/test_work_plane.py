"""The work plane: which frames count, what is sent where, and what a control message may do."""

from __future__ import annotations

import contextlib
from typing import Any, cast

import msgpack
import pytest

from mesh.engine import control as c
from mesh.engine.config import MAX_PAYLOAD_BYTES
from mesh.engine.liveness import Liveness
from mesh.engine.local import LocalSession
from mesh.engine.rings import Rings
from mesh.engine.session import Session
from mesh.engine.work_plane import WorkPlane
from mesh.membership import State
from mesh.testing.clock import ProcessClock
from mesh.testing.world import EPOCH
from mesh.wire import frames
from mesh.wire.frames import BadFrame
from patterns.errors import PayloadTooLarge
from patterns.groupcast import casts as k
from patterns.names import group_subject
from patterns.pubsub import PubSub
from patterns.subscription import Subscription
from tests.sim.runner import SimRunner
from tests.unit.mesh.engine.harness import joined, make_core, run

CREW = group_subject("crew")
PEER, OTHER = b"p" * 16, b"o" * 16
LINK = 7


class FakeLane:
    def __init__(self, address: str) -> None:
        self.address = address
        self.owner: Any = None
        self.is_connected = False
        self.is_closed = False
        self.frames: list[bytes] = []


class Port:
    """What publish/subscribe needs; nothing is published here."""

    now = staticmethod(lambda: 0.0)

    def call_later(self, *args: Any) -> Any: ...

    def send(self, *args: Any) -> None: ...


class Plane:
    """A work plane with two joined peers. ``lanes`` are the work connections that it made."""

    def __init__(self) -> None:
        self.core, self.clock, transport = make_core()
        self.transport = cast(Any, transport)
        self.lanes: list[FakeLane] = []
        self.has_descriptors = True
        self.transport.open_work_lane = self.open
        self.transport.send_work = self.send
        self.transport.close_lane = lambda lane: setattr(lane, "is_closed", True)
        self.liveness = Liveness(self.core, lambda *change: None, lambda session: None)
        self.local = LocalSession(self.core, EPOCH)
        self.local.deliver_control = self.deliver_local
        self.pubsub = PubSub(Port(), self.local, *[lambda *a: None] * 3)
        self.rings = Rings(self.core, self.local)
        self.plane = WorkPlane(
            self.core, self.local, self.liveness, self.rings, self.pubsub, lambda: 0.0
        )
        self.runner = SimRunner(ProcessClock(self.clock))
        self.peer = self.join(PEER)
        self.other = self.join(OTHER)
        self.got: list[Any] = []

    def join(self, id: bytes) -> Session:
        session = joined(self.core, id, link=LINK)
        session.inbox.open(LINK, 0)
        self.plane.link_opened(session)
        session.flush()
        self.transport.sent.clear()
        return session

    def open(self, address: str, id: bytes = b"") -> FakeLane:
        if not self.has_descriptors:
            raise OSError("no descriptor is left")
        self.lanes.append(FakeLane(address))
        return self.lanes[-1]

    def send(self, lane: FakeLane, frame: bytes) -> bool:
        if lane.is_connected:
            lane.frames.append(frame)
        return lane.is_connected

    def deliver_local(self, session: Session, link: int, entries: list[Any]) -> None:
        for entry in entries:
            checked = c.check_control(entry)
            assert checked is not None
            self.plane.on_control(session, link, *checked)

    # As a member.

    def serve(self, *, inline: bool = True) -> None:
        """A handler of the group."""
        made = Subscription(
            CREW, self.runner, handler=lambda m: self.got.append(m.data), inline=inline
        )
        self.plane.receiver.add(made)
        self.pubsub.subscribe(made)
        self.core.record.want(CREW)

    def lend(self, wish: int = 10) -> None:
        """Let the peer have credit."""
        for desk in self.plane.receiver._desks.values():
            desk.worklist.took(0.0, 1)
        era = self.plane.receiver._sources[self.peer].era
        self.say(k.WANT, CREW, wish, 0, era)
        run(self.clock, 0)

    def say(self, kind: int, *fields: Any, link: int = LINK, by: Session | None = None) -> None:
        checked = c.check_control([kind, *fields])
        assert checked is not None
        self.plane.on_control(by or self.peer, link, *checked)

    def frame(
        self,
        *entries: Any,
        first: int = 0,
        receiver: bytes = bytes(16),
        link: int = LINK,
        kind: int = frames.CAST,
        sender: bytes = PEER,
        count: int | None = None,
        body: bytes | None = None,
    ) -> None:
        if body is None:
            body = b"".join(self.core.codec.pack(entry) for entry in entries)
        number = len(entries) if count is None else count
        header = frames.pack_link(receiver, link, kind, sender, first, number)
        self.plane.on_work_frame(header + body)
        self.plane.end_turn()

    def said(self, kind: int, to: Session | None = None) -> list[list[Any]]:
        """Control messages of a kind that a peer was sent so far."""
        session = to or self.peer
        session.flush()
        said: list[list[Any]] = []
        for frame in self.transport.sent:
            header = frames.unpack_link(frame)
            if header.receiver == session.id:
                body = frame[frames.LINK_HEADER_SIZE :]
                said += self.core.codec.unpack_all(body, header.count)
        return [fields for what, *fields in said if what == kind]

    # As a sender.

    def find(self, *sessions: Session) -> None:
        """They are members of the group."""
        for session in sessions:
            self.pubsub.add_interest(session, CREW)
        self.plane.sender.members_changed()

    def cast(self, data: Any = "x") -> Any:
        waiter = Waiter()
        self.plane.sender.wait(CREW, self.plane.pack((CREW, data)), None, 5.0, waiter)
        run(self.clock, 0)
        return waiter


class Waiter:
    result: Any = None

    def done(self) -> bool:
        return self.result is not None

    def set_result(self, result: Any, /) -> None:
        self.result = result

    def set_exception(self, exception: BaseException, /) -> None:
        self.result = exception


# Frames that come.


def test_casts_in_the_epoch_of_their_credit_are_handled_and_reported() -> None:
    plane = Plane()
    plane.serve()
    plane.lend()
    plane.frame([CREW, 1], [CREW, 2])
    assert plane.got == [1, 2]
    assert plane.said(k.DONE) == [[[0, 2]]]


@pytest.mark.parametrize(
    "wrong",
    [{"receiver": b"x" * 16}, {"sender": b"z" * 16}, {"link": LINK + 1}],
    ids=["for another node", "of a stranger", "of another link"],
)
def test_a_frame_that_was_meant_otherwise_is_discarded_and_counted(wrong: dict[str, Any]) -> None:
    plane = Plane()
    plane.serve()
    plane.lend()
    plane.frame([CREW, 1], **wrong)
    assert plane.got == []
    assert plane.core.counters == {"stale_frames": 1}
    plane.frame([CREW, 2])
    assert plane.got == [2]


@pytest.mark.parametrize(
    "wrong",
    [{"kind": frames.PUBLISH}, {"first": 2**63}, {"count": 5}, {"count": 0}, {"body": b"\xc1"}],
    ids=["kind", "number", "too few", "too many", "no msgpack"],
)
def test_a_malformed_frame_is_refused_and_counted(wrong: dict[str, Any]) -> None:
    plane = Plane()
    plane.serve()
    plane.lend()
    plane.frame([CREW, 1], **wrong)
    assert plane.got == []
    assert plane.core.counters == {"bad_frames": 1}


def test_bytes_that_are_no_frame_are_refused() -> None:
    plane = Plane()
    for frame in (b"", b"x", bytes(10), b"\x01" * 100):
        plane.plane.on_work_frame(frame)
    assert plane.core.counters == {"bad_frames": 4}


def test_one_cast_that_cannot_be_decoded_goes_back_and_its_neighbours_are_handled() -> None:
    plane = Plane()
    plane.serve()
    plane.lend()
    pack = plane.core.codec.pack
    bad = msgpack.packb([CREW, msgpack.ExtType(1, b"no date")])
    plane.frame(body=pack([CREW, 1]) + bad + pack([CREW, 3]), count=3)
    assert plane.got == [1, 3]
    assert plane.said(k.DONE) == [[[0, 1, 2, 1]]]
    assert [(reason, ranges) for reason, ranges, _ in plane.said(k.BACK)] == [
        (k.BACK_UNREADABLE, [1, 1])
    ]


def test_work_is_a_sign_of_life() -> None:
    plane = Plane()
    run(plane.clock, 3.0)
    plane.peer.pinged_at = plane.clock.now()
    plane.frame([CREW, 1])
    assert plane.peer.last_heard == plane.clock.now()
    assert plane.peer.pinged_at is None


# Frames that go.


def test_a_member_is_connected_to_at_its_work_port_when_it_is_asked_for_credit() -> None:
    plane = Plane()
    plane.find(plane.peer)
    assert plane.lanes == []
    plane.cast()
    assert [lane.address for lane in plane.lanes] == ["peer:3"]
    assert [fields[:2] for fields in plane.said(k.WANT)] == [[CREW, 1]]


def test_casts_go_as_one_frame_that_names_the_link_of_their_credit() -> None:
    plane = Plane()
    plane.find(plane.peer)
    waiters = [plane.cast(number) for number in range(3)]
    plane.lanes[0].is_connected = True
    plane.say(k.GRANT, CREW, 1, 3)
    run(plane.clock, 0)
    assert [waiter.result.id for waiter in waiters] == [PEER.hex()] * 3
    (frame,) = plane.lanes[0].frames
    header = frames.unpack_link(frame, frames.MAX_DATA_FRAME_BYTES)
    assert header == (PEER, LINK, 1, frames.CAST, plane.core.id, 0, 3)
    body = frame[frames.LINK_HEADER_SIZE :]
    assert [e[1] for e in plane.core.codec.unpack_all(body, 3)] == [0, 1, 2]


def test_what_cannot_go_yet_goes_when_the_connection_is_there() -> None:
    plane = Plane()
    plane.find(plane.peer)
    plane.cast(1)
    plane.say(k.GRANT, CREW, 1, 1)
    run(plane.clock, 0)
    (lane,) = plane.lanes
    assert lane.frames == []
    assert plane.plane.sent_cast_number(plane.peer) == 0
    lane.is_connected = True
    plane.plane.on_work_ready(lane)
    assert len(lane.frames) == 1
    assert plane.plane.sent_cast_number(plane.peer) == 1
    assert plane.plane.next_cast_number(plane.peer) == 1


def test_many_bytes_are_several_frames_within_the_limit() -> None:
    plane = Plane()
    plane.find(plane.peer)
    size = 40_000
    for _ in range(10):
        plane.cast(bytes(size))
    plane.lanes[0].is_connected = True
    plane.say(k.GRANT, CREW, 1, 10)
    run(plane.clock, 0)
    headers = [
        frames.unpack_link(frame, frames.MAX_DATA_FRAME_BYTES) for frame in plane.lanes[0].frames
    ]
    assert sum(header.count for header in headers) == 10
    assert [h.first for h in headers] == [
        sum(x.count for x in headers[:i]) for i in range(len(headers))
    ]
    assert max(map(len, plane.lanes[0].frames)) <= 2 * size


def test_a_payload_above_the_limit_is_the_callers_error() -> None:
    plane = Plane()
    plane.plane.pack((CREW, bytes(MAX_PAYLOAD_BYTES - 100)))
    with pytest.raises(PayloadTooLarge, match="at most"):
        plane.plane.pack((CREW, bytes(MAX_PAYLOAD_BYTES)))


def test_a_member_that_is_gone_takes_its_connection_with_it() -> None:
    plane = Plane()
    plane.find(plane.peer, plane.other)
    plane.cast(1)
    plane.say(k.GRANT, CREW, 1, 1)
    run(plane.clock, 0)
    lane: Any = plane.peer.work.lane
    plane.pubsub.remove_interest(plane.peer, CREW)
    plane.plane.gone(plane.peer)
    assert lane is not None
    assert lane.is_closed
    assert lane.owner is None
    plane.plane.on_work_ready(lane)
    assert plane.plane.sender.unacked == 1
    plane.say(k.GRANT, CREW, 1, 1, by=plane.other)
    run(plane.clock, 0)
    assert plane.other.work.queue.next_number == 1


def test_without_descriptors_the_others_are_asked_all_the_same() -> None:
    plane = Plane()
    plane.find(plane.other, plane.peer)
    plane.peer.work.prepare()
    plane.has_descriptors = False
    with contextlib.suppress(OSError):
        plane.cast()
    run(plane.clock, 0)
    assert plane.said(k.WANT), "who is connected"


# Control messages.


def test_grants_and_what_is_held_count_on_the_link_that_is_up_alone() -> None:
    plane = Plane()
    plane.find(plane.peer)
    waiter = plane.cast()
    plane.say(k.GRANT, CREW, 1, 5, link=LINK - 1)
    plane.say(k.HELD, 9, 0, [], [], link=LINK - 1)
    assert not waiter.done()
    assert plane.plane.sender._demand.eras.get(plane.peer) is None
    plane.say(k.GRANT, CREW, 1, 5)
    assert waiter.done()


def test_what_is_done_is_done_whatever_link_says_so() -> None:
    plane = Plane()
    plane.find(plane.peer)
    plane.cast()
    plane.say(k.GRANT, CREW, 1, 5)
    assert plane.plane.sender.unacked == 1
    plane.say(k.DONE, [0, 1], link=LINK - 1)
    assert plane.plane.sender.unacked == 0


@pytest.mark.parametrize(
    "message",
    [
        [k.DONE, [1]],
        [k.DONE, [0, 2**62]],
        [k.DONE, [[], {}]],
        [k.BACK, 0, ["a", "b"], b""],
        [k.BACK, 0, [0, 2**62], b""],
        [k.HELD, 1, 0, [1, "x"], []],
        [k.HELD, 1, 0, [], [None]],
        [k.GRANT, CREW, 1, 2**63],
        [k.WANT, CREW, 2**64 - 1, 0, 1],
        [k.CHECK, 2**63, 0],
        [k.RETURN, CREW, 1, 2**63, 0],
    ],
    ids=repr,
)
def test_nonsense_is_a_bad_frame(message: list[Any]) -> None:
    plane = Plane()
    plane.serve()
    plane.find(plane.peer)
    plane.cast()
    plane.say(k.GRANT, CREW, 1, 5)
    with pytest.raises(BadFrame):
        plane.say(*message)
    assert plane.plane.sender.unacked == 1


@pytest.mark.parametrize(
    "message",
    [
        [k.WANT, CREW, 1, 0, 1, "more"],
        [k.GRANT, CREW, 1, 1, "more"],
        [k.RETURN, CREW, 1, 0, 0, "more"],
        [k.DONE, [0, 1], "more"],
        [k.BACK, 0, [0, 1], b"", "more"],
        [k.HELD, 1, 0, [], [], "more"],
        [k.CHECK, 0, 0, "more"],
        [k.RECALL, CREW, 1, "more"],
    ],
    ids=repr,
)
def test_fields_that_a_newer_version_adds_are_ignored(message: list[Any]) -> None:
    plane = Plane()
    plane.serve()
    plane.find(plane.peer)
    plane.cast()
    plane.say(*message)


def test_questions_after_a_pause_are_not_those_of_liveness() -> None:
    plane = Plane()
    plane.serve()
    plane.lend()
    plane.plane.receiver.on_pause()
    ((number,),) = plane.said(c.PING)
    assert number >= 2**32
    plane.frame([CREW, 1])
    assert plane.got == []
    plane.say(c.PONG, 1)
    assert plane.got == []
    plane.say(c.PONG, number)
    assert plane.got == [1]


def test_a_question_is_asked_again_on_the_peers_new_link() -> None:
    plane = Plane()
    plane.serve()
    plane.lend()
    plane.plane.receiver.on_pause()
    assert len(plane.said(c.PING)) == 1
    plane.plane.link_opened_by_peer(plane.peer)
    assert len(plane.said(c.PING)) == 2


@pytest.mark.parametrize("has_left", [False, True])
def test_with_the_link_goes_what_was_not_begun_unless_its_sender_left(has_left: bool) -> None:
    plane = Plane()
    plane.serve(inline=False)
    plane.lend()
    plane.liveness._last_tick = -100.0
    plane.frame([CREW, 1])
    assert plane.got == []
    plane.peer.has_left = has_left
    plane.plane.link_lost(plane.peer)
    if has_left:
        plane.plane.gone(plane.peer)
    plane.liveness._last_tick = plane.clock.now()
    plane.plane.receiver.on_pause()
    for (number,) in plane.said(c.PING):
        plane.say(c.PONG, number)
    run(plane.clock, 0)
    assert plane.got == ([1] if has_left else [])


def test_without_a_link_nothing_is_said() -> None:
    plane = Plane()
    plane.find(plane.peer)
    plane.peer.outbox.close()
    plane.cast()
    assert plane.transport.sent == []


# This node itself.


def test_what_it_sends_to_itself_takes_the_same_way_without_a_socket() -> None:
    plane = Plane()
    plane.serve()
    plane.plane.link_opened(plane.local)
    run(plane.clock, 0)
    plane.find(plane.local)
    waiter = plane.cast({"own": 1})
    run(plane.clock, 0)
    assert plane.got == [{"own": 1}]
    assert waiter.result.id == plane.core.id.hex()
    assert plane.plane.sender.unacked == 0
    assert plane.lanes == []


# Who may get it, and who owns a key.


def test_observers_are_no_members() -> None:
    plane = Plane()
    plane.find(plane.peer, plane.other)
    assert plane.other.record is not None
    plane.other.record.is_observer = True
    assert plane.plane.members(CREW, None) == (plane.peer,)


def test_a_better_owner_is_one_that_comes_first_and_is_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plane = Plane()
    order = [plane.peer, plane.other, plane.local]
    monkeypatch.setattr(plane.rings, "group_owners", lambda group, key: order)
    assert plane.plane.better_owner(CREW, b"k") == PEER
    plane.core.membership.change(PEER, State.SUSPECT)
    assert plane.plane.better_owner(CREW, b"k") == OTHER
    order.insert(0, plane.local)
    assert plane.plane.better_owner(CREW, b"k") is None


def test_only_the_living_are_healthy_and_weight_is_what_the_record_says() -> None:
    plane = Plane()
    assert plane.plane.is_healthy(plane.peer)
    assert plane.plane.is_healthy(plane.local)
    plane.core.membership.change(PEER, State.SUSPECT)
    assert not plane.plane.is_healthy(plane.peer)
    assert plane.other.record is not None
    plane.other.record.weight = 2.5
    assert plane.plane.weight(plane.other) == 2.5
    assert plane.plane.weight(plane.local) == 1.0
