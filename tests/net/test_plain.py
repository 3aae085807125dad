"""Plain ZeroMQ clients at a real node: they call and listen, and can harm nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, cast
from unittest.mock import ANY

import msgpack
import pytest
import zmq

import mesh
from mesh.plain.calls import MAX_CALLS_PER_CLIENT
from mesh.plain.wire import MAX_PARTS, MAX_VALUE_BYTES
from mesh.transport.plain import (
    MAX_REQUESTS_PER_SECOND,
    REQUESTS_AT_ONCE,
    PlainSockets,
)
from tests.net.conftest import Measured
from tests.net.processes import until, until_async
from tests.net.test_isolation import free_port

Make = Callable[..., mesh.Node]

PATIENT_MS = 10_000
"""For an answer that takes a millisecond on an idle machine."""


class Clients:
    """Plain sockets of one context, closed at the end."""

    def __init__(self) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []

    def close(self) -> None:
        for made in self._sockets:
            made.close(linger=0)
        self.context.term()

    def socket(
        self,
        kind: int,
        endpoint: str,
        keys: tuple[str, str] | None = None,
        server: str = "",
    ) -> zmq.Socket[bytes]:
        """Connected; with CURVE ``keys`` (public, secret) to ``server``, or to the same."""
        made = self.context.socket(kind)
        self._sockets.append(made)
        made.linger = 0
        made.rcvtimeo = made.sndtimeo = PATIENT_MS
        if keys is not None:
            public, secret = (key.encode() for key in keys)
            made.curve_serverkey = server.encode() or public
            made.curve_publickey, made.curve_secretkey = public, secret
        made.connect(endpoint)
        return made

    def call(self, req: zmq.Socket[bytes], method: str, *args: Any, **kwargs: Any) -> list[Any]:
        req.send_multipart([method.encode(), msgpack.packb([args, kwargs])])
        status, value = req.recv_multipart()
        return [status.decode(), msgpack.unpackb(value)]


@pytest.fixture
def clients() -> Iterator[Clients]:
    clients = Clients()
    yield clients
    clients.close()


@pytest.fixture
def gateway(make_node: Make) -> mesh.Node:
    return make_node("gateway", plain=True).start()


@pytest.fixture
def calc(make_node: Make, gateway: mesh.Node) -> mesh.Node:
    calc = make_node("calc")
    calc.rpc("add", inline=True)(lambda a, b=1: a + b)
    calc.rpc("large", inline=True)(lambda size: b"x" * size)

    @calc.rpc
    async def wait(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    calc.start()
    gateway.wait_for("calc")
    return calc


def endpoints(node: mesh.Node) -> mesh.PlainEndpoints:
    assert node.plain is not None
    return node.plain


def hear(clients: Clients, gateway: mesh.Node, publisher: mesh.Node, *prefixes: str) -> Any:
    """A SUB that hears what ``publisher`` publishes from now on."""
    sub = clients.socket(zmq.SUB, endpoints(gateway).pubsub)
    for prefix in prefixes:
        sub.subscribe(prefix.encode())
    return sub


def test_a_req_calls_and_a_dealer_has_several_calls_in_flight(
    clients: Clients, gateway: mesh.Node, calc: mesh.Node
) -> None:
    req = clients.socket(zmq.REQ, endpoints(gateway).rpc)
    assert clients.call(req, "calc.add", 2, 3) == ["ok", 5]
    assert clients.call(req, "calc.add", a=2) == ["ok", 3]
    assert clients.call(req, "calc.add") == ["BadRequest", ANY]

    dealer = clients.socket(zmq.DEALER, endpoints(gateway).rpc)
    for number in range(MAX_CALLS_PER_CLIENT):
        packed = msgpack.packb([[number], {}])
        dealer.send_multipart([b"call %d" % number, b"", b"calc.add", packed])
    replies = sorted(dealer.recv_multipart() for _ in range(MAX_CALLS_PER_CLIENT))
    assert replies == sorted(
        [b"call %d" % number, b"", b"ok", bytes([number + 1])]
        for number in range(MAX_CALLS_PER_CLIENT)
    )
    assert gateway.counters() == {}


def test_an_async_node_has_plain_clients_too(
    make_async: Callable[..., mesh.AsyncNode], clients: Clients
) -> None:
    async def main() -> None:
        node = make_async("gateway", plain=True)
        node.rpc("ping")(lambda: "pong")
        with pytest.raises(mesh.NodeClosed):
            assert node.plain
        async with node:
            assert node.plain is not None
            req = clients.socket(zmq.REQ, node.plain.rpc)
            reply = await asyncio.to_thread(clients.call, req, "gateway.ping")
            assert reply == ["ok", "pong"]

    asyncio.run(main())


def test_a_sub_hears_its_prefixes_each_message_once_in_order(
    clients: Clients, gateway: mesh.Node, calc: mesh.Node
) -> None:
    sub = hear(clients, gateway, calc, "sensors.k", "sensors.", "exact\x00")
    until(lambda: calc.publish("exact") and calc.publish("sensors.ready"), what="the interest")
    for number in range(100):
        calc.publish("sensors.kitchen", number)
        calc.publish("exactly", number)
        calc.publish("other", number)
        gateway.publish("exact", number)
    numbers = {b"sensors.kitchen": 0, b"exact": 0}
    while set(numbers.values()) != {100}:
        subject, packed = sub.recv().split(b"\x00", 1)
        data = msgpack.unpackb(packed)
        if data is not None:
            assert data == numbers[subject]
            numbers[subject] += 1
    sub.close()
    until(lambda: not calc.publish("sensors.kitchen"), what="the end of the interest")


@pytest.mark.parametrize("plain", [None, "0", "off", "1", "true"])
def test_the_environment_can_open_it(
    make_node: Make, monkeypatch: pytest.MonkeyPatch, plain: str | None
) -> None:
    if plain is not None:
        monkeypatch.setenv("MESH_PLAIN", plain)
    assert (make_node().start().plain is not None) == (plain in ("1", "true"))
    assert make_node(plain=False).start().plain is None


def test_ports_can_be_chosen_and_one_that_is_taken_is_an_error_that_leaves_nothing(
    make_node: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rpc, pubsub = free_port(), free_port()
    first = make_node(plain=(rpc, pubsub)).start()
    wanted = mesh.PlainEndpoints(f"tcp://127.0.0.1:{rpc}", f"tcp://127.0.0.1:{pubsub}")
    assert first.plain == wanted
    with pytest.raises(OSError, match=f"127.0.0.1:{rpc}"):
        make_node(plain=(rpc, 0)).start()
    with pytest.raises(OSError, match=f"127.0.0.1:{pubsub}"):
        make_node(plain=(0, pubsub)).start()
    first.close()
    monkeypatch.setenv("MESH_PLAIN", f"{rpc},{pubsub}")
    assert make_node().start().plain == wanted


def test_with_a_key_only_who_has_its_keys_gets_in(make_node: Make, clients: Clients) -> None:
    key, other = mesh.generate_key(), mesh.generate_key()
    gateway = make_node("gateway", plain=True, key=key, host="127.0.0.1")
    gateway.rpc("ping", inline=True)(lambda: "pong")
    gateway.start()
    keys = mesh.curve_keys(key, gateway.mesh)
    wrong = mesh.curve_keys(other, gateway.mesh)
    strangers = []
    for pair in (None, wrong):
        strangers.append(clients.socket(zmq.REQ, endpoints(gateway).rpc, pair))
        strangers[-1].send_multipart([b"gateway.ping", b"\x92\x90\x80"])
        strangers.append(clients.socket(zmq.SUB, endpoints(gateway).pubsub, pair))
        strangers[-1].subscribe(b"")
    thief = clients.socket(zmq.REQ, endpoints(gateway).rpc, wrong, server=keys.public)
    thief.send_multipart([b"gateway.ping", b"\x92\x90\x80"])
    strangers.append(thief)

    req = clients.socket(zmq.REQ, endpoints(gateway).rpc, keys)
    sub = clients.socket(zmq.SUB, endpoints(gateway).pubsub, keys)
    sub.subscribe(b"news.")
    assert clients.call(req, "gateway.ping") == ["ok", "pong"]
    until(lambda: gateway.publish("news.today", 1), what="the interest")
    assert sub.recv() == b"news.today\x00\x01"
    assert [stranger.poll(50) for stranger in strangers] == [0] * len(strangers)


def test_garbage_is_answered_or_counted_and_harms_nobody(
    clients: Clients, gateway: mesh.Node, calc: mesh.Node
) -> None:
    rng = random.Random(7)
    dealer = clients.socket(zmq.DEALER, endpoints(gateway).rpc)
    requests = 200
    for _ in range(requests):
        parts = [rng.randbytes(rng.choice((0, 1, 20, 300))) for _ in range(rng.randrange(1, 6))]
        dealer.send_multipart(parts)
        # As fast as its answers: an unread one is dropped.
        dealer.recv_multipart()
    xsub = clients.socket(zmq.XSUB, endpoints(gateway).pubsub)
    for _ in range(requests):
        xsub.send(rng.choice((b"\x00", b"\x01", b"")) + rng.randbytes(rng.randrange(30)))
    xsub.send_multipart([b"\x02message", b"\x01sensors.", b"\x00"])
    xsub.send(b"\x01_mesh.g.workers")
    until(lambda: "plain_prefixes_refused" in gateway.counters(), what="refusals")
    assert gateway.counters()["plain_malformed_requests"] > requests / 2

    req = clients.socket(zmq.REQ, endpoints(gateway).rpc)
    assert clients.call(req, "calc.add", 2, 3) == ["ok", 5]
    assert gateway.call("calc.add", 2, 3) == 5
    assert calc.publish("sensors.kitchen") <= 1  # one, where a random prefix was ">" or the like


def test_a_message_of_countless_frames_gets_one_answer_and_the_next_one_its_own(
    clients: Clients, gateway: mesh.Node, calc: mesh.Node
) -> None:
    dealer = clients.socket(zmq.DEALER, endpoints(gateway).rpc)
    dealer.send_multipart([b"7", b"", *[b"x"] * 5000])
    dealer.send_multipart([b"8", b"", b"calc.add", msgpack.packb([[2], {}])])
    assert dealer.recv_multipart()[:3] == [b"7", b"", b"BadRequest"]
    assert dealer.recv_multipart() == [b"8", b"", b"ok", b"\x03"]
    assert gateway.counters() == {"plain_malformed_requests": 1}


class Asked:
    """A gateway that writes down what the sockets tell it."""

    def __init__(self) -> None:
        self.requests: list[Sequence[bytes]] = []
        self.prefixes: list[tuple[bytes, bool]] = []

    def on_request(self, client: bytes, parts: Sequence[bytes]) -> None:
        self.requests.append(parts)

    def on_prefix(self, prefix: bytes, is_wanted: bool) -> None:
        self.prefixes.append((prefix, is_wanted))

    def begin_drain(self) -> None: ...

    def end_drain(self) -> None: ...


@contextlib.asynccontextmanager
async def asked() -> AsyncIterator[tuple[Asked, PlainSockets, mesh.PlainEndpoints]]:
    """Bare sockets, without a node."""
    gateway = Asked()
    loop = asyncio.get_running_loop()
    sockets = PlainSockets(loop, host="127.0.0.1", shown_host="127.0.0.1", ports=(0, 0), key=None)
    plain = sockets.open(cast(Any, gateway))
    try:
        yield gateway, sockets, plain
    finally:
        sockets.close()
        await sockets.wait_closed()


def test_of_countless_frames_only_some_are_kept(clients: Clients) -> None:
    async def main() -> None:
        async with asked() as (gateway, _, plain):
            dealer = clients.socket(zmq.DEALER, plain.rpc)
            dealer.send_multipart([b"7", b"", *[b"x"] * 5000])
            dealer.send_multipart([b"", b"next", b"one"])
            await until_async(lambda: len(gateway.requests) == 2)
            assert [len(parts) for parts in gateway.requests] == [MAX_PARTS + 1, 3]

    asyncio.run(main())


def test_requests_are_read_at_a_bounded_rate_and_none_is_lost(clients: Clients) -> None:
    count = REQUESTS_AT_ONCE + MAX_REQUESTS_PER_SECOND // 5

    async def main() -> None:
        async with asked() as (gateway, _, plain):
            dealers = [clients.socket(zmq.DEALER, plain.rpc) for _ in range(2)]
            began = time.monotonic()
            for number in range(count):
                dealers[number % 2].send(b"")
                if number % 20 == 0:
                    await asyncio.sleep(0)
            await until_async(lambda: len(gateway.requests) == count)
            assert time.monotonic() - began > 0.2 * 0.99

    asyncio.run(main())


def test_a_subscriber_that_sends_messages_wants_nothing_by_them(clients: Clients) -> None:
    async def main() -> None:
        async with asked() as (gateway, _, plain):
            xsub = clients.socket(zmq.XSUB, plain.pubsub)
            for parts in ([b"\x02a"], [b"\x02a", b"b", b"c"], [b""], [b"\x01d"], [b"\x00d"]):
                xsub.send_multipart(parts)
            await until_async(lambda: len(gateway.prefixes) >= 2)
            assert gateway.prefixes == [(b"d", True), (b"d", False)]

    asyncio.run(main())


def test_what_is_too_large_ends_the_connection_or_the_call_and_no_more(
    clients: Clients, gateway: mesh.Node, calc: mesh.Node
) -> None:
    huge = clients.socket(zmq.DEALER, endpoints(gateway).rpc)
    huge.send_multipart([b"", b"calc.add", bytes(2 * MAX_VALUE_BYTES)])
    req = clients.socket(zmq.REQ, endpoints(gateway).rpc)
    assert clients.call(req, "calc.large", MAX_VALUE_BYTES)[0] == "PayloadTooLarge"
    status, value = clients.call(req, "calc.large", MAX_VALUE_BYTES - 100)
    assert (status, len(value)) == ("ok", MAX_VALUE_BYTES - 100)
    assert huge.poll(0) == 0


def test_a_client_that_vanishes_is_forgotten(
    clients: Clients, gateway: mesh.Node, calc: mesh.Node
) -> None:
    for _ in range(3):
        dealer = clients.socket(zmq.DEALER, endpoints(gateway).rpc)
        for _ in range(MAX_CALLS_PER_CLIENT):
            dealer.send_multipart([b"", b"calc.wait", msgpack.packb([[0.2], {}])])
        dealer.send_multipart([b"", b"calc.wait", msgpack.packb([[0.2], {}])])
        assert dealer.recv_multipart()[1] == b"Overloaded"
        dealer.close()
    dropped = 3 * MAX_CALLS_PER_CLIENT
    until(
        lambda: gateway.counters().get("plain_replies_dropped", 0) == dropped,
        what="the end of its calls",
    )


def test_a_stuck_subscriber_slows_neither_the_mesh_nor_other_subscribers(
    clients: Clients, gateway: mesh.Node, calc: mesh.Node, measured: Measured
) -> None:
    heard: list[int] = []
    gateway.subscriber("a.>", inline=True)(lambda message: heard.append(message.data[0]))

    def rate(count: int) -> float:
        heard.clear()
        began = time.monotonic()
        for number in range(count):
            calc.publish("a.b", [number, payload])
        until(lambda: len(heard) >= count, within=30, what="all messages")
        return count / (time.monotonic() - began)

    payload = b"x" * 1000
    until(lambda: calc.publish("a.b", [0, payload]), what="the interest")
    alone = max(rate(5000) for _ in range(2))
    stuck = hear(clients, gateway, calc, "a.")
    reader = clients.socket(zmq.SUB, endpoints(gateway).pubsub)
    reader.subscribe(b"a.")
    until(lambda: calc.publish("a.b", [0, payload]) and reader.poll(10), what="frames")
    beside = max(rate(5000) for _ in range(3))
    measured("messages/s without", alone)
    measured("messages/s with a stuck plain subscriber", beside)
    assert beside > alone / 10
    assert stuck.get(zmq.EVENTS) & zmq.POLLIN
    while reader.poll(100):
        reader.recv()
    calc.publish("a.last", [0, b"end"])
    while not reader.recv().startswith(b"a.last\x00"):
        pass


def test_a_flood_of_requests_leaves_the_mesh_its_calls(
    clients: Clients, gateway: mesh.Node, calc: mesh.Node, measured: Measured
) -> None:
    gateway.rpc("ping", inline=True)(lambda: "pong")
    until(lambda: calc.wait_for("gateway"), what="the method")

    def times(count: int) -> list[float]:
        taken = []
        for _ in range(count):
            began = time.monotonic()
            assert calc.call("gateway.ping") == "pong"
            taken.append(time.monotonic() - began)
        return sorted(taken)

    alone = times(200)
    stop = threading.Event()
    flood = threading.Thread(target=flood_until, args=(clients, endpoints(gateway).rpc, stop))
    flood.start()
    try:
        until(lambda: "plain_overloaded" in gateway.counters(), what="the flood")
        beside = times(200)
    finally:
        stop.set()
        flood.join()
    measured("ms a call alone, p50", alone[100] * 1000)
    measured("ms a call beside a flood, p50", beside[100] * 1000)
    measured("ms a call beside a flood, p99", beside[198] * 1000)
    assert beside[100] < 0.1
    assert beside[198] < 1.0
    req = clients.socket(zmq.REQ, endpoints(gateway).rpc)
    assert clients.call(req, "calc.add", 2, 3) == ["ok", 5]


def flood_until(clients: Clients, endpoint: str, stop: threading.Event) -> None:
    dealers = [clients.socket(zmq.DEALER, endpoint) for _ in range(4)]
    request = [b"", b"calc.wait", msgpack.packb([[0.05], {}])]
    while not stop.is_set():
        for dealer in dealers:
            with contextlib.suppress(zmq.Again):
                dealer.send_multipart(request, zmq.NOBLOCK)
            with contextlib.suppress(zmq.Again):
                dealer.recv_multipart(zmq.NOBLOCK)
    for dealer in dealers:
        dealer.close()


def test_a_node_with_plain_clients_leaves_no_descriptor_behind(make_node: Make) -> None:
    def open_now() -> int:
        return len(os.listdir("/proc/self/fd"))

    make_node(plain=True).start().close()
    before = open_now()
    for _ in range(5):
        node = make_node(plain=True).start()
        clients = Clients()
        clients.socket(zmq.REQ, endpoints(node).rpc)
        clients.socket(zmq.SUB, endpoints(node).pubsub).subscribe(b"")
        node.close()
        clients.close()
    until(lambda: open_now() <= before, what="descriptors given back")
