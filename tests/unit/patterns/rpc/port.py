"""A port for both sides of request/reply, on virtual time; what is sent is kept to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from mesh.testing.clock import ProcessClock, SimClock
from mesh.wire.codec import Codec
from patterns.rpc import Method, Providers, RpcClient, RpcServer
from patterns.streams import Streams, StreamServer
from tests.sim.runner import SimRunner
from tests.sim.waiter import SimWaiter


class Node:
    """A handle."""

    def __init__(self, name: str) -> None:
        self.id = name.encode()
        self.outstanding = 0
        self.peer = self
        self.name = name

    def __repr__(self) -> str:
        return self.name


class Port:
    """``patterns.port.RpcPort`` and everything around a client and a server."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.random = Random(1)
        self.codec = Codec()
        self.requests: list[tuple[Node, list[Any]]] = []
        self.cancelled: list[tuple[Node, int]] = []
        self.replies: list[tuple[Any, list[Any]]] = []
        self.grace = 0.0
        self.local = Node("local")
        self.preference: list[Node] = []
        """For every key, best first. ``provide`` appends."""
        self.kept_in_order = 8
        self.runner = SimRunner(ProcessClock(self.clock))
        self.providers = Providers(self.random)
        self.client = RpcClient(self, self.providers, lambda: self.grace)
        self.server = RpcServer(self, self.runner, self.providers)
        self.server.streams = StreamServer(Streams(self), self.runner)

    def now(self) -> float:
        return self.clock.now()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        return self.clock.call_later(delay, callback)

    def count(self, what: str, by: int = 1) -> None:
        """Nothing of streams is counted here."""

    def stream_ready(self, handle: Any, stream: Any) -> None:
        raise AssertionError("no stream is opened here")

    def tell_stream(self, handle: Any, entry: bytes) -> None:
        raise AssertionError("no stream is opened here")

    def send_request(self, target: Node, entry: bytes) -> None:
        self.requests.append((target, self.unpack(entry)))

    def send_cancel(self, target: Node, call_id: int) -> None:
        self.cancelled.append((target, call_id))

    def send_reply(self, route: Any, entry: bytes) -> None:
        self.replies.append((route, self.unpack(entry)))

    def owners(self, service: str, key: bytes) -> Sequence[Node]:
        return self.preference[: self.kept_in_order] if service == "calc" else ()

    def other_owners(self, service: str, key: bytes) -> Sequence[Node]:
        return self.preference[self.kept_in_order :] if service == "calc" else ()

    def handle_of(self, id: bytes) -> Node | None:
        return {node.id: node for node in (*self.preference, self.local)}.get(id)

    def pack(self, value: Any) -> bytes:
        return self.codec.pack(value)

    def unpack(self, entry: bytes) -> Any:
        return self.codec.unpack_all(entry, 1)[0]

    # For tests.

    def run(self, seconds: float) -> None:
        until = self.clock.now() + seconds
        while self.clock.step(until):
            pass

    def waiter(self) -> SimWaiter:
        return SimWaiter(self.now)

    def provide(self, name: str, *methods: str, is_healthy: bool = True) -> Node:
        """A node that serves ``calc.<methods>``."""
        node = Node(name)
        self.preference.append(node)
        self.change(node, *methods, is_healthy=is_healthy)
        return node

    def provide_here(self, *methods: str) -> Node:
        """The same for this node itself."""
        self.preference.append(self.local)
        self.change(self.local, *methods)
        return self.local

    def change(self, node: Node, *methods: str, is_healthy: bool = True) -> None:
        """Its health, or what it serves."""
        self.providers.update(node, {"calc": methods or ("add",)}, is_healthy)

    def serve(self, function: Callable[..., Any], *, concurrency: int = 64) -> None:
        """Serve it as ``calc.<its name>``, plain ones inline."""
        method = Method(function.__name__, function, concurrency=concurrency, inline=True)
        self.server.add("calc", method)

    def request(self, *entries: Any, caller: Node | None = None, route: Any = "route") -> int:
        return self.server.on_requests(caller or CALLER, route, entries)


CALLER = Node("caller")
