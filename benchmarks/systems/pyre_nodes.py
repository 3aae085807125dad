"""Pyre, which is Zyre in Python: nodes that find each other by UDP beacons, and shout to groups.

A beacon takes the first interface that has a broadcast address, or else multicast on the loopback,
which in an empty network namespace needs ``ip route add 224.0.0.0/3 dev lo``. The beacon's port is
the run's own. Pyre drops a peer for which 3,000 messages wait, without a word, so the publisher
keeps fewer than that open: the receiver whispers back after each ``ACK_EVERY``.

``python -m benchmarks.systems.pyre_nodes`` has two nodes meet, and fails if they do not.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from pyre import Pyre

from benchmarks.control import Control
from benchmarks.systems import (
    ANSWER_TIMEOUT_S,
    GROUP,
    SETTLE_S,
    SETUP_TIMEOUT_S,
    Params,
    Role,
    Tally,
)
from benchmarks.systems.drivers import flood
from benchmarks.usage import usage

FIRST_PORT = 10_000
PORTS = 10_000
"""Ports for beacons: below those that the system gives out by itself."""

ACK_EVERY = 500
WINDOW = 2_000
"""Messages that nobody has acknowledged: below the 3,000 that cost the connection."""

CHUNK = 100
"""Messages shouted between two looks at the clock and at what was acknowledged."""

MEET_TIMEOUT_S = 5.0
"""For two nodes in one process to meet, which takes milliseconds where it works."""

IDLE_POLL_MS = 200
MARK = b"mark"
ACK = b"ack"


class Events:
    """A node's events, by kind. After the kind come the peer's id and name."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._socket = node.socket()

    def next(self, timeout_s: float) -> list[bytes] | None:
        """The next one; None if there is none in time."""
        if not self._socket.poll(timeout_s * 1000):
            return None
        event: list[bytes] = self._node.recv()
        return event

    def expect(self, kind: bytes, timeout_s: float) -> list[bytes]:
        """The next one of that kind; others are dropped. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            event = self.next(left_s)
            if event is not None and event[0] == kind:
                return event
        raise TimeoutError(f"no {kind.decode()} came within {timeout_s:g} s")


@contextmanager
def running(name: str, run: str, *groups: str) -> Iterator[Any]:
    """A started node, in those groups."""
    node = Pyre(name)
    try:
        node.set_port(str(FIRST_PORT + int(run, 16) % PORTS).encode())
        for group in groups:
            node.join(group)
        node.start()
        yield node
    finally:
        node.stop()


def publisher(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    unanswered = joined = 0
    with running("publisher", params["run"]) as node:
        events = Events(node)
        control.report()

        def take(timeout_s: float) -> bool:
            nonlocal unanswered, joined
            event = events.next(timeout_s)
            if event is None:
                return False
            joined += event[0] == b"JOIN"
            unanswered -= ACK_EVERY * (event[0] == b"WHISPER" and event[-1] == ACK)
            return True

        def take_until(is_done: Callable[[], bool], timeout_s: float) -> None:
            deadline = time.monotonic() + timeout_s
            while not is_done():
                if not take(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"the receiver was silent for {timeout_s:g} s")

        def publish_chunk() -> int:
            nonlocal unanswered
            while take(0):
                pass
            take_until(lambda: unanswered + CHUNK <= WINDOW, ANSWER_TIMEOUT_S)
            for _ in range(CHUNK):
                node.shout(GROUP, payload)
            unanswered += CHUNK
            return CHUNK

        flood(
            control,
            lambda: take_until(lambda: joined >= params["receivers"], SETUP_TIMEOUT_S),
            publish_chunk,
            lambda: node.shout(GROUP, MARK),
        )


def subscriber(control: Control, params: Params) -> None:
    tally = Tally(params["size"])
    unacknowledged = 0
    with running("subscriber", params["run"], GROUP) as node:
        events = Events(node)
        control.report()
        sender = None
        while True:
            event = events.next(IDLE_POLL_MS / 1000)
            if event is None:
                if control.stopping():
                    return
                continue
            if event[0] == b"ENTER":
                (sender,) = node.peers()
            if event[0] != b"SHOUT":
                continue
            if event[-1] == MARK:
                tally.close_at_mark(control, time.monotonic_ns())
                continue
            tally.hit(event[-1])
            unacknowledged += 1
            if unacknowledged == ACK_EVERY:
                unacknowledged = 0
                node.whisper(sender, ACK)


def cold_server(control: Control, params: Params) -> None:
    control.report()
    control.receive()
    started_ns = time.monotonic_ns()
    with running("echo", params["run"]) as node:
        events = Events(node)
        control.report(started_ns=started_ns)
        question = events.expect(b"WHISPER", SETUP_TIMEOUT_S)
        (client,) = node.peers()
        node.whisper(client, question[-1])
        control.receive()


def cold_client(control: Control, params: Params) -> None:
    control.report()
    control.receive()
    started_ns = time.monotonic_ns()
    with running("client", params["run"]) as node:
        events = Events(node)
        events.expect(b"ENTER", SETUP_TIMEOUT_S)
        (server,) = node.peers()
        node.whisper(server, b"first")
        answer = events.expect(b"WHISPER", ANSWER_TIMEOUT_S)
        answered_ns = time.monotonic_ns()
        if answer[-1] != b"first":
            raise ValueError(f"the first message was answered by {answer[-1]!r}")
        control.report(started_ns=started_ns, answered_ns=answered_ns)
        control.receive()


def watched(control: Control, params: Params) -> None:
    with running("watched", params["run"]) as node:
        events = Events(node)
        control.report()
        known = 0
        while (command := control.receive()) is not None:
            while known < command["peers"]:
                events.expect(b"ENTER", SETUP_TIMEOUT_S)
                known += 1
            time.sleep(SETTLE_S)
            gc.collect()
            control.report(**usage())


def crowd(control: Control, params: Params) -> None:
    with ExitStack() as nodes:
        control.report()
        while (command := control.receive()) is not None:
            for _ in range(command["add"]):
                nodes.enter_context(running("crowd", params["run"]))
            control.report()


ROLES: Final[dict[str, Role]] = {
    "publisher": publisher,
    "subscriber": subscriber,
    "cold_server": cold_server,
    "cold_client": cold_client,
    "watched": watched,
    "crowd": crowd,
}


def meet() -> None:
    """Raises TimeoutError where beacons do not arrive."""
    run = os.urandom(6).hex()
    with running("one", run) as one, running("other", run):
        Events(one).expect(b"ENTER", MEET_TIMEOUT_S)


if __name__ == "__main__":
    meet()
