"""The contract of ``Node``: names, settings, life, membership verbs, threads."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import mesh
from tests.net.processes import until

Make = Callable[..., mesh.Node]

CLOSE_WITHIN = 1.0 * 10
"""Seconds that the contract gives to ``close``, with ten times the time for a busy machine."""

AWAITED = {"start", "close", "flush", "call", "subscribe", "join", "wait_for", "ping", "run"}
PLAIN = {"publish", "broadcast", "send", "service", "peers", "owner", "owners", "watch", "serve"}
DECORATORS = {"rpc", "subscriber", "member"}

VERBS: dict[str, Callable[[mesh.Node], Any]] = {
    "call": lambda node: node.call("calc.add", 1, 2),
    "service": lambda node: node.service("calc").add(1, 2),
    "publish": lambda node: node.publish("a"),
    "broadcast": lambda node: node.broadcast("a"),
    "send": lambda node: node.send("0" * 32, "a"),
    "subscribe": lambda node: node.subscribe("a"),
    "join": lambda node: node.join("a"),
    "peers": lambda node: node.peers(),
    "owner": lambda node: node.owner("a", "key"),
    "owners": lambda node: node.owners("a", "key"),
    "watch": lambda node: node.watch(),
    "wait_for": lambda node: node.wait_for("a"),
    "flush": lambda node: node.flush(),
    "ping": lambda node: node.ping("0" * 32),
    "me": lambda node: node.me,
}


# Shape.


def test_both_faces_have_the_same_names_and_parameters() -> None:
    for name in AWAITED | PLAIN | DECORATORS:
        blocking, awaited = getattr(mesh.Node, name), getattr(mesh.AsyncNode, name)
        assert [p.replace(annotation=p.empty) for p in parameters(blocking)] == [
            p.replace(annotation=p.empty) for p in parameters(awaited)
        ], name
    assert parameters(mesh.Node.__init__) == parameters(mesh.AsyncNode.__init__)


def parameters(function: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def test_every_name_of_the_contract_is_there() -> None:
    errors = {
        "NoProvider": (),
        "Timeout": (TimeoutError,),
        "CallTimeout": (mesh.Timeout,),
        "PeerLost": (ConnectionError,),
        "RemoteError": (),
        "BadRequest": (),
        "BadName": (ValueError,),
        "BadPayload": (TypeError,),
        "PayloadTooLarge": (),
        "Overloaded": (),
        "NodeClosed": (),
        "ConfigError": (),
    }
    for name, also in errors.items():
        assert issubclass(getattr(mesh, name), (mesh.MeshError, *also))
        for base in also:
            assert issubclass(getattr(mesh, name), base)
    events = ["Joined", "Updated", "Suspected", "Recovered", "Unresponsive", "Failed", "Left"]
    for event in [*(getattr(mesh, f"Peer{name}") for name in events), mesh.Gap]:
        assert issubclass(event, mesh.Event)


# Names and settings.


@pytest.mark.parametrize("name", ["", "a.b", "a b", "ä", "x" * 65, "a/b", "*", 7])
def test_a_bad_node_or_mesh_name_is_refused(name: Any) -> None:
    with pytest.raises(mesh.BadName):
        mesh.Node(name)
    if name:  # an empty one is unset
        with pytest.raises(mesh.BadName):
            mesh.Node("good", mesh=name)


def test_a_node_without_a_name_is_anonymous() -> None:
    node = mesh.Node()
    assert node.name == f"anon-{node.id[:8]}"
    assert len(node.id) == 32
    assert bytes.fromhex(node.id)
    assert mesh.Node().id != node.id
    assert mesh.Node("x" * 64).name == "x" * 64


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "0.0.0.0"},
        {"host": "192.0.2.1"},
        {"port": -1},
        {"port": 70_000},
        {"port": "7000"},
        {"seeds": "127.0.0.1:7000"},
        {"seeds": ["nowhere"]},
        {"seeds": ["127.0.0.1:99999"]},
        {"discovery": "mdns"},
        {"discovery": ["pigeon"]},
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(mesh.ConfigError):
        mesh.Node("calc", **settings)


def test_the_environment_gives_what_arguments_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_NAME", "from-environment")
    assert mesh.Node().mesh == "from-environment"
    assert mesh.Node(mesh="argument").mesh == "argument"
    monkeypatch.setenv("MESH_NAME", "")
    assert mesh.Node().mesh == "mesh"
    monkeypatch.setenv("MESH_SEEDS", "nowhere")
    with pytest.raises(mesh.ConfigError):
        mesh.Node()
    monkeypatch.setenv("MESH_SEEDS", "127.0.0.1:7000, 127.0.0.1:7001")
    mesh.Node()
    monkeypatch.setenv("MESH_INSECURE", "perhaps")
    with pytest.raises(mesh.ConfigError):
        mesh.Node()


def test_a_taken_port_is_an_os_error_and_leaves_nothing_open(make_node: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        node = make_node("calc", port=taken.getsockname()[1])
        threads = threading.active_count()
        with pytest.raises(OSError, match="in use"):
            node.start()
        until(lambda: threading.active_count() == threads)
        node.close()


def test_without_a_key_a_node_is_on_loopback_only(make_node: Make) -> None:
    node = make_node("calc").start()
    assert node.me.address.startswith("127.0.0.1:")


# Life.


def test_constructing_touches_nothing(mesh_name: str) -> None:
    threads = threading.enumerate()
    nodes = [mesh.Node("calc", mesh=mesh_name) for _ in range(10)]
    assert threading.enumerate() == threads
    del nodes


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_before_start_and_after_close_are_node_closed(make_node: Make, verb: str) -> None:
    node = make_node("calc")
    with pytest.raises(mesh.NodeClosed):
        VERBS[verb](node)
    node.start()
    node.close()
    with pytest.raises(mesh.NodeClosed):
        VERBS[verb](node)


def test_a_second_start_does_nothing(make_node: Make) -> None:
    node = make_node("calc")
    assert node.start() is node
    address = node.me.address
    assert node.start() is node
    assert node.me.address == address


def test_a_closed_node_cannot_be_started(make_node: Make) -> None:
    for node in (make_node("never"), make_node("once").start()):
        node.close()
        with pytest.raises(mesh.NodeClosed):
            node.start()


def test_close_is_idempotent_and_quick(make_node: Make) -> None:
    others = [make_node("other").start() for _ in range(3)]
    node = make_node("calc", discovery=("mdns", "local", "exchange")).start()
    node.wait_for("other", count=len(others), timeout=20.0)
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: node.close(), range(4)))
    assert time.monotonic() - began < CLOSE_WITHIN
    node.close()


def test_close_is_quick_when_a_handler_and_a_peer_hang(make_node: Make) -> None:
    gate = threading.Event()
    node, deaf = make_node("calc"), make_node("deaf")
    entered = threading.Event()

    @node.subscriber("hang")
    def hang(message: mesh.Message) -> None:
        entered.set()
        gate.wait(20.0)

    @deaf.subscriber("hang", inline=True)
    def hang_too(message: mesh.Message) -> None:
        gate.wait(20.0)

    node.start()
    deaf.start()
    node.wait_for("deaf", timeout=20.0)
    try:
        assert node.publish("hang") == 2
        assert entered.wait(10.0)
        began = time.monotonic()
        node.close()
        assert time.monotonic() - began < CLOSE_WITHIN
    finally:
        gate.set()


def test_leaving_with_by_an_exception_closes(make_node: Make) -> None:
    node = make_node("calc")
    with pytest.raises(ZeroDivisionError), node:
        raise ZeroDivisionError
    with pytest.raises(mesh.NodeClosed):
        node.peers()


def test_a_wait_ends_with_node_closed_when_the_node_closes(make_node: Make) -> None:
    node = make_node("calc").start()
    waits: list[Callable[[], Any]] = [
        lambda: node.wait_for("nobody", timeout=60.0),
        lambda: node.service("nobody", wait=60.0, timeout=60.0).add(),
        lambda: node.join("crew").get(),
    ]
    with ThreadPoolExecutor(len(waits)) as pool:
        results = [pool.submit(wait) for wait in waits]
        until(lambda: node.me.groups == {"crew"})
        node.close()
        for result in results:
            with pytest.raises(mesh.NodeClosed):
                result.result(10.0)


def test_a_coroutine_handler_that_outlives_the_node_is_cancelled(make_node: Make) -> None:
    ended: list[str] = []
    entered = threading.Event()
    node = make_node("calc")

    @node.rpc
    async def call() -> None:
        await hang("call")

    @node.subscriber("news")
    async def news(message: mesh.Message) -> None:
        await hang("news")

    async def hang(name: str) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(name)
            raise

    node.start()
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(node.call, "calc.call")
        assert entered.wait(10.0)
        entered.clear()
        node.publish("news")
        assert entered.wait(10.0)
        node.close()
        with pytest.raises(mesh.NodeClosed):
            calling.result(10.0)
    assert sorted(ended) == ["call", "news"]


# Threads.


@pytest.mark.parametrize("verb", ["call", "service", "subscribe", "join", "wait_for", "flush"])
def test_a_blocking_verb_on_the_loop_thread_is_a_runtime_error_and_no_deadlock(
    make_node: Make, verb: str
) -> None:
    caught: list[BaseException] = []
    node = make_node("calc")

    @node.subscriber("go", inline=True)
    def go(message: mesh.Message) -> None:
        try:
            VERBS[verb](node)
        except BaseException as error:
            caught.append(error)
            raise

    node.start()
    node.publish("go")
    until(lambda: caught)
    assert isinstance(caught[0], RuntimeError)
    assert "node.aio" in str(caught[0])
    assert node.peers() == []


def test_close_on_the_loop_thread_is_a_runtime_error(make_node: Make) -> None:
    node = make_node("calc")
    node.rpc("end", inline=True)(node.close)
    node.start()
    with pytest.raises(mesh.RemoteError) as raised:
        node.call("calc.end")
    assert raised.value.type == "RuntimeError"


def test_plain_verbs_work_on_the_loop_thread(make_node: Make) -> None:
    node = make_node("calc")

    @node.rpc(inline=True)
    def plain() -> list[Any]:
        return [node.publish("a"), node.broadcast("a"), len(node.peers()), node.me.name]

    node.start()
    assert node.call("calc.plain") == [0, 0, 0, "calc"]


def test_async_handlers_use_the_async_face(make_node: Make) -> None:
    node = make_node("calc")
    node.rpc("add")(lambda a, b: a + b)

    @node.rpc
    async def twice(a: int) -> int:
        return int(await node.aio.call("calc.add", a, a))

    node.start()
    assert node.call("calc.twice", 4) == 8


def test_handlers_in_the_pool_may_use_blocking_verbs(make_node: Make) -> None:
    node = make_node("calc")
    node.rpc("add")(lambda a, b: a + b)

    @node.rpc
    def twice(a: int) -> int:
        return int(node.call("calc.add", a, a))

    node.start()
    assert node.call("calc.twice", 4) == 8


# Decorators.


def test_decorators_return_the_function_unchanged(make_node: Make) -> None:
    node = make_node("calc")

    def function(*args: Any) -> None: ...

    assert node.rpc(function) is function
    assert node.rpc("other")(function) is function
    assert node.rpc(concurrency=3)(named("third")) is not None
    assert node.subscriber("a")(function) is function
    assert node.member("a")(function) is function


def named(name: str) -> Callable[[], str]:
    def function() -> str:
        return name

    function.__name__ = name
    return function


@pytest.mark.parametrize("is_started", [False, True])
def test_a_duplicate_method_is_a_config_error(make_node: Make, is_started: bool) -> None:
    node = make_node("calc")
    node.rpc(named("add"))
    if is_started:
        node.start()
    with pytest.raises(mesh.ConfigError, match="add"):
        node.rpc(named("add"))
    with pytest.raises(mesh.ConfigError, match="add"):
        node.rpc("add")(named("other"))
    node.start()
    assert node.call("calc.add") == "add"


@pytest.mark.parametrize("is_started", [False, True])
def test_an_observer_that_serves_is_a_config_error(make_node: Make, is_started: bool) -> None:
    node = make_node("watcher", observer=True)
    if is_started:
        node.start()
    for register in (
        lambda: node.rpc(named("add")),
        lambda: node.subscriber("a")(lambda message: None),
        lambda: node.member("a")(lambda message: None),
        lambda: node.serve(threading.Event()),
    ):
        with pytest.raises(mesh.ConfigError, match="observer"):
            register()


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"buffer": 0}])
def test_bounds_below_one_are_config_errors(make_node: Make, options: dict[str, Any]) -> None:
    node = make_node("calc").start()
    with pytest.raises(mesh.ConfigError):
        node.subscriber("a", **options)(lambda message: None)
    if "buffer" in options:
        with pytest.raises(mesh.ConfigError):
            node.subscribe("a", **options)


def test_handlers_added_after_start_are_announced(make_node: Make) -> None:
    received: list[Any] = []
    node, other = make_node("calc").start(), make_node("other").start()
    other.wait_for("calc", timeout=20.0)
    with other.watch() as events:
        assert isinstance(events.get(timeout=10.0), mesh.PeerJoined)
        node.subscriber("news")(received.append)
        node.member("crew")(received.append)
        node.rpc(named("late"))
        updated = events.get(timeout=10.0)
        assert isinstance(updated, mesh.PeerUpdated)
    other.wait_for(group="crew", timeout=20.0)
    until(lambda: other.publish("news"))
    assert other.service("calc", wait=10.0).late() == "late"
    until(lambda: received)


# Membership.


def test_wait_for_counts_alive_providers_itself_included(make_node: Make) -> None:
    nodes = [make_node("calc").start() for _ in range(3)]
    for node in nodes:
        assert {p.id for p in node.wait_for("calc", count=3, timeout=20.0)} == {n.id for n in nodes}
    with pytest.raises(mesh.Timeout, match="4"):
        nodes[0].wait_for("calc", count=4, timeout=0.05)
    assert nodes[0].wait_for("calc", count=0, timeout=0.05)


def test_wait_for_a_group_counts_its_members(make_node: Make) -> None:
    node, other = make_node("a").start(), make_node("b").start()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(node.wait_for, group="crew", count=2, timeout=20.0)
        with node.join("crew"), other.join("crew"):
            assert {p.id for p in waiting.result(20.0)} == {node.id, other.id}
            assert node.me.groups == {"crew"}
    until(lambda: not any(peer.groups for peer in node.peers()))


def test_wait_for_without_a_name_is_until_everybody_heard_of_is_linked(make_node: Make) -> None:
    others = [make_node("other").start() for _ in range(3)]
    node = make_node("late").start()
    began = time.monotonic()
    peers = node.wait_for()
    assert time.monotonic() - began < 10.0
    assert {peer.id for peer in peers} == {other.id for other in others}
    alone = make_node("alone", mesh=f"alone-{node.id}").start()
    assert alone.wait_for() == []


def test_observers_see_and_call_but_are_not_listed(make_node: Make) -> None:
    server = make_node("calc")
    server.rpc(named("add"))
    server.start()
    observer = make_node("watcher", observer=True).start()
    assert observer.call("calc.add") == "add"
    with server.watch() as events, observer.subscribe("news") as subscription:
        assert subscription.unconfirmed == []
        assert server.publish("news", 1) == 1
        assert subscription.get(timeout=10.0).data == 1
        assert server.peers() == []
        (listed,) = server.peers(all=True)
        assert (listed.id, listed.state) == (observer.id, "alive")
        observer.close()
        until(lambda: server.peers(all=True)[0].state == "left")
        with pytest.raises(mesh.Timeout):
            events.get(timeout=0.05)


def test_watch_begins_with_the_known_peers_and_then_tells_changes(make_node: Make) -> None:
    node, known = make_node("node").start(), make_node("known").start()
    node.wait_for("known", timeout=20.0)
    with node.watch() as events:
        first = events.get(timeout=10.0)
        assert (type(first), first.peer.id) == (mesh.PeerJoined, known.id)
        newcomer = make_node("newcomer").start()
        joined = events.get(timeout=10.0)
        assert (type(joined), joined.peer.id) == (mesh.PeerJoined, newcomer.id)
        known.close()
        left = events.get(timeout=10.0)
        assert (type(left), left.peer.id, left.peer.state) == (mesh.PeerLeft, known.id, "left")
        assert left.reason
    assert [peer.id for peer in node.peers()] == [newcomer.id]
    assert {peer.id for peer in node.peers(all=True)} == {known.id, newcomer.id}


def test_peers_are_values(make_node: Make) -> None:
    node = make_node("calc", tags={"a": "b"}).start()
    me = node.me
    assert me == node.me
    with pytest.raises(AttributeError):
        me.name = "other"  # type: ignore[misc]
    assert (me.id, me.name, me.tags, me.state) == (node.id, "calc", {"a": "b"}, "alive")
    assert me.services == {"calc": ()}
    node.rpc(named("add"))
    assert node.me.services == {"calc": ("add",)}
    assert me.services == {"calc": ()}


def test_repr_says_who_and_in_what_state(make_node: Make) -> None:
    node = make_node("calc")
    assert "not started" in repr(node)
    node.start()
    assert f"calc/{node.id[:8]}" in repr(node)
    assert "running" in repr(node)
    node.close()
    assert "closed" in repr(node)
