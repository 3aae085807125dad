"""A node in a process of its own: makes it as the settings say, then obeys JSON lines.

Started by ``tests.net.processes``. Settings (one JSON object as argument): ``node`` are arguments
of ``mesh.Node``; ``subscribe`` and ``member`` are what a recording handler listens to, ``inline``
says where it runs; ``count`` is a subject whose messages are counted and not kept; ``letters`` is
whether it writes to every peer; ``workers`` are specs of ``tests.net.workers``; ``protocol`` is the
protocol version to pretend, ``work_port`` a port to give out instead of the work socket's. A
command is ``[number, name, arguments]`` and is answered by ``{"number", "value" or "error"}``, in
order.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import mesh
from mesh.engine.ports import Bound, TransportEvents
from mesh.security.certificates import Revocations
from mesh.transport import ZmqTransport
from mesh.wire import frames
from tests.net.errands import Errands
from tests.net.floods import Count, Flood
from tests.net.letters import Letters
from tests.net.loads import Progress, send_groupcasts
from tests.net.workers import Worker

POLL = 0.005


class Agent:
    """Public methods are the commands."""

    def __init__(self, settings: dict[str, Any]) -> None:
        if "protocol" in settings:
            frames.PROTOCOL_VERSION = settings["protocol"]
        self._work_port = 0
        if "work_port" in settings:
            self._pretend_work_port(settings["work_port"])
        self.node = node = mesh.Node(**settings["node"])
        self.messages: list[mesh.Message] = []
        self.events: list[tuple[float, mesh.Event]] = []
        self.subscriptions: dict[str, Any] = {}
        self._block_for = 0.0
        self._subscribed_at = 0.0
        self._is_blocked = False
        self.worked: list[int] = []
        self._flow: threading.Thread
        self._stop_flow = threading.Event()
        self._stamps: list[float] = []
        inline = settings.get("inline", True)
        for pattern in settings.get("subscribe", ()):
            node.subscriber(pattern, inline=inline)(self._record)
        for group in settings.get("member", ()):
            node.member(group, inline=inline)(self._record)
        self._count = Count(node, settings["count"]) if "count" in settings else None
        self._flood: Flood
        self._casts: threading.Thread
        self._casts_end: list[str] = []
        self._progress = Progress()
        self._errands: Errands
        specs = settings.get("workers", ())
        self.workers = [Worker(node, spec) for spec in specs if spec["mode"] != "read"]
        if not settings["node"].get("observer"):
            self._serve()
        self._letters = Letters(node) if settings.get("letters") else None
        node.start()
        self.workers += [Worker(node, spec) for spec in specs if spec["mode"] == "read"]
        self._run(self._watch)
        letters = self._letters
        if letters is not None:
            self._writing = node._on_loop(lambda: asyncio.ensure_future(letters.run()))
        _tell({"id": node.id, "address": node.me.address, "work_port": self._work_port})

    def _serve(self) -> None:
        node = self.node

        @node.rpc(inline=True)
        def pid() -> int:
            return os.getpid()

        @node.rpc(inline=True)
        def echo(value: Any) -> Any:
            return value

        @node.rpc
        async def work(number: int, seconds: float = 0.0) -> int:
            self.worked.append(number)
            await asyncio.sleep(seconds)
            return os.getpid()

        @node.rpc(inline=False)
        def pause(seconds: float) -> int:
            time.sleep(seconds)
            return os.getpid()

    def _pretend_work_port(self, port: int) -> None:
        really_open = ZmqTransport.open

        def open_and_pretend(transport: ZmqTransport, events: TransportEvents) -> Bound:
            bound = really_open(transport, events)
            self._work_port = bound.work_port
            return bound._replace(work_port=port)

        ZmqTransport.open = open_and_pretend  # type: ignore[method-assign,assignment]

    def _run(self, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        return thread

    def _record(self, message: mesh.Message) -> None:
        self.messages.append(message)
        if self._block_for:
            seconds, self._block_for = self._block_for, 0.0
            self._is_blocked = True
            time.sleep(seconds)
            self._is_blocked = False

    def _watch(self) -> None:
        for event in self.node.watch():
            self.events.append((time.monotonic(), event))

    # Membership.

    def wait_for(self, **arguments: Any) -> list[str]:
        return [peer.id for peer in self.node.wait_for(**arguments)]

    def peers(self, all: bool = False) -> dict[str, str]:
        """Ids and states."""
        return {peer.id: peer.state for peer in self.node.peers(all=all)}

    def address_of(self, peer: str) -> str | None:
        """Where a peer is linked at; None while it is not."""
        return next((p.address for p in self.node.peers() if p.id == peer), None)

    def wait_state(self, peer: str, states: list[str], timeout: float = 10.0) -> str:
        """Until a peer is in one of the states; "unknown" counts as one."""
        deadline = time.monotonic() + timeout
        while (state := self.peers(all=True).get(peer, "unknown")) not in states:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{peer[:8]} is {state}")
            time.sleep(POLL)
        return state

    def seen(self, peer: str) -> list[list[Any]]:
        """All events about a peer: time, kind, reason, missed."""
        return [
            [when, type(event).__name__, event.reason, getattr(event, "missed", 0)]
            for when, event in list(self.events)
            if event.peer.id == peer
        ]

    def gaps(self) -> list[int | None]:
        return [e.missed for _, e in list(self.events) if isinstance(e, mesh.Gap)]

    def first_owners(self, keys: list[Any], **where: Any) -> list[str]:
        """The instance of each key's owner."""
        return self.node._on_loop(
            lambda: [self.node.aio.owner(key=key, **where).instance for key in keys]
        )

    def owners(self, keys: list[Any], **where: Any) -> list[list[str]]:
        """Instances, best first, for each key of a service (``name``) or of a ``group``."""
        return [[peer.instance for peer in self.node.owners(key=key, **where)] for key in keys]

    def now(self) -> float:
        return time.monotonic()

    def counters(self) -> dict[str, int]:
        return self.node.counters()

    # Keys.

    def discovery(self) -> dict[str, list[str]]:
        """What became of everything that each source has found."""
        return {
            name: [found.outcome for found in report.found]
            for name, report in self.node.discovery().items()
        }

    def rotate(self, grace: int) -> str:
        """Order a new mesh key, and return it."""
        credentials = self.node.aio.host.credentials
        order = credentials.order_rotation(mesh.generate_key(), grace)
        self.node._on_loop(lambda: credentials.rotate(order))
        return order.key

    def revoke(self, raw: str) -> None:
        """Be told of a list of revocations."""
        credentials = self.node.aio.host.credentials
        revocations = Revocations.from_bytes(bytes.fromhex(raw), credentials.authority)
        self.node._on_loop(lambda: credentials.revoke(revocations))

    # Calls.

    def call(self, method: str, args: list[Any] | None = None, **options: Any) -> Any:
        service, name = method.split(".")
        return self.node.service(service, **options)[name](*(args or []))

    def started(self) -> list[int]:
        """The numbers of the calls of ``work`` that were started here."""
        return self.worked

    # Messages.

    def publish(self, subject: str, count: int = 1, size: int = 0, first: int = 0) -> list[int]:
        """Numbered messages; returns the distinct counts of receivers."""
        filling = "x" * size
        node = self.node
        return sorted(
            {node.publish(subject, [number, filling]) for number in range(first, first + count)}
        )

    def publish_bytes(self, subject: str, size: int) -> int:
        """One message that is bytes and nothing else; returns to how many."""
        return self.node.publish(subject, os.urandom(size))

    def flood_bytes(self, subject: str, size: int, count: int) -> None:
        """So many of them at full rate, none of which need give way."""
        payload = os.urandom(size)
        for number in range(count):
            self.node.publish(subject, payload)
            if number % 256 == 255:
                self.node.flush(timeout=30.0)

    def publish_for(
        self, subject: str, seconds: float, pause: float, size: int = 0
    ) -> tuple[int, int]:
        """Numbered messages, one each ``pause`` seconds: how many, and to how many in sum."""
        filling = "x" * size
        number, receivers, end = 0, 0, time.monotonic() + seconds
        while time.monotonic() < end:
            receivers += self.node.publish(subject, [number, filling])
            number += 1
            if pause:
                time.sleep(pause)
        return number, receivers

    def publish_at(self, subject: str, seconds: float, rate: float) -> int:
        """Numbered messages at that rate, whatever the clock's grain; returns how many."""
        number, began = 0, time.monotonic()
        while (elapsed := time.monotonic() - began) < seconds:
            for _ in range(int(elapsed * rate) - number):
                self.node.publish(subject, [number])
                number += 1
            time.sleep(0.005)
        return number

    def publish_apart(self, subject: str, count: int) -> int:
        """Numbered messages, each in a frame of its own; returns to how many in sum."""

        @self.node.rpc(f"publish-{subject}")
        async def publish() -> int:
            receivers = 0
            for number in range(count):
                receivers += self.node.publish(subject, [number])
                await asyncio.sleep(0)
            return receivers

        here = self.node.service(self.node.name, timeout=60.0, peer=self.node.id)
        return int(here[f"publish-{subject}"]())

    def begin_flow(self, subject: str) -> None:
        """Numbered messages, without end, from a thread of its own."""
        self._stop_flow.clear()
        self._stamps = []

        def flow() -> None:
            while not self._stop_flow.wait(0.002):
                number = len(self._stamps)
                self._stamps.append(time.monotonic())
                self.node.publish(subject, [number])

        self._flow = self._run(flow)

    def end_flow(self) -> list[float]:
        """When each message of the flow was published."""
        self._stop_flow.set()
        self._flow.join()
        return self._stamps

    def begin_flood(self, subject: str, size: int) -> None:
        """Numbered messages at full rate, from a thread of their own."""
        self._flood = Flood(self.node, subject, size)

    def flooded(self) -> int:
        """How many there were so far."""
        return self._flood.published

    def end_flood(self) -> int:
        """How many there were."""
        return self._flood.end()

    def count(self) -> dict[str, Any]:
        """What was received of the subject that this node counts."""
        assert self._count is not None
        return self._count.sums()

    def broadcast(self, group: str, data: Any = None) -> int:
        return self.node.broadcast(group, data)

    def send(self, peer: str, subject: str, data: Any = None) -> bool:
        return self.node.send(peer, subject, data)

    # One of many.

    def begin_casts(self, group: str, first: int, count: int, **options: Any) -> None:
        """Groupcasts from a thread of their own."""
        self._progress = Progress()
        self._casts_end.clear()
        numbers = range(first, first + count)

        def send() -> None:
            try:
                self.node._wait(
                    lambda: send_groupcasts(
                        self.node.aio, group, numbers, self._progress, **options
                    )
                )
            except mesh.MeshError as error:
                self._casts_end.append(f"{type(error).__name__}: {error}")
            else:
                self._casts_end.append("")

        self._casts = self._run(send)

    def casts_held(self) -> int:
        """How many casts are here, waiting or running."""
        receiver = self.node.aio.host.engine._work.receiver
        return self.node._on_loop(
            lambda: sum(len(source.open) for source in receiver._sources.values())
        )

    def stop_casts(self) -> None:
        """Begin no more of them."""
        self._progress.is_over = True

    def casts_sent(self) -> int:
        """How many of them a member has, or had."""
        return self._progress.sent

    def casts_end(self) -> str | None:
        """What they ended with, "" for nothing; None while they go on."""
        return self._casts_end[0] if self._casts_end else None

    def letters(self) -> dict[str, int]:
        """What came of letters and calls to peers by their ids: ``tests.net.letters``."""
        assert self._letters is not None
        return dict(self._letters.counts)

    # Every verb that waits.

    def begin_errands(self, **what: Any) -> None:
        """All of them, over and over: ``tests.net.errands``."""
        self._errands = Errands(self.node.aio, **what)
        self.node._wait(self._errands.begin)

    def end_errands(self) -> dict[str, Any]:
        """What they came to, the groupcasts that were accepted, and how late the latest was."""
        self.node._wait(self._errands.end)
        errands = self._errands
        return {
            "outcomes": errands.outcomes,
            "accepted": errands.accepted,
            "latest": errands.latest,
        }

    def flush(self, timeout: float = 5.0) -> None:
        self.node.flush(timeout)

    def received(self) -> list[list[Any]]:
        """What the recording handler was given: kind, subject or group, data, sender."""
        return [
            [m.kind, m.subject if m.group is None else m.group, m.data, m.sender.id]
            for m in list(self.messages)
        ]

    def numbers(self, sender: str | None = None) -> list[int]:
        """The numbers of the messages received, in order."""
        return [m.data[0] for m in list(self.messages) if sender is None or m.sender.id == sender]

    def wait_received(self, count: int, timeout: float = 10.0) -> int:
        deadline = time.monotonic() + timeout
        while len(self.messages) < count and time.monotonic() < deadline:
            time.sleep(POLL)
        return len(self.messages)

    def forget(self) -> None:
        """Begin a new round."""
        self.messages.clear()

    def block(self, seconds: float) -> None:
        """The handler sleeps that long on the loop, once, at the next message."""
        self._block_for = seconds

    def is_blocked(self) -> bool:
        return self._is_blocked

    def subscribe(self, pattern: str) -> list[str]:
        """An iterator, drained into ``received``; returns the ids in ``unconfirmed``."""
        subscription = self.node.subscribe(pattern)
        self._subscribed_at = time.monotonic()
        self.subscriptions[pattern] = subscription

        def drain() -> None:
            for message in subscription:
                self.messages.append(message)

        self._run(drain)
        return [peer.id for peer in subscription.unconfirmed]

    def subscribe_unread(self, pattern: str, **options: Any) -> None:
        """An iterator that nobody reads."""
        self.subscriptions[pattern] = self.node.subscribe(pattern, **options)

    def subscribed_at(self) -> float:
        """When the last ``subscribe`` returned, by the clock that all processes share."""
        return self._subscribed_at

    def unsubscribe(self, pattern: str) -> None:
        self.subscriptions.pop(pattern).close()

    def close(self) -> float:
        """Seconds that it took."""
        begin = time.monotonic()
        self.node.close()
        return time.monotonic() - begin


def _tell(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    agent = Agent(json.loads(sys.argv[1]))
    for line in sys.stdin:
        number, name, arguments = json.loads(line)
        try:
            reply = {"number": number, "value": getattr(agent, name)(**arguments)}
        except Exception as error:  # noqa: BLE001  the test is told
            reply = {"number": number, "error": [type(error).__name__, str(error)]}
        _tell(reply)
        if name == "close":
            return


if __name__ == "__main__":
    main()
