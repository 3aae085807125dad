"""Mutated traffic at all ports of a live node: from strangers, from ZeroMQ sockets, from members.

``python -m tests.net.assault --inputs 100000 --seed 1`` starts a node, a friend of it in this
process, and attacks; it tells what was sent, how the friend's calls fared, and what the node took.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import socket
import struct
import sys
import time
import uuid
from collections import Counter
from random import Random
from typing import Any

import zmq

import mesh
from mesh.engine import control as c
from mesh.wire import frames
from patterns.groupcast import casts as k
from tests.fuzz.campaign import Mutator
from tests.fuzz.campaign.targets.engine import CREW, INFO, LINK_FRAMES, TARGETS
from tests.net.processes import NodeProcess, until
from tests.net.raw import RawPeer, Wire, rss_bytes

__all__ = ["MAX_GROWTH_BYTES", "PATIENT", "Assault"]

PATIENT = 2.0
"""Seconds within which the friend's call is answered, whatever comes in."""

MAX_GROWTH_BYTES = 96 * 1024 * 1024
"""What the node may grow by; it shows in the first seconds, and stays."""

BLOCK = 200
"""Inputs between two calls of the friend."""

LIARS = 6
"""Members that send garbage: one is cut off for half a second after each nonsense on its link."""

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)


def ready(kind: bytes) -> bytes:
    body = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    return bytes([4, len(body)]) + body


def wired(flags: int, body: bytes) -> bytes:
    return struct.pack(">BQ", 2 | flags, len(body)) + body


HELLO = frames.pack_hello(bytes(range(16)), 7)
STREAMS = (
    GREETING + ready(b"SUB") + wired(0, b"\x01" + HELLO) + wired(0, b"\x01" + INFO),
    GREETING + ready(b"DEALER") + wired(0, frames.pack_data(16, bytes(16), bytes(16), 0, 0)),
    GREETING + ready(b"PUSH") + wired(0, frames.pack_link(bytes(16), 1, 20, bytes(16), 0, 0)),
    GREETING + ready(b"SUB") + b"\x04\x0b\x04PING\x00\x10ctxt\x04\x13\x09SUBSCRIBE" + HELLO[:9],
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
)  # fmt: skip
"""What a TCP connection to a ZeroMQ socket may begin with."""


class Liar(RawPeer):
    """A member that knows when it was cut off, and asks for credit, so that its casts count."""

    credit_link = 0
    """The link epoch in which it has credit."""
    next_cast = 0
    next_message = 0

    def pump(self) -> None:
        while self.xpub.poll(0):
            topic = self.xpub.recv()
            hello = frames.unpack_hello(topic[1:])
            if hello is None:
                continue
            id = hello[0]
            if topic[:1] == b"\0":
                if self.links.get(id, 0) >> 32 == hello[1]:
                    del self.links[id]
                continue
            self._epochs += 1
            link = frames.link_number(hello[1], self._epochs)
            self.xpub.set(zmq.SUBSCRIBE, frames.link_prefix(id, link))
            self.links[id] = link
            self.next_message = 0
            self.control(id, [c.OPEN, 0, self.record, 1])
            if id in self._owed:
                self.control(id, [c.APPLIED, self._owed.pop(id)])
        super().pump()
        if self.received:
            self.credit_link = self.received[-1][0].link
        self.received.clear()

    def _on_control(self, sender: bytes, entry: list[Any]) -> None:
        super()._on_control(sender, entry)
        if entry[0] == k.HELD and sender in self.links:
            self.control(sender, [k.WANT, CREW, 1000, self.next_cast, entry[1]])


class Assault:
    """``run(inputs)`` attacks ``node`` while ``friend`` is served; raises AssertionError if not."""

    def __init__(self, node: NodeProcess, friend: mesh.Node, mesh_name: str, seed: int) -> None:
        self.node = node
        self.id = bytes.fromhex(node.id)
        self._friend = friend
        self._mesh_name = mesh_name
        self._random = Random(seed)
        self._mutate = Mutator(self._random).mutate
        self._context: zmq.Context[Any] = zmq.Context()
        self._liars: list[Liar] = []
        self._dealers: dict[Liar, zmq.Socket[bytes]] = {}
        self._pushes: dict[Liar, zmq.Socket[bytes]] = {}
        self.sent: Counter[str] = Counter()
        self.calls = 0
        self.slowest = 0.0
        self.cut_off = 0
        """Liars that had to come as somebody new."""
        self._before = rss_bytes(node)
        self.ports = self._find_ports()

    def _find_ports(self) -> list[int]:
        record = self._hire().records[self.id]
        return [int(self.node.address.rpartition(":")[2]), record["rpc"], record["work"]]

    def run(self, inputs: int) -> None:
        """So many of each in turn, and the friend's call in between."""
        kinds = (self._streams, self._subscriptions, self._requests, self._links, self._work)
        goal = self.total + inputs
        while self.total < goal:
            for attack in kinds:
                # A connection of its own costs a hundred times as much as a frame.
                attack(BLOCK // 20 if attack == self._streams else BLOCK)
                self._check()

    @property
    def total(self) -> int:
        return sum(self.sent.values())

    @property
    def grown_bytes(self) -> int:
        return rss_bytes(self.node) - self._before

    def _check(self) -> None:
        began = time.monotonic()
        assert self._friend.service("target", timeout=PATIENT).echo(self.calls) == self.calls
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.calls += 1
        self.node.check()
        assert self.grown_bytes < MAX_GROWTH_BYTES, f"it has grown by {self.grown_bytes} bytes"

    # Strangers.

    def _streams(self, count: int) -> None:
        """TCP connections with damaged greetings, handshakes and frames."""
        for _ in range(count):
            port = self._random.choice(self.ports)
            stream = self._mutated(STREAMS, None)
            with contextlib.suppress(OSError):
                tcp = socket.create_connection(("127.0.0.1", port), timeout=1.0)
                with tcp:
                    tcp.sendall(stream)
                    if self._random.random() < 0.3:
                        tcp.settimeout(0.01)
                        tcp.recv(200)
            self.sent["TCP streams"] += 1

    def _subscriptions(self, count: int) -> None:
        """A SUB with damaged hellos, infos and commands, as many connections as that takes."""
        left = count
        while left:
            with contextlib.suppress(OSError), Wire(self.ports[0], b"SUB") as wire:
                for _ in range(min(left, 50)):
                    body = self._mutated((b"\x01" + HELLO, b"\x01" + INFO, b"\x00" + HELLO), 18)
                    wire.send(body, more=self._random.random() < 0.05)
                    self.sent["subscriptions"] += 1
                    left -= 1

    # Members.

    def _hire(self) -> Liar:
        liar = Liar(self._context, self._mesh_name)
        # At another port nobody answers: what is asked of it costs a connection.
        liar.join(self.node)
        self._liars.append(liar)
        self._dealers[liar] = liar.requester(self.id)
        push = self._pushes[liar] = liar._socket(zmq.PUSH)
        push.connect(f"tcp://127.0.0.1:{liar.records[self.id]['work']}")
        return liar

    def _linked(self) -> Liar:
        """A liar whose link is up, if need be a new one."""
        for liar in self._liars:
            liar.pump()
        up = [liar for liar in self._liars if self.id in liar.links]
        if up and len(self._liars) >= LIARS:
            return self._random.choice(up)
        if len(self._liars) >= LIARS:
            oldest = self._liars.pop(0)
            oldest.close()
            del self._dealers[oldest], self._pushes[oldest]
            self.cut_off += 1
        return self._hire()

    def _links(self, count: int) -> None:
        """Frames of the link: some that can be decoded, and so make no reset, between others."""
        for number in range(count):
            if not number % 10:
                liar = self._linked()
            if self.id not in liar.links:
                liar = self._linked()
            data = self._mutated(LINK_FRAMES, 3)
            kind, entries, hint = (*data[:3], 0, 0, 0)[:3]
            first = (liar.next_message, 0, 2**40, 2**64 - 1)[hint & 3]
            if kind not in (frames.CONTROL, frames.CHUNK) and not hint & 3:
                liar.next_message += entries
            header = frames.pack_link(self.id, liar.links[self.id], kind, liar.id, first, entries)
            parts = [header + data[3:]]
            if kind & frames.IN_PARTS:
                parts += [b"payload"] * self._random.randrange(3)
            liar.xpub.send_multipart(parts)
            self.sent["link frames"] += 1

    def _requests(self, count: int) -> None:
        seeds = (*_seeds("engine_requests"), *_seeds("engine_replies"))
        for number in range(count):
            if not number % 25:
                liar = self._linked()
            data = self._mutated(seeds, 2)
            kind, entries = (*data[:2], 0, 0)[:2]
            frame = frames.pack_data(kind, liar.id, self.id, 0, entries) + data[2:]
            if self._random.random() < 0.1:
                frame = self._mutated((frame,), None)
            parts = [frame] + [b"more"] * (self._random.random() < 0.05)
            with contextlib.suppress(zmq.Again):
                self._dealers[liar].send_multipart(parts, zmq.NOBLOCK)
            while self._dealers[liar].poll(0):
                self._dealers[liar].recv()
            self.sent["request frames"] += 1

    def _work(self, count: int) -> None:
        seeds = _seeds("engine_work")
        for number in range(count):
            if not number % 25:
                liar = self._linked()
            data = self._mutated(seeds, 3)
            kind, entries, hint = (*data[:3], 0, 0, 0)[:3]
            link = liar.credit_link + (hint == 3)
            first = liar.next_cast + (entries if hint == 1 else 0)
            frame = frames.pack_link(self.id, link, kind, liar.id, first, entries) + data[3:]
            liar.next_cast += entries
            if self._random.random() < 0.05:
                frame = self._mutated((frame,), None)
            with contextlib.suppress(zmq.Again):
                self._pushes[liar].send(frame, zmq.NOBLOCK)
            self.sent["work frames"] += 1

    def _mutated(self, seeds: tuple[bytes, ...], packed_at: int | None) -> bytes:
        choice = self._random.choice
        return self._mutate(choice(seeds), choice(seeds), packed_at)

    def close(self) -> None:
        for liar in self._liars:
            liar.close()
        self._context.destroy(linger=0)


def _seeds(name: str) -> tuple[bytes, ...]:
    return next(target.seeds for target in TARGETS if target.name == name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    name = f"assault-{uuid.uuid4().hex[:16]}"
    node = NodeProcess({"node": {"name": "target", "mesh": name, "discovery": ["exchange"]}})
    try:
        node.wait_started()
        with mesh.Node("friend", mesh=name, discovery=(), seeds=[node.address]) as friend:
            friend.wait_for("target")
            assault = Assault(node, friend, name, options.seed)
            began = time.monotonic()
            try:
                assault.run(options.inputs)
                until(lambda: node.ask("peers")[friend.id] == "alive")
            finally:
                seconds = time.monotonic() - began
                assault.close()
                print(f"{assault.total:,} inputs in {seconds:.0f} s: {dict(assault.sent)}")
                print(
                    f"{assault.calls} calls of a friend, the slowest {assault.slowest:.3f} s; the "
                    f"node has grown by {assault.grown_bytes / 2**20:.1f} MiB; {assault.cut_off} "
                    f"members came anew; it counts {node.ask('counters')}"
                )
    finally:
        node.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
