"""The simulated work plane behaves as the real one: see ``tests/net/test_work_plane.py``."""

from __future__ import annotations

from mesh.engine.ports import Lane
from mesh.testing.connections import Pipe
from mesh.testing.process import Process
from mesh.testing.transport import WORK_PORT, SimTransport
from tests.sim import Simulation

SOON = 0.01
RECONNECTED = 0.2


class End:
    """One transport, and what it told."""

    def __init__(self, sim: Simulation, host: str) -> None:
        self.host = host
        self.process = Process(sim.clock, host)
        self.transport = SimTransport(sim.network, self.process)
        self.frames: list[int] = []
        self.ready: list[Lane] = []
        self.links: list[str] = []
        assert self.transport.open(self).work_port == WORK_PORT

    def begin_drain(self) -> None: ...

    def end_drain(self) -> None: ...

    def on_hello(self, id: bytes, link: int) -> None:
        self.links.append("hello")

    def on_info(self, topic: bytes) -> None: ...

    def on_bye(self, id: bytes, link: int) -> None:
        self.links.append("bye")

    def on_link_frame(self, dial: object, frame: bytes, payload: bytes) -> None: ...

    def on_request_frame(self, route: bytes, frame: bytes) -> None: ...

    def on_reply_frame(self, lane: Lane, frame: bytes) -> None: ...

    def on_work_frame(self, frame: bytes) -> None:
        self.frames.append(int(frame))

    def on_work_ready(self, lane: Lane) -> None:
        self.ready.append(lane)

    def lane_to(self, other: End) -> Lane:
        return self.transport.open_work_lane(f"{other.host}:{WORK_PORT}")

    def send(self, lane: Lane, *numbers: int) -> list[bool]:
        return [self.transport.send_work(lane, b"%d" % number) for number in numbers]


class Pair:
    """A sender with a lane to a member, connected."""

    def __init__(self, seed: int = 0) -> None:
        self.sim = Simulation(seed)
        self.sender, self.member = End(self.sim, "10.0.0.1"), End(self.sim, "10.0.0.2")
        self.lane = self.sender.lane_to(self.member)
        self.sim.run(SOON)

    @property
    def pipe(self) -> Pipe:
        return self.sim.network.pipe_between(self.sender.process, self.member.process, "work")

    def send(self, *numbers: int) -> list[bool]:
        return self.sender.send(self.lane, *numbers)


def test_frames_arrive_in_order() -> None:
    pair = Pair()
    assert all(pair.send(*range(100)))
    pair.sim.run(SOON)
    assert pair.member.frames == list(range(100))
    assert pair.sender.ready == []


def test_a_lane_takes_nothing_until_it_is_connected_and_says_when() -> None:
    sim = Simulation()
    sender, member = End(sim, "10.0.0.1"), End(sim, "10.0.0.2")
    lane, unasked = sender.lane_to(member), sender.lane_to(member)
    assert sender.send(lane, 1) == [False]
    sim.run(SOON)
    assert sender.ready == [lane]
    assert sender.send(lane, 2) == sender.send(unasked, 3) == [True]
    sim.run(1)
    assert sender.ready == [lane]
    assert member.frames == [2, 3]


def test_nothing_is_queued_for_an_endpoint_where_nobody_listens() -> None:
    sim = Simulation()
    sender = End(sim, "10.0.0.1")
    lane = sender.transport.open_work_lane(f"10.0.0.2:{WORK_PORT}")
    for number in range(50):
        assert sender.send(lane, number) == [False]
        sim.run(0.1)
    late = End(sim, "10.0.0.2")
    sim.run(10)
    assert sender.ready == [lane]
    assert sender.send(lane, 50) == [True]
    sim.run(SOON)
    assert late.frames == [50]


def test_a_lost_connection_loses_what_was_on_its_way_and_is_made_again() -> None:
    pair = Pair()
    assert all(pair.send(1, 2))
    pair.sim.network.cut(pair.pipe)
    assert pair.send(3) == [False]
    pair.sim.run(RECONNECTED)
    assert pair.sender.ready == [pair.lane]
    assert pair.send(4) == [True]
    pair.sim.run(SOON)
    assert pair.member.frames == [4]


def test_a_connection_that_swallows_frames_looks_like_any_other() -> None:
    pair = Pair()
    pair.sim.network.swallow(pair.pipe)
    assert pair.send(1) == [True]
    pair.sim.run(10)
    assert pair.send(2) == [True]
    pair.sim.network.cut(pair.pipe)
    pair.sim.run(RECONNECTED)
    assert pair.send(3) == [True]
    pair.sim.run(SOON)
    assert pair.member.frames == [3]
    assert pair.sender.ready == []


def test_the_successor_of_a_dead_process_at_its_port_gets_the_next_frames() -> None:
    pair = Pair()
    pair.sim.network.end(pair.member.process)
    pair.sim.run(SOON)
    assert pair.send(1) == [False]
    successor = End(pair.sim, pair.member.host)
    pair.sim.run(RECONNECTED)
    assert pair.sender.ready == [pair.lane]
    assert pair.send(2) == [True]
    pair.sim.run(SOON)
    assert successor.frames == [2]
    assert pair.member.frames == []


def test_a_frozen_process_gets_what_was_sent_to_it_when_it_goes_on_even_if_the_lane_is_closed() -> (
    None
):
    pair = Pair()
    pair.member.process.freeze()
    assert all(pair.send(1, 2))
    pair.sim.run(20)
    assert pair.send(3) == [True]
    pair.sender.transport.close_lane(pair.lane)
    assert pair.send(4) == [False]
    pair.sim.run(1)
    assert pair.member.frames == []
    pair.member.process.thaw()
    pair.sim.run(SOON)
    assert pair.member.frames == [1, 2, 3]


def test_of_what_a_partition_held_back_any_part_may_arrive_when_the_lane_was_closed() -> None:
    arrived = set()
    for seed in range(30):
        pair = Pair(seed)
        pair.sim.network.partition(["10.0.0.1"], ["10.0.0.2"])
        assert all(pair.send(*range(3)))
        pair.sim.run(5)
        pair.sender.transport.close_lane(pair.lane)
        pair.sim.network.heal()
        pair.sim.run(1)
        assert pair.member.frames == list(range(len(pair.member.frames)))
        arrived.add(len(pair.member.frames))
    assert arrived == {0, 1, 2, 3}


def test_a_blocked_sender_learns_afterwards_that_its_lane_is_ready() -> None:
    sim = Simulation()
    sender, member = End(sim, "10.0.0.1"), End(sim, "10.0.0.2")
    lane = sender.lane_to(member)
    assert sender.send(lane, 1) == [False]
    sender.process.block()
    sim.run(5)
    assert sender.ready == []
    sender.process.unblock()
    sim.run(SOON)
    assert sender.ready == [lane]


def test_a_closed_transport_gets_and_sends_nothing_more() -> None:
    pair = Pair()
    assert all(pair.send(1))
    pair.member.transport.close()
    pair.sim.run(1)
    assert pair.member.frames == []
    assert pair.send(2) == [False]
    pair.sender.transport.close()
    assert pair.send(3) == [False]
