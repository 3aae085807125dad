"""What a node leaves behind when it ends: nothing, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor as Pool
from typing import Any

import pytest

import mesh
from tests.net.processes import Script, until, until_async

Run = Callable[..., Script]

EXIT_WITHIN = 3.0 * 10
"""Seconds for an interpreter that ends without ``close()``, import included; a hang is minutes."""

KEYS = pytest.mark.parametrize("key", [None, "open sesame"], ids=["plain", "keyed"])
ALL_SOURCES = ("mdns", "local", "exchange")

KINDS = pytest.mark.parametrize(
    ("rounds", "key", "sources"),
    [
        pytest.param(20, None, ("local",), id="20 rounds"),
        pytest.param(4, None, ALL_SOURCES, id="4 rounds of all sources"),
        pytest.param(4, "open sesame", ("local",), id="4 rounds with a key"),
        pytest.param(20, "open sesame", ALL_SOURCES, id="20 rounds of all", marks=pytest.mark.slow),
    ],
)
"""Goodbyes of mDNS and stretching a passphrase take time, so only the slow run repeats them."""


def descriptors() -> dict[str, str]:
    """The open files of this process, but for the one that lists them."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[number] = os.readlink(f"/proc/self/fd/{number}").partition(":")[0]
    return {n: kind for n, kind in found.items() if not kind.endswith("/fd")}


def zmq_threads() -> int:
    """Threads of this process that Python does not know of are libzmq's."""
    return len(os.listdir("/proc/self/task"))


def use(server: mesh.Node, client: mesh.Node) -> None:
    """Open all that a node opens on use."""
    with client.subscribe("news.>") as news, client.watch():
        assert client.call("server.add", 1, 2) == 3
        assert until(lambda: server.publish("news.today", 1))
        assert news.get(timeout=10.0).data == 1


@KINDS
def test_rounds_of_nodes_leave_nothing_behind(
    mesh_name: str, rounds: int, key: str | None, sources: tuple[str, ...]
) -> None:
    def one_round() -> None:
        settings: Any = {"mesh": mesh_name, "key": key, "host": "127.0.0.1", "discovery": sources}
        server = mesh.Node("server", **settings)
        server.rpc("add")(lambda a, b: a + b)
        with server, mesh.Node("client", **settings) as client:
            use(server, client)

    one_round()
    gc.collect()
    before = descriptors(), set(threading.enumerate()), zmq_threads()
    for _ in range(rounds):
        one_round()
    until(lambda: zmq_threads() <= before[2], 10.0, "the end of all threads")
    gc.collect()
    assert set(threading.enumerate()) == before[1]
    assert descriptors() == before[0]


@KINDS
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_rounds_of_async_nodes_leave_nothing_behind(
    mesh_name: str, rounds: int, key: str | None, sources: tuple[str, ...], loop: str
) -> None:
    async def one_round() -> None:
        settings: Any = {"mesh": mesh_name, "key": key, "host": "127.0.0.1", "discovery": sources}
        server = mesh.AsyncNode("server", **settings)

        @server.rpc
        async def add(a: int, b: int) -> int:
            return a + b

        async with (
            server,
            mesh.AsyncNode("client", **settings) as client,
            client.subscribe("news.>") as news,
            client.watch(),
        ):
            assert await client.call("server.add", 1, 2) == 3
            assert await until_async(lambda: server.publish("news.today", 1))
            assert (await news.get(timeout=10.0)).data == 1

    async def main() -> None:
        await one_round()
        tasks = asyncio.all_tasks()
        gc.collect()
        before = descriptors(), set(threading.enumerate()), zmq_threads()
        for _ in range(rounds):
            await one_round()
            assert asyncio.all_tasks() == tasks
        await until_async(lambda: zmq_threads() <= before[2], 10.0, "the end of all threads")
        gc.collect()
        assert set(threading.enumerate()) == before[1]
        assert descriptors() == before[0]

    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(main(), 60))


BLOCKING = """
import sys, mesh
settings = dict(mesh=sys.argv[1], key=sys.argv[2] or None, host="127.0.0.1")
server = mesh.Node("server", **settings)
@server.rpc
def add(a, b):
    return a + b
@server.subscriber("news.>")
def on_news(message): pass
server.start()
client = mesh.Node("client", **settings).start()
assert client.call("server.add", 1, 2) == 3
client.publish("news.today", 1)
client.flush()
"""

ASYNC = """
import asyncio, sys, mesh
async def main():
    settings = dict(mesh=sys.argv[1], key=sys.argv[2] or None, host="127.0.0.1")
    server = mesh.AsyncNode("server", **settings)
    @server.rpc
    async def add(a, b):
        return a + b
    @server.subscriber("news.>")
    async def on_news(message): pass
    await server.start()
    global kept
    kept = client = await mesh.AsyncNode("client", **settings).start()
    assert await client.call("server.add", 1, 2) == 3
    client.publish("news.today", 1)
    {end}
asyncio.run(main())
"""

ENDS = {
    "blocking": BLOCKING,
    "blocking, threads in waits": BLOCKING
    + "import threading\n"
    + "def end(wait):\n    try: wait()\n    except (mesh.NodeClosed, StopIteration): pass\n"
    + "nobody = client.service('nobody', wait=60.0, timeout=60.0)\n"
    + "news = client.subscribe('never')\n"
    + "for wait in (nobody.x, news.get, lambda: [*client.watch()]):\n"
    + "    threading.Thread(target=end, args=(wait,), daemon=True).start()\n",
    "async": ASYNC.replace("{end}", "pass"),
    "async, kept in a global with a call waiting": ASYNC.replace(
        "{end}", "asyncio.ensure_future(client.service('nobody', wait=60.0).x())"
    ),
    "sys.exit": BLOCKING + "sys.exit(0)\n",
}


@KEYS
@pytest.mark.parametrize("end", ENDS)
def test_an_interpreter_that_ends_without_close_does_not_hang(
    run_script: Run, mesh_name: str, key: str | None, end: str
) -> None:
    script = run_script(ENDS[end], mesh_name, key or "")
    assert script.wait(EXIT_WITHIN) == 0, script.errors
    assert all("lost at close: 1 calls" in line for line in script.errors.splitlines())


def test_an_error_that_ends_the_program_is_its_own_and_nothing_hangs(
    run_script: Run, mesh_name: str
) -> None:
    script = run_script(BLOCKING + "raise SystemExit(7)\n", mesh_name, "")
    assert script.wait(EXIT_WITHIN) == 7
    assert script.errors == ""


RUN = """
import sys, threading, mesh
node = mesh.Node("server", mesh=sys.argv[1], discovery=("local",))
@node.rpc
def add(a, b):
    return a + b
node.run()
print("ended", flush=True)
"""

RUN_ASYNC = """
import asyncio, sys, mesh
node = mesh.AsyncNode("server", mesh=sys.argv[1], discovery=("local",))
@node.rpc
async def add(a, b):
    return a + b
asyncio.run(node.run())
print("ended", flush=True)
"""


@pytest.mark.parametrize("text", [RUN, RUN_ASYNC], ids=["Node", "AsyncNode"])
@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGINT"])
def test_run_serves_until_a_signal_and_says_goodbye(
    run_script: Run, mesh_name: str, text: str, signal_name: str
) -> None:
    script = run_script(text, mesh_name)
    with mesh.Node("client", mesh=mesh_name, discovery=("local",)) as client:
        client.wait_for("server", timeout=20.0)
        assert client.call("server.add", 1, 2) == 3
        script.signal(getattr(signal, signal_name))
        assert script.wait(EXIT_WITHIN) == 0, script.errors
        assert script.process.stdout is not None
        assert script.process.stdout.read() == "ended\n"
        assert script.errors == ""
        assert until(lambda: client.peers(all=True)[0].state) == "left"


SLOW = """
import asyncio, sys, time, mesh
FACE = sys.argv[2]
node = getattr(mesh, FACE)("server", mesh=sys.argv[1], discovery=("local",))
begun = []
@node.rpc
async def wait(seconds):
    begun.append(seconds)
    await asyncio.sleep(seconds)
    return "done"
@node.rpc
async def has_begun():
    return bool(begun)
if FACE == "Node":
    node.run()
else:
    asyncio.run(node.run())
print("ended", flush=True)
"""


@pytest.mark.parametrize("face", ["Node", "AsyncNode"])
def test_a_signal_lets_what_runs_end_and_a_second_one_closes_at_once(
    run_script: Run, mesh_name: str, face: str
) -> None:
    first, second = (run_script(SLOW, mesh_name, face) for _ in range(2))
    with mesh.Node("client", mesh=mesh_name, discovery=("local",)) as client, Pool(2) as pool:
        one, other = client.wait_for("server", count=2, timeout=20.0)
        short, long = (
            pool.submit(client.service("server", peer=peer, timeout=60).wait, seconds)
            for peer, seconds in ((one, 1.0), (other, 60.0))
        )
        for peer in (one, other):
            until(client.service("server", peer=peer).has_begun)
        for script in (first, second):
            script.signal(signal.SIGTERM)
        until(lambda: not any(peer.services for peer in client.peers()))
        assert short.result(20) == "done"
        ended = until(lambda: [s for s in (first, second) if s.process.poll() is not None], 20)
        (waits,) = {first, second} - set(ended)
        waits.signal(signal.SIGTERM)
        with pytest.raises(mesh.PeerLost):
            long.result(20)
        for script in (first, second):
            assert script.wait(EXIT_WITHIN) == 0, script.errors
