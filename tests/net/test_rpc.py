"""The contract of calls on real sockets: outcomes, options, handlers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

import mesh
from tests.net.processes import NodeProcess, until

Make = Callable[..., mesh.Node]
Start = Callable[..., NodeProcess]


@dataclass
class Order:
    item: str
    count: int = 1


class Calc:
    """Methods of all kinds; ``gate`` is what ``hold`` waits for."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.started: list[Any] = []
        self.running = self.most = 0
        self._lock = threading.Lock()

    def add(self, a: int, b: int = 10) -> int:
        return a + b

    def fail(self, text: str) -> None:
        raise LookupError(text)

    def price(self, order: Order, *, vat: bool) -> str:
        return f"{order.count} {order.item} {vat}"

    def who(self, request: mesh.Request, extra: int = 0) -> list[Any]:
        return [request.caller.id, request.headers, request.key, request.deadline, extra]

    def hold(self, what: Any = None) -> Any:
        with self._lock:
            self.started.append(what)
            self.running += 1
            self.most = max(self.most, self.running)
        self.gate.wait(20.0)
        with self._lock:
            self.running -= 1
        return what

    def everything(self, *args: Any, **kwargs: Any) -> list[Any]:
        return [list(args), kwargs]

    async def later(self, value: Any, seconds: float = 0.0) -> Any:
        async with asyncio.timeout(10.0):
            await asyncio.sleep(seconds)
        return value

    async def too_late(self) -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "slept"

    def lose(self) -> None:
        raise mesh.NoProvider("one of mine is gone")

    def unsendable(self) -> object:
        return object()

    def _private(self) -> None:
        raise AssertionError("private methods are not served")


@pytest.fixture
def calc() -> Iterator[Calc]:
    target = Calc()
    yield target
    target.gate.set()


@pytest.fixture(params=["elsewhere", "here"])
def client(request: pytest.FixtureRequest, make_node: Make, calc: Calc) -> mesh.Node:
    """A node that can call ``calc.*``, served by another node or by itself."""
    server = make_node("calc")
    server.serve(calc)
    server.start()
    if request.param == "here":
        return server
    return make_node("shop").start()


def test_a_call_returns_what_the_handler_returned(client: mesh.Node) -> None:
    assert client.call("calc.add", 2, 3) == 5
    assert client.call("calc.add", 2, b=3) == 5
    assert client.call("calc.add", a=2) == 12
    assert client.call("calc.later", "value") == "value"
    assert client.call("calc.everything", 1, 2, x=3, timeout=4, self_=5) == [
        [1, 2],
        {"x": 3, "timeout": 4, "self_": 5},
    ]


def test_a_service_is_an_object_with_its_methods(client: mesh.Node) -> None:
    calc = client.service("calc", timeout=5.0)
    assert calc.add(2, b=3) == 5
    assert calc["add"](2, 3) == 5


def test_what_a_handler_raises_arrives_with_type_message_traceback_and_peer(
    client: mesh.Node,
) -> None:
    with pytest.raises(mesh.RemoteError) as raised:
        client.call("calc.fail", "no such thing")
    error = raised.value
    assert (error.type, error.message) == ("LookupError", "no such thing")
    assert "raise LookupError(text)" in error.traceback
    assert isinstance(error.peer, mesh.Peer)
    assert error.peer.name == "calc"
    assert "LookupError: no such thing" in str(error)


def test_a_mesh_error_inside_a_handler_is_a_remote_error_too(client: mesh.Node) -> None:
    with pytest.raises(mesh.RemoteError) as raised:
        client.call("calc.lose")
    assert raised.value.type == "NoProvider"


def test_a_result_that_cannot_travel_is_a_remote_error(client: mesh.Node) -> None:
    with pytest.raises(mesh.RemoteError) as raised:
        client.call("calc.unsendable")
    assert raised.value.type == "BadPayload"


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, "'a'"),
        ((1, 2, 3), {}, "positional"),
        ((1,), {"c": 1}, "'c'"),
        ((1,), {"a": 1}, "'a'"),
    ],
)
def test_arguments_that_do_not_fit_are_a_bad_request_that_says_which(
    client: mesh.Node, args: tuple[Any, ...], kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(mesh.BadRequest, match=said):
        client.call("calc.add", *args, **kwargs)


def test_a_dataclass_parameter_is_built_from_its_map(client: mesh.Node) -> None:
    assert client.call("calc.price", {"item": "pen", "count": 3}, vat=True) == "3 pen True"
    assert client.call("calc.price", Order("ink"), vat=False) == "1 ink False"
    with pytest.raises(mesh.BadRequest, match="colour"):
        client.call("calc.price", {"item": "pen", "colour": "red"}, vat=True)
    with pytest.raises(mesh.BadRequest, match="vat"):
        client.call("calc.price", {"item": "pen"})


def test_a_request_parameter_tells_caller_deadline_and_headers(client: mesh.Node) -> None:
    service = client.service("calc", timeout=4.0, headers={"trace": "abc"})
    caller, headers, key, deadline, extra = service.who(7)
    assert (caller, headers, key, extra) == (client.id, {"trace": "abc"}, None, 7)
    assert 0 < deadline <= 4.0
    assert client.call("calc.who")[1] == {}
    with pytest.raises(mesh.BadRequest, match="request"):
        client.call("calc.who", request=1)


def test_headers_must_be_strings(client: mesh.Node) -> None:
    with pytest.raises(mesh.BadPayload):
        client.service("calc", headers={"n": 1})  # type: ignore[dict-item]


def test_private_methods_are_not_served(client: mesh.Node) -> None:
    with pytest.raises(mesh.MeshError):
        client.service("calc", wait=0)["_private"]()


def test_a_missing_service_is_no_provider_once_the_grace_is_over(make_node: Make) -> None:
    node = make_node("shop").start()
    with pytest.raises(mesh.NoProvider, match="nobody"):
        node.call("nobody.add", 1)
    began = time.monotonic()
    with pytest.raises(mesh.NoProvider, match="nobody"):
        node.call("nobody.add", 1)
    assert time.monotonic() - began < 0.5, "the grace after start is over: at once"


def test_a_missing_method_is_no_provider_and_lists_those_there_are(client: mesh.Node) -> None:
    with pytest.raises(mesh.NoProvider) as raised:
        client.service("calc", wait=0.5).substract(1)
    assert "substract" in str(raised.value)
    assert "add" in str(raised.value)
    assert "everything" in str(raised.value)


def test_wait_is_for_a_provider_that_comes_later(make_node: Make) -> None:
    client = make_node("shop").start()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.service("calc", wait=20.0, timeout=30.0).add, 2, 3)
        server = make_node("calc")
        server.serve(Calc())
        server.start()
        assert answer.result(30.0) == 5


def test_wait_zero_does_not_wait(make_node: Make) -> None:
    client = make_node("shop").start()
    began = time.monotonic()
    with pytest.raises(mesh.NoProvider):
        client.service("calc", wait=0).add(1)
    assert time.monotonic() - began < 0.5


def test_the_deadline_covers_the_wait_for_a_provider(make_node: Make) -> None:
    client = make_node("shop").start()
    began = time.monotonic()
    with pytest.raises((mesh.NoProvider, mesh.CallTimeout)):
        client.service("calc", wait=30.0, timeout=0.2).add(1)
    assert 0.15 < time.monotonic() - began < 3.0


def test_a_call_without_an_answer_in_time_is_a_call_timeout(client: mesh.Node, calc: Calc) -> None:
    began = time.monotonic()
    with pytest.raises(mesh.CallTimeout) as raised:
        client.service("calc", timeout=0.2).hold(1)
    assert 0.15 < time.monotonic() - began < 3.0
    assert isinstance(raised.value, mesh.Timeout)
    assert isinstance(raised.value, TimeoutError)
    calc.gate.set()
    assert client.call("calc.add", 1, 1) == 2, "the node lives on"


@pytest.mark.parametrize("timeout", [-1.0, float("inf"), float("nan"), "1"])
def test_a_timeout_that_is_no_time_is_a_config_error(client: mesh.Node, timeout: Any) -> None:
    with pytest.raises(mesh.ConfigError):
        client.service("calc", timeout=timeout)


@pytest.mark.parametrize("name", ["", "calc", ".add", "calc.", "a.b.c", "ca lc.add", "calc.a>"])
def test_a_bad_method_name_is_refused_at_once(client: mesh.Node, name: str) -> None:
    with pytest.raises(mesh.BadName):
        client.call(name)


def test_async_handlers_can_use_asyncio_timeout(client: mesh.Node) -> None:
    assert client.call("calc.too_late") == "timed out"


def test_calls_of_many_threads_run_at_the_same_time(client: mesh.Node, calc: Calc) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(client.call, "calc.hold", number) for number in range(8)]
        until(lambda: calc.most == 8)
        calc.gate.set()
        assert [answer.result(20.0) for answer in answers] == list(range(8))


@pytest.mark.parametrize("inline", [True, False])
def test_inline_handlers_run_on_the_loop_and_others_do_not(make_node: Make, inline: bool) -> None:
    node = make_node("calc")
    node.rpc("where", inline=inline)(lambda: threading.current_thread().name)
    node.start()
    assert node.call("calc.where").startswith("mesh-worker") is not inline


def test_no_more_calls_of_a_method_run_at_once_than_its_concurrency(
    make_node: Make, calc: Calc
) -> None:
    server = make_node("calc")
    server.rpc("hold", concurrency=2)(calc.hold)
    server.rpc("free")(lambda: "free")
    server.start()
    client = make_node("shop").start()
    with ThreadPoolExecutor(6) as pool:
        service = client.service("calc", timeout=20.0)
        answers = [pool.submit(service.hold, number) for number in range(6)]
        until(lambda: calc.running == 2)
        assert client.call("calc.free") == "free", "another method has its own limit"
        assert len(calc.started) == 2
        calc.gate.set()
        assert [answer.result(20.0) for answer in answers] == list(range(6))
    assert calc.most == 2


def test_a_call_that_expired_while_it_waited_in_line_is_not_started(
    make_node: Make, calc: Calc
) -> None:
    server = make_node("calc")
    server.rpc("hold", concurrency=1)(calc.hold)
    server.start()
    client = make_node("shop").start()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.service("calc", timeout=20.0).hold, "first")
        until(lambda: calc.started)
        with pytest.raises(mesh.CallTimeout):
            client.service("calc", timeout=0.1).hold("expired")
        # Its time counts from its arrival, which may have been late; or it is cancelled before.
        until(lambda: len(server.aio.host.engine.server) == 1)
        calc.gate.set()
        assert first.result(20.0) == "first"
    assert client.call("calc.hold", "last") == "last"
    assert calc.started == ["first", "last"]


def test_a_line_that_is_full_is_overloaded_at_once(mesh_name: str) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        server = mesh.AsyncNode("calc", mesh=mesh_name, discovery=("local",))

        @server.rpc(concurrency=1)
        async def hold() -> str:
            await gate.wait()
            return "held"

        async with server, mesh.AsyncNode(mesh=mesh_name, discovery=("local",)) as client:
            await client.wait_for("calc", timeout=20)
            service = client.service("calc", timeout=60.0)
            calls = [asyncio.ensure_future(service.hold()) for _ in range(2000)]
            done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED, timeout=20)
            assert done
            gate.set()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        kinds = {type(outcome) for outcome in outcomes}
        assert kinds == {str, mesh.Overloaded}
        assert outcomes.index("held") == 0

    asyncio.run(asyncio.wait_for(main(), 60))


def test_peer_chooses_the_node(make_node: Make, start_process: Start) -> None:
    replicas = [start_process("calc") for _ in range(3)]
    client = make_node("shop").start()
    for peer in client.wait_for("calc", count=3, timeout=20.0):
        pid = next(r.pid for r in replicas if r.id == peer.id)
        assert {client.service("calc", peer=peer).pid() for _ in range(5)} == {pid}
        assert client.service("calc", peer=peer.id).pid() == pid


def test_a_peer_that_is_gone_is_lost_and_one_that_is_no_id_a_config_error(
    make_node: Make,
) -> None:
    client = make_node("shop").start()
    with pytest.raises(mesh.PeerLost) as raised:
        client.service("calc", peer="0" * 32).add(1)
    assert isinstance(raised.value, ConnectionError)
    with pytest.raises(mesh.ConfigError):
        client.service("calc", peer="calc").add(1)


def test_calls_are_spread_over_all_replicas(make_node: Make, start_process: Start) -> None:
    replicas = [start_process("calc", wait=False) for _ in range(3)]
    for replica in replicas:
        replica.wait_started()
    client = make_node("shop").start()
    client.wait_for("calc", count=3, timeout=20.0)
    pids = [client.call("calc.pid") for _ in range(90)]
    assert set(pids) == {replica.pid for replica in replicas}
    assert min(pids.count(replica.pid) for replica in replicas) > 10


def test_a_call_in_flight_is_lost_when_its_provider_closes(make_node: Make, calc: Calc) -> None:
    server = make_node("calc")
    server.serve(calc)
    server.start()
    client = make_node("shop").start()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.service("calc", timeout=30.0).hold)
        until(lambda: calc.started)
        with released_later(calc):
            server.close()
        with pytest.raises(mesh.PeerLost):
            answer.result(20.0)


@contextmanager
def released_later(calc: Calc) -> Iterator[None]:
    """``close`` waits a moment for handlers in threads; what it guards must not need that."""
    try:
        yield
    finally:
        calc.gate.set()


def test_a_call_in_flight_ends_with_node_closed_when_its_own_node_closes(
    make_node: Make, calc: Calc
) -> None:
    server = make_node("calc")
    server.serve(calc)
    server.start()
    client = make_node("shop").start()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.service("calc", timeout=30.0).hold)
        until(lambda: calc.started)
        client.close()
        with pytest.raises(mesh.NodeClosed):
            answer.result(20.0)


def test_a_method_added_after_start_can_be_called(make_node: Make) -> None:
    server, client = make_node("calc").start(), make_node("shop").start()
    client.wait_for("calc", timeout=20.0)

    @server.rpc
    def added() -> str:
        return "yes"

    assert client.service("calc", wait=20.0, timeout=30.0).added() == "yes"
    assert added() == "yes", "the function is returned unchanged"


def test_one_object_can_be_served_as_another_service(make_node: Make) -> None:
    server = make_node("calc")
    server.serve(Calc(), service="sums")
    server.start()
    client = make_node("shop").start()
    assert client.call("sums.add", 1, 2) == 3
    assert {"calc", "sums"} <= set(client.peers()[0].services)
    with pytest.raises(mesh.NoProvider):
        client.service("calc", wait=0).add(1, 2)


def test_a_large_value_goes_both_ways(client: mesh.Node) -> None:
    value = bytes(8 * 1024 * 1024)
    assert client.service("calc", timeout=30.0).later(value) == value


def test_a_value_above_the_limit_is_refused_at_the_caller(client: mesh.Node) -> None:
    with pytest.raises(mesh.PayloadTooLarge):
        client.call("calc.later", bytes(64 * 1024 * 1024))
    with pytest.raises(mesh.BadPayload):
        client.call("calc.later", object())
    assert client.call("calc.add", 1, 2) == 3


def test_a_result_above_the_limit_is_a_remote_error(make_node: Make) -> None:
    node = make_node("calc")
    node.rpc("big")(lambda: bytes(64 * 1024 * 1024))
    node.start()
    with pytest.raises(mesh.RemoteError) as raised:
        make_node("shop").start().call("calc.big")
    assert raised.value.type == "PayloadTooLarge"


def test_a_cancelled_call_is_cancelled_at_its_handler(mesh_name: str) -> None:
    async def main() -> None:
        started, ended = asyncio.Event(), asyncio.Event()
        server = mesh.AsyncNode("calc", mesh=mesh_name, discovery=("local",))

        @server.rpc
        async def hang() -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with server, mesh.AsyncNode(mesh=mesh_name, discovery=("local",)) as client:
            call = asyncio.ensure_future(client.service("calc", timeout=60.0).hang())
            await asyncio.wait_for(started.wait(), 20)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.wait_for(ended.wait(), 10)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_an_async_handler_is_cancelled_when_its_caller_has_timed_out(mesh_name: str) -> None:
    async def main() -> None:
        ended = asyncio.Event()
        server = mesh.AsyncNode("calc", mesh=mesh_name, discovery=("local",))

        @server.rpc
        async def hang() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with server, mesh.AsyncNode(mesh=mesh_name, discovery=("local",)) as client:
            with pytest.raises(mesh.CallTimeout):
                await client.service("calc", timeout=0.5).hang()
            await asyncio.wait_for(ended.wait(), 10)

    asyncio.run(asyncio.wait_for(main(), 60))
