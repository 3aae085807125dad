"""Strangers and broken members at the sockets of a real node: it stays up and serves the others.

The target runs in a
process of its own; an exception that nobody handled shows in its standard error, and that fails
the test that started it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
import zmq

import mesh
from mesh.engine import control as c
from mesh.wire import frames
from tests.net.processes import AgentError, NodeProcess, until
from tests.net.raw import RawPeer, Wire, descriptors, rss_bytes

Start = Callable[..., NodeProcess]
Make = Callable[..., mesh.Node]
Bare = Callable[[int], zmq.Socket[bytes]]

PATIENT = 2.0
"""Seconds within which a call is answered whatever others do; alone it takes a millisecond."""


@pytest.fixture
def bare_socket(context: zmq.Context[Any]) -> Iterator[Callable[[int], zmq.Socket[bytes]]]:
    """Makes sockets of a kind, closed at the end."""
    sockets: list[zmq.Socket[bytes]] = []

    def make(kind: int) -> zmq.Socket[bytes]:
        made = context.socket(kind)
        made.linger = 0
        made.sndhwm = 0
        sockets.append(made)
        return made

    yield make
    for made in sockets:
        made.close(0)


def assert_served(friend: mesh.Node, target: NodeProcess) -> None:
    """The target is there for others, at once and without a trace of a crash."""
    assert friend.service("target", timeout=PATIENT).echo(7) == 7
    target.check()


def newcomer_joins(make_node: Make, target: NodeProcess) -> None:
    node = make_node("newcomer", discovery=(), seeds=[target.address]).start()
    assert [peer.id for peer in node.wait_for("target", timeout=10.0)] == [target.id]
    assert node.call("target.pid") == target.pid


def link_port(target: NodeProcess) -> int:
    return int(target.address.rpartition(":")[2])


# Strangers.


def test_garbage_at_the_link_socket_harms_nobody(
    bare_socket: Bare, friend: mesh.Node, target: NodeProcess
) -> None:
    info = frames.pack_info(os.urandom(16), {"v": 1, "mesh": "m", "link": ["h:1"], "rpc": 1})
    topics = [os.urandom(size % 80) for size in range(2000)]
    topics += [info[:size] for size in range(len(info))]
    topics += [info[:17] + b"\xdf\xff\xff\xff\xff", info[:17] + b"\x91" * 400, b"\1" * 400]
    xsub = bare_socket(zmq.XSUB)
    xsub.connect(f"tcp://{target.address}")
    for topic in topics:
        xsub.send(b"\1" + topic)
        xsub.send(b"\0" + topic)
        xsub.send(topic[1:])
    xsub.send_multipart([b"some", b"\1\0more", b"", b"\1" + frames.pack_hello(b"i" * 16, 1)])
    with socket.create_connection(("127.0.0.1", link_port(target))) as tcp:
        tcp.sendall(os.urandom(4096))
    until(lambda: target.ask("counters").get("bad_frames"))
    assert target.ask("counters").keys() <= {"bad_frames"}
    assert_served(friend, target)


def test_nobody_can_ask_for_what_is_for_others(
    bare_socket: Bare, friend: mesh.Node, target: NodeProcess
) -> None:
    spy = bare_socket(zmq.SUB)
    for topic in (b"", b"\0", b"\0" + bytes.fromhex(friend.id), b"\0" * 25):
        spy.subscribe(topic)
    spy.connect(f"tcp://{target.address}")
    with Wire(link_port(target), b"SUB") as wire, friend.subscribe("to.friend") as subscription:
        wire.send(b"\1")
        wire.send(b"\1\0" + bytes.fromhex(friend.id))
        for number in range(50):
            target.ask("publish", subject="to.friend", first=number)
        for _ in range(50):
            subscription.get(timeout=5.0)
    assert not spy.poll(0), "nothing that was for another has come"


def test_hellos_without_an_info_keep_no_newcomer_out(
    bare_socket: Bare, make_node: Make, friend: mesh.Node, target: NodeProcess
) -> None:
    xsub = bare_socket(zmq.XSUB)
    xsub.connect(f"tcp://{target.address}")
    for number in range(6000):
        xsub.send(b"\1" + frames.pack_hello(os.urandom(16), number))
    assert_served(friend, target)
    newcomer_joins(make_node, target)


def test_many_hellos_of_one_id_leave_little_behind(
    bare_socket: Bare, friend: mesh.Node, target: NodeProcess
) -> None:
    before = rss_bytes(target)
    xsub = bare_socket(zmq.XSUB)
    xsub.connect(f"tcp://{target.address}")
    for number in range(40_000):
        xsub.send(b"\1" + frames.pack_hello(b"i" * 16, number))
    xsub.send(b"\1\1garbage, to see that what is before it was read")
    until(lambda: target.ask("counters").get("bad_frames"), within=20.0)
    assert rss_bytes(target) - before < 24 * 2**20
    assert_served(friend, target)


def test_a_strangers_unsubscription_ends_nobody_elses_link(
    friend: mesh.Node, target: NodeProcess
) -> None:
    with Wire(link_port(target), b"SUB") as wire:
        for dial in range(64):
            wire.send(b"\0" + frames.pack_hello(bytes.fromhex(friend.id), dial))
        wire.send(b"\1\1garbage, to see that what is before it was read")
        until(lambda: target.ask("counters").get("bad_frames"))
        assert_served(friend, target)
    kinds = {kind for _, kind, *_ in target.ask("seen", peer=friend.id)}
    assert "PeerSuspected" not in kinds
    assert target.ask("peers")[friend.id] == "alive"


def test_half_open_connections_are_let_go(friend: mesh.Node, target: NodeProcess) -> None:
    before = descriptors(target)
    port = link_port(target)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    until(lambda: descriptors(target) >= before + 200)
    assert_served(friend, target)
    until(lambda: descriptors(target) <= before + 2, within=8.0, what="the end of the handshakes")
    for tcp in silent:
        tcp.close()


def test_a_flood_of_wrong_keys_leaves_nothing_behind(
    start_process: Start, make_node: Make, bare_socket: Bare
) -> None:
    key = {"key": "mesh1-" + "a" * 52, "host": "127.0.0.1", "discovery": ()}
    target = start_process("target", **key)
    friend = make_node("friend", seeds=[target.address], **key).start()
    friend.wait_for("target")
    before = descriptors(target)
    strangers = []
    for _ in range(100):
        public, secret = zmq.curve_keypair()
        sub = bare_socket(zmq.SUB)
        strangers.append(sub)
        sub.curve_publickey, sub.curve_secretkey = public, secret
        sub.curve_serverkey = zmq.curve_keypair()[0]
        sub.connect(f"tcp://{target.address}")
    assert_served(friend, target)
    for sub in strangers:
        sub.close(0)
    until(lambda: descriptors(target) <= before + 2, within=8.0)
    assert_served(friend, target)


# Members that lie.


def test_lists_of_peers_that_do_not_exist_keep_no_newcomer_out(
    raw: RawPeer, make_node: Make, friend: mesh.Node, target: NodeProcess
) -> None:
    id = raw.join(target)
    for number in range(8):
        address = [f"127.0.0.9:{10_000 + number}"]
        raw.control(id, [c.PEERS, [[os.urandom(16), address] for _ in range(1000)], False])
    assert_served(friend, target)
    newcomer_joins(make_node, target)
    assert descriptors(target) < 600, "dials of what does not answer are few at a time"


def test_a_lie_about_a_newcomers_address_does_not_keep_it_out(
    raw: RawPeer, make_node: Make, target: NodeProcess
) -> None:
    id = raw.join(target)
    node = make_node("newcomer", discovery=(), seeds=[target.address])
    lies = [f"127.0.0.9:{port}" for port in range(10_000, 10_016)]
    raw.control(id, [c.PEERS, [[bytes.fromhex(node.id), lies]], False])
    until(lambda: raw.pump() or target.ask("peers"))
    node.start()
    node.wait_for("target", timeout=10.0)


CONTROL_NONSENSE: dict[str, list[list[Any]]] = {
    "a number far ahead": [[c.OPEN, 2**63, {}, 2**63]],
    "numbers that go back": [[c.OPEN, 5, {}, 1], [c.OPEN, 0, {}, 1]],
    "an acknowledgement of what was not sent": [[c.ACK, 0, 2**63], [c.ACK, 2**63, 1]],
    "a record that was never made": [[c.APPLIED, 2**40]],
    "a delta that skips versions": [[c.DELTA, {"version": 40, "add": ["a"]}]],
    "a pattern added and removed": [[c.DELTA, {"version": 2, "add": ["a"], "remove": ["a"]}]],
    "a pattern removed twice": [
        [c.DELTA, {"version": 2, "add": ["a"]}],
        [c.DELTA, {"version": 3, "remove": ["a", "a"]}],
    ],
    "a pattern added twice": [
        [c.DELTA, {"version": 2, "add": ["a", "a"]}],
        [c.DELTA, {"version": 3, "remove": ["a"]}],
    ],
    "a method told twice": [
        [c.DELTA, {"version": 2, "services": {"raw": ["m", "m"]}}],
        [c.DELTA, {"version": 3, "services": {}}],
    ],
    "a delta of nothing": [[c.DELTA, {}], [c.DELTA, {"version": [2]}], [c.DELTA, {"version": -1}]],
    "a refusal on a link": [[c.REFUSE, "x" * 1000, "y" * 100_000]],
    "a goodbye, then more": [[c.GOODBYE, "x" * 100_000], [c.OPEN, 0, {}, 1], [c.PING, 1]],
    "a goodbye that was not asked": [[c.GOODBYE_ACK], [c.PONG, 2**64 - 1]],
    "peers that are none": [[c.PEERS, [[b"x", []]], True], [c.PEERS, [1], False]],
    "odd addresses": [[c.PEERS, [[b"x" * 16, ["[::]:1", "[fe80::1%x]:9", "..:1"]]], False]],
    "calls that are none": [[c.CALLS, [[], {}, "a", 2**63]], [c.CALLS_MISSING, [[], None, 1]]],
    "replies that are none": [[c.REPLY, b""]],
    "replies to nothing": [[c.REPLY, msgpack.packb([1, 0, 1])], [c.REPLY, msgpack.packb("ab")]],
    "types that are none": [[], [None], [[]], [True], [-1], [99, 1, 2], [c.OPEN], [c.DIGEST, -1]],
}


@pytest.mark.parametrize("entries", CONTROL_NONSENSE.values(), ids=CONTROL_NONSENSE.keys())
def test_control_messages_that_make_no_sense_harm_nobody_else(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess, entries: list[list[Any]]
) -> None:
    id = raw.join(target)
    for entry in entries:
        if entry[:1] == [c.OPEN] and len(entry) == 4:
            entry = [*entry[:2], raw.record, *entry[3:]]
        if id in raw.links:
            raw.control(id, entry)
        raw.pump()
        assert_served(friend, target)
    assert target.ask("peers")[friend.id] == "alive"


def test_control_messages_before_the_link_is_open_harm_nobody(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess
) -> None:
    raw.dial(target.address)
    id = bytes.fromhex(target.id)
    hello = until(lambda: raw.xpub.poll(0) and frames.unpack_hello(raw.xpub.recv()[1:]))
    link = frames.link_number(hello[1], 1)
    raw.xpub.set(zmq.SUBSCRIBE, frames.link_prefix(id, link))
    raw.links[id] = link
    for entry in ([c.DELTA, {"version": 2}], [c.APPLIED, 1], [c.ACK, link, 5], [c.PING, 1]):
        raw.control(id, entry)
    raw.control(id, [c.GOODBYE, "before anything"])
    raw.control(id, [c.OPEN, 0, raw.record, 1], [c.GOODBYE, "at once"], [c.APPLIED, 1])
    assert_served(friend, target)
    before = descriptors(target)
    raw.close()
    until(lambda: descriptors(target) < before, what="the end of its connections")
    assert_served(friend, target)


def test_frames_that_lie_about_themselves_harm_nobody_else(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess
) -> None:
    id = raw.join(target)
    message = msgpack.packb(["news.x", 1])
    for kind, first, count, body in (
        (frames.PUBLISH, 0, 5, message),
        (frames.PUBLISH, 2**64 - 9, 1, message),
        (frames.PUBLISH, 0, 1, message),
        (frames.PUBLISH, 2**64 - 1, 65_536, b"\xc0" * 65_536),
        (frames.SEND, 2**64 - 1, 1, b"\xdd\xff\xff\xff\xff" * 1000),
        (frames.BROADCAST, 2**64 - 1, 3, msgpack.packb({}) + msgpack.packb([[], 1]) + b"\x01"),
        (77, 2**64 - 1, 0, b""),
        (frames.CONTROL, 1, 9, msgpack.packb([c.PING, 1])),
        (frames.CONTROL, 1, 2**32 - 1, b""),
    ):
        if id in raw.links:
            raw.frame(id, kind, first, count, body)
        raw.pump()
    forged = frames.pack_link(id, raw.links[id], frames.CONTROL, os.urandom(16), 0, 1)
    raw.xpub.send(forged + msgpack.packb([c.GOODBYE, "not me"]))
    raw.xpub.send(frames.link_prefix(id, raw.links[id]))
    raw.xpub.send_multipart([forged, b"", b"second part"])
    for _ in range(10):
        raw.pump()
        assert_served(friend, target)
    assert target.ask("peers")[friend.id] == "alive"


@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        (["news", None], []),
        (["news", None], [b""]),
        (["news", "has data"], [b"payload"]),
        (["news"], [b"payload"]),
        ({"news": None}, [b"payload"]),
        (7, [b"payload"]),
    ],
)
def test_a_second_part_that_fits_no_message_is_a_gap_and_no_harm(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess, entry: Any, parts: list[bytes]
) -> None:
    id = raw.join(target)
    target.ask("subscribe", pattern="news")
    in_parts = frames.PUBLISH | frames.IN_PARTS
    header = frames.pack_link(id, raw.links[id], in_parts, raw.id, 0, 1)
    raw.xpub.send_multipart([header + msgpack.packb(entry), *parts])
    header = frames.pack_link(id, raw.links[id], in_parts, raw.id, 1, 1)
    whole = header + msgpack.packb(["news", None, {"a": "b"}])
    raw.xpub.send_multipart([whole, b"of any size", b"a part too many", whole])
    until(lambda: raw.pump() or target.ask("wait_received", count=1, timeout=0.1) == 1)
    assert target.ask("counters")["gaps"] == 1
    assert_served(friend, target)


def test_a_subject_that_no_publisher_could_send_is_malformed(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess
) -> None:
    id = raw.join(target)
    before = rss_bytes(target)
    for number in range(400):
        raw.frame(id, frames.PUBLISH, number, 1, msgpack.packb(["q" * 200_000 + str(number), 1]))
        raw.pump()
    until(lambda: raw.pump() or target.ask("counters").get("malformed_messages", 0) == 400)
    assert_served(friend, target)
    assert rss_bytes(target) - before < 40 * 2**20


def test_interest_that_grows_without_end_is_refused(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess
) -> None:
    id = raw.join(target)
    for number in range(6):
        patterns = [f"p{number}.{i}.some.more.tokens" for i in range(6000)]
        if id in raw.links:
            raw.control(id, [c.DELTA, {"version": number + 2, "add": patterns}])
        raw.pump()
        assert_served(friend, target)
    until(lambda: raw.pump() or target.ask("counters").get("link_resets"))


def test_the_answers_to_many_questions_fit_their_frames(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess
) -> None:
    id = raw.join(target)
    for _ in range(3):
        raw.control(id, *[[c.PING, 1]] * 40_000)
    assert_served(friend, target)
    for _ in range(50):
        raw.pump()  # raises BadFrame for a frame that nobody should send
        assert_served(friend, target)


# The request plane.


REQUEST_NONSENSE: dict[str, bytes] = {
    "nothing": b"",
    "a bomb": b"\xdd\xff\xff\xff\xff" * 1000,
    "deep": b"\x94\x01\xa1a\x01" + b"\x91" * 1100 + b"\xc0",
    "a method with a long name": msgpack.packb([1, "target." + "x" * 16_700_000, 9000, []]),
    "a long keyword": msgpack.packb([1, "target.echo", 9000, [], {"k" * 16_700_000: 1}]),
    "a keyword that is none": msgpack.packb([1, "target.echo", 9000, [1], {5: 1}]),
    "a method that is a list": msgpack.packb([1, ["target"], 9000, []]),
    "a deadline far away": msgpack.packb([1, "target.work", 2**63, [1]]),
    "a deadline long ago": msgpack.packb([1, "target.echo", -(2**60), [1]]),
    "no numbers": msgpack.packb(["1", "target.echo", 1.5, 1, 1, 1]),
    "a text": msgpack.packb("target"),
}


@pytest.mark.parametrize("body", REQUEST_NONSENSE.values(), ids=REQUEST_NONSENSE.keys())
def test_requests_that_make_no_sense_cost_no_other_call(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess, body: bytes
) -> None:
    id = raw.join(target)
    dealer = raw.requester(id)
    sense = msgpack.packb([5, "target.echo", 9000, ["sense"]])
    dealer.send(raw.request(id, body))
    dealer.send(raw.request(id, sense))
    values = []

    def answered() -> bool:
        while dealer.poll(0):
            reply = dealer.recv()
            unpacker = msgpack.Unpacker(strict_map_key=False)
            unpacker.feed(reply[frames.DATA_HEADER_SIZE :])
            values.extend(unpacker)
        return [5, 0, "sense"] in values

    until(answered, what="the answer to the call behind it")
    assert_served(friend, target)


def test_frames_at_the_request_socket_that_are_none_cost_no_other_call(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess
) -> None:
    id = raw.join(target)
    dealer = raw.requester(id)
    good = raw.request(id, msgpack.packb([1, "target.echo", 9000, [1]]))
    for parts in (
        [b""],
        [b"", b""],
        [good, *[b"x"] * 50],
        [frames.pack_data(frames.REQUEST, os.urandom(16), id, 0, 1)],
        [frames.pack_data(frames.REQUEST, raw.id, os.urandom(16), 0, 1)],
        [raw.request(id, b"", 0, kind=99)],
        [raw.request(id, b"\x01\x90\xc0", 3, kind=frames.CANCEL)],
        [raw.request(id, b"", 2**32 - 1)],
        [os.urandom(500)],
    ):
        dealer.send_multipart(parts)
        assert_served(friend, target)
    with Wire(raw.records[id]["rpc"], b"DEALER") as wire:
        wire.send(b"x" * 1000, more=True)
    assert_served(friend, target)


def test_a_flood_of_empty_requests_leaves_others_their_calls(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess
) -> None:
    id = raw.join(target)
    dealer = raw.requester(id)
    frame = raw.request(id, b"\xc0" * 65_536, 65_536)
    for _ in range(150):
        dealer.send(frame)
    slowest = 0.0
    for _ in range(100):
        began = time.monotonic()
        assert friend.service("target", timeout=20.0).echo(1) == 1
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < PATIENT
    target.check()


DEEP = b"\x91" * 1000 + b"\xc0"
REPLY_NONSENSE: dict[str, bytes] = {
    "a deep error": b"\x01" + DEEP + b"\xa1m\xa1t",
    "an error that is a bomb": b"\x01\xa1E" + msgpack.packb("m" * 8_000_000) + DEEP,
    "a status that is none": b"\xcd\x01\x00" + DEEP + b"\xc0\xc0",
    "a status that is a list": b"\x90\xc0\xc0\xc0",
}


@pytest.mark.parametrize("outcome", REPLY_NONSENSE.values(), ids=REPLY_NONSENSE.keys())
def test_replies_that_make_no_sense_cost_no_other_call(
    raw: RawPeer, friend: mesh.Node, target: NodeProcess, outcome: bytes
) -> None:
    id = raw.join(target)
    until(lambda: raw.pump() or raw.id.hex() in target.ask("peers"))
    calls = [target.begin("call", method="raw.method", timeout=2.0)]
    route, frame = raw.router.recv_multipart()
    call_id = msgpack.unpackb(frame[frames.DATA_HEADER_SIZE :])[0]
    reply = frames.pack_data(frames.REPLY, raw.id, id, 0, 1)
    raw.router.send_multipart([route, reply + b"\x95" + msgpack.packb(call_id) + outcome])
    with pytest.raises(AgentError) as raised:
        calls[0](10.0)
    assert raised.value.kind in ("RemoteError", "CallTimeout")
    assert_served(friend, target)
