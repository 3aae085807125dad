"""From strangers to peers: who meets, who is refused, and what a joined peer can count on."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.engine import control as c
from mesh.engine import events as e
from mesh.testing.process import Process
from mesh.testing.transport import SimTransport
from mesh.wire import frames
from mesh.wire.codec import Codec
from tests.sim import SimNode, Simulation
from tests.sim.simulation import all_know_all

SEEDS = range(20)


class Stranger:
    """A node of another protocol version: it says hello and keeps what it is told."""

    def __init__(self, sim: Simulation, host: str, version: int) -> None:
        self.id = sim.random.randbytes(16)
        self.version = version
        self.process = Process(sim.clock, host)
        self.transport = SimTransport(sim.network, self.process)
        self.addresses = self.transport.open(self).addresses
        self.told: list[list[Any]] = []
        self.hellos: list[tuple[bytes, int]] = []

    def dial(self, address: str) -> None:
        info = {"v": self.version, "mesh": "mesh", "link": list(self.addresses), "rpc": 7001}
        hello = frames.pack_hello(self.id, 1)
        self.transport.dial(address, hello, frames.pack_info(self.id, info))

    def begin_drain(self) -> None: ...

    def end_drain(self) -> None: ...

    def on_hello(self, id: bytes, link: int) -> None:
        self.hellos.append((id, link))
        header = bytearray(frames.pack_link(id, link, frames.CONTROL, self.id, 0, 1))
        header[frames.LINK_PREFIX_SIZE] = self.version
        self.transport.send_link(bytes(header) + Codec().pack(["whatever", "comes", "then"]))

    def on_info(self, topic: bytes) -> None: ...

    def on_bye(self, id: bytes, link: int) -> None: ...

    def on_link_frame(self, dial: object, frame: bytes, payload: bytes) -> None:
        self.told += Codec().unpack_all(frame[frames.LINK_HEADER_SIZE :])

    def on_request_frame(self, route: bytes, frame: bytes) -> None: ...

    def on_reply_frame(self, lane: object, frame: bytes) -> None: ...

    def on_work_frame(self, frame: bytes) -> None: ...

    def on_work_ready(self, lane: object) -> None: ...


@pytest.mark.parametrize("count", [2, 5, 12])
def test_one_seed_is_enough_for_all_to_know_all(count: int) -> None:
    sim = Simulation(seed=count)
    sim.meshed(count, within=1.0)


def test_a_chain_of_seeds_is_enough_too() -> None:
    sim = Simulation()
    nodes = [sim.node("n0")]
    for i in range(1, 8):
        nodes.append(sim.node(f"n{i}", seeds=[nodes[-1]]))
    sim.until(lambda: all_know_all(nodes), 3.0)


def test_without_exchange_a_node_meets_only_whom_it_is_told_of() -> None:
    sim = Simulation()
    hub = sim.node("hub", exchange=False)
    one = sim.node("one", exchange=False, seeds=[hub])
    two = sim.node("two", exchange=False, seeds=[hub])
    sim.run(5)
    assert hub.knows(one, two)
    assert one.peers().keys() == {hub.id}
    assert two.peers().keys() == {hub.id}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_published_on_peer_joined_reaches_that_peer(seed: int) -> None:
    sim = Simulation(seed, latency=0.005, jitter=2.0)
    nodes = [sim.node(f"n{i}", open=False) for i in range(5)]
    heard = {node.id: node.hear("hello") for node in nodes}

    def greet(node: SimNode) -> None:
        def on_event(event: e.Event) -> None:
            if isinstance(event, e.PeerJoined):
                node.engine.send_to(event.peer, "hello", [node.id, event.peer.id], None)

        node.on_event = on_event

    for node in nodes:
        greet(node)
        node.open([nodes[0].address] if node is not nodes[0] else [])
        sim.run(sim.random.random() * 0.05)
    sim.until(lambda: all_know_all(nodes), 5.0)
    sim.run(0.5)
    for node in nodes:
        greetings = [[other.id, node.id] for other in nodes if other is not node]
        assert sorted(m.data for m in heard[node.id]) == sorted(greetings)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_peer_is_joined_only_when_our_record_is_in_force_there(seed: int) -> None:
    sim = Simulation(seed, latency=0.01, jitter=3.0)
    nodes = [sim.node(f"n{i}", open=False) for i in range(4)]
    by_id = {node.id: node for node in nodes}
    checked = []

    def check_on_join(node: SimNode) -> None:
        def on_event(event: e.Event) -> None:
            if isinstance(event, e.PeerJoined):
                there = by_id[event.peer.id].engine._core.sessions[node.config.id]
                assert there.record is not None
                assert there.record.name == node.name
                checked.append(node)

        node.on_event = on_event

    for node in nodes:
        check_on_join(node)
        node.open([nodes[0].address] if node is not nodes[0] else [])
    sim.until(lambda: all_know_all(nodes), 5.0)
    assert len(checked) == 12


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("latency", [0.0003, 0.02])
def test_simultaneous_dials_give_one_session_and_no_duplicate(seed: int, latency: float) -> None:
    sim = Simulation(seed, latency=latency, jitter=1.0)
    one, two = sim.node("one"), sim.node("two")
    one.engine.hint(None, [two.address])
    two.engine.hint(None, [one.address])
    assert_meet_cleanly(sim, one, two)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("busy", [False, True])
def test_a_peer_hinted_at_by_address_and_by_id_is_met_once(seed: int, busy: bool) -> None:
    sim = Simulation(seed, latency=0.02, jitter=1.0)
    one, two = sim.node("one"), sim.node("two")
    if busy:
        sim.block(two)
    one.engine.hint(None, [two.address])
    one.engine.hint(two.config.id, [two.address])
    sim.run(0.3)
    if busy:
        sim.unblock(two)
    assert_meet_cleanly(sim, one, two)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("busy", [False, True])
def test_a_peer_hinted_at_by_several_addresses_is_met_once(seed: int, busy: bool) -> None:
    sim = Simulation(seed, latency=0.02, jitter=1.0)
    one, two = sim.node("one"), sim.node("two", aliases=["192.168.0.2", "172.16.0.2"])
    if busy:
        sim.block(two)
    one.engine.hint(None, ["192.168.0.2:7000"])
    one.engine.hint(None, ["172.16.0.2:7000"])
    one.engine.hint(two.config.id, [two.address])
    sim.run(0.3)
    if busy:
        sim.unblock(two)
    assert_meet_cleanly(sim, one, two)


def test_an_address_that_a_peer_has_given_up_may_be_a_newcomers() -> None:
    sim = Simulation()
    witness, mover = sim.node("witness"), sim.node("mover", aliases=["192.168.0.2"])
    witness.engine.hint(mover.config.id, ["192.168.0.2:7000"])
    sim.until(lambda: all_know_all([witness, mover]), 3.0)
    mover.engine.moves.readdress([mover.address])
    sim.run(1.0)
    sim.network.take_away("192.168.0.2")
    witness.engine.moves.network_is_back()
    sim.run(1.0)
    heir = sim.node("heir", host="192.168.0.2", seeds=[witness])
    sim.until(lambda: all_know_all([witness, mover, heir]), 3.0)


def test_somebody_else_at_another_address_of_a_silent_peer_does_not_replace_it() -> None:
    sim = Simulation()
    witness, other, silent = sim.meshed(3)
    # As an address of a network that this witness has another one of.
    silent.engine.moves.readdress([silent.address, other.address])
    sim.run(1.0)
    sim.block(silent)
    sim.until(lambda: witness.peers()[silent.id] == "unresponsive", 10.0)
    sim.run(10.0)
    sim.cut(silent, witness)
    sim.run(0.2)
    sim.unblock(silent)
    sim.until(lambda: all_know_all([witness, other, silent]), 10.0)
    assert not witness.saw(e.PeerFailed, silent)


def assert_meet_cleanly(sim: Simulation, one: SimNode, two: SimNode) -> None:
    """They join once, and everything that either sends reaches the other exactly once."""
    sim.until(lambda: one.knows(two) and two.knows(one), 3.0)
    sim.run(5.0)
    heard = one.hear("x"), two.hear("x")
    sim.outcome(one.confirm())
    sim.outcome(two.confirm())
    for i in range(100):
        one.publish("x", i)
        two.publish("x", 100 + i)
        sim.run(0.01)
    sim.run(1.0)
    for messages in heard:
        assert [m.data for m in messages if m.data < 100] == list(range(100))
        assert [m.data for m in messages if m.data >= 100] == list(range(100, 200))
    for node, other in ((one, two), (two, one)):
        assert [type(x) for x in node.events if not isinstance(x, e.PeerUpdated)] == [e.PeerJoined]
        assert node.peers() == {other.id: "alive"}


def test_two_meshes_never_mix() -> None:
    sim = Simulation()
    red = [sim.node(f"r{i}", mesh="red") for i in range(3)]
    blue = [sim.node(f"b{i}", mesh="blue") for i in range(3)]
    everybody = [*red, *blue]
    for node in everybody:
        for other in everybody:
            node.engine.hint(None, [other.address])
            node.engine.hint(other.config.id, [other.address])
    sim.run(40)
    assert all_know_all(red)
    assert all_know_all(blue)
    for node in everybody:
        mates = red if node in red else blue
        assert node.peers().keys() == {mate.id for mate in mates if mate is not node}
        assert {x.peer.id for x in node.events} <= {mate.id for mate in mates}
    assert red[0].engine._dialer.refusals[blue[0].address][0] == c.REFUSED_MESH


def test_a_dialler_of_another_protocol_version_is_refused_and_told_why() -> None:
    sim = Simulation()
    node = sim.node("node")
    stranger = Stranger(sim, "10.9.9.9", version=2)
    stranger.dial(node.address)
    sim.run(5)
    assert stranger.told[0][:2] == [c.REFUSE, c.REFUSED_PROTOCOL]
    assert [entry[0] for entry in stranger.told] == [c.REFUSE]
    assert node.peers() == {}
    assert stranger.hellos == []


def test_a_dialled_node_of_another_protocol_version_is_let_alone() -> None:
    sim = Simulation()
    node = sim.node("node")
    stranger = Stranger(sim, "10.9.9.9", version=2)
    node.engine.hint(None, [stranger.addresses[0]])
    sim.run(20)
    assert node.engine._dialer.refusals[stranger.addresses[0]][0] == c.REFUSED_PROTOCOL
    assert node.peers() == {}
    assert len(stranger.hellos) == 1, "a refused address rests"


def test_a_node_that_dials_itself_meets_nobody_and_stops() -> None:
    sim = Simulation()
    node = sim.node("node")
    node.engine.hint(None, [node.address])
    sim.run(5)
    assert node.peers() == {}
    assert node.events == []
    assert len(sim.network.pipes) == 0


def test_an_observer_sees_and_calls_but_is_not_listed() -> None:
    sim = Simulation()
    server = sim.node("server")
    server.serve("add", lambda a, b: a + b)
    observer = sim.node("observer", observer=True, seeds=[server])
    sim.until(lambda: observer.knows(server), 1.0)
    assert sim.outcome(observer.call("server.add", 1, 2)) == 3
    assert server.peers() == {}
    assert server.events == []
    assert [p.id for p in server.engine.peers(all=True)] == [observer.id]


def test_a_hint_that_holds_again_later_is_followed_again() -> None:
    sim = Simulation()
    late = sim.node("late", open=False)
    node = sim.node("node")
    node.engine.hint(late.config.id, [late.address])
    sim.run(60)
    assert len(node.transport.dials) == 0, "given up"
    late.open()
    node.engine.hint(late.config.id, [late.address])
    sim.until(lambda: all_know_all([node, late]), 1.0)


def test_wait_for_ends_when_that_many_serve_the_name() -> None:
    sim = Simulation()
    client = sim.node("client")
    waiter = client.waiter()
    client.engine.wait_for("calc", None, 2, 5.0, waiter)
    sim.node("calc", seeds=[client])
    sim.run(1.0)
    assert not waiter.done()
    sim.node("calc", seeds=[client])
    assert [p.name for p in sim.outcome(waiter, 1.0)] == ["calc", "calc"]


def test_wait_for_without_a_name_ends_when_all_heard_of_are_linked_or_refused() -> None:
    sim = Simulation(latency=0.05)
    friends = [sim.node(f"f{i}") for i in range(3)]
    foreign = sim.node("foreign", mesh="other")
    node = sim.node("node", seeds=[*friends, foreign])
    waiter = node.waiter()
    node.engine.wait_for(None, None, 1, 5.0, waiter)
    sim.outcome(waiter, 1.0)
    assert node.knows(*friends)


def test_a_node_that_gets_the_address_of_a_peer_looks_for_that_elsewhere() -> None:
    sim = Simulation()
    node, peer = sim.node("node"), sim.node("peer", aliases=["192.168.0.2"])
    node.engine.hint(peer.config.id, ["192.168.0.2:7000"])
    sim.until(lambda: all_know_all([node, peer]), 3.0)
    links = node.engine._links
    session = node.engine._core.sessions[peer.config.id]
    dial = session.dial
    assert dial is not None
    links._on_stranger(dial, node.config.id, 1, memoryview(b""), 0)
    assert session.dial is None, "a dial that was hung up is no link"
    sim.until(lambda: session.dial is not None, 3.0)
    assert session.address == peer.address
    sim.until(lambda: all_know_all([node, peer]), 3.0)


def test_who_binds_at_the_address_of_one_that_has_left_is_found_by_all() -> None:
    sim = Simulation()
    first, second, third = sim.meshed(3)
    third.leave()
    sim.run(1)
    successor = sim.node("n3", host=third.host, seeds=[first])
    sim.until(lambda: all_know_all([first, second, successor]), 5)
