"""Peers made of bare sockets, and what a process holds.

``RawPeer`` speaks the protocol by hand, so it can also speak it wrongly; ``Wire`` speaks only TCP
and ZeroMQ's handshake.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from typing import Any

import msgpack
import zmq

from mesh.engine import control as c
from mesh.wire import frames
from tests.net.processes import NodeProcess, until

__all__ = ["RawPeer", "Wire", "descriptors", "rss_bytes"]


class RawPeer:
    """A member made of bare sockets. ``pump`` does what an honest one would do by itself."""

    def __init__(
        self, context: zmq.Context[Any], mesh_name: str, *, rpc_port: int | None = None
    ) -> None:
        self.id = os.urandom(frames.ID_SIZE)
        self._mesh = mesh_name
        self._sockets: list[zmq.Socket[bytes]] = []
        self._context = context
        self.xpub = self._socket(zmq.XPUB)
        self.xpub.set(zmq.XPUB_MANUAL, 1)
        self.port = self.xpub.bind_to_random_port("tcp://127.0.0.1")
        self.router = self._socket(zmq.ROUTER)
        own_port = self.router.bind_to_random_port("tcp://127.0.0.1")
        self.sub = self._socket(zmq.SUB)
        self.sub.rcvhwm = 0
        self.record: dict[str, Any] = {
            "name": "raw",
            "version": 1,
            "services": {"raw": ["method"]},
            "interest": [],
            "tags": {},
            "addresses": [f"127.0.0.1:{self.port}"],
            "rpc": own_port if rpc_port is None else rpc_port,
            "work": own_port,
            "observer": False,
        }
        self.records: dict[bytes, dict[str, Any]] = {}
        """What others have said of themselves."""
        self.links: dict[bytes, int] = {}
        self.received: list[tuple[frames.LinkHeader, bytes]] = []
        self.is_confirmed = False
        self._epochs = 0
        self._owed: dict[bytes, int] = {}

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        made = self._context.socket(kind)
        made.linger = 0
        made.sndhwm = 0
        self._sockets.append(made)
        return made

    def dial(self, address: str) -> None:
        info = {"v": frames.PROTOCOL_VERSION, "mesh": self._mesh, "rpc": self.record["rpc"]}
        info["link"] = [f"127.0.0.1:{self.port}"]
        self.sub.subscribe(frames.pack_hello(self.id, random.getrandbits(32)))
        self.sub.subscribe(frames.pack_info(self.id, info))
        self.sub.connect(f"tcp://{address}")

    def join(self, node: NodeProcess) -> bytes:
        """Dial a node and shake hands; returns its id."""
        self.dial(node.address)
        id = bytes.fromhex(node.id)
        until(lambda: self.pump() or (self.is_confirmed and id in self.records), what="the join")
        return id

    def pump(self) -> None:
        """Answer what has arrived."""
        while self.xpub.poll(0):
            topic = self.xpub.recv()
            hello = frames.unpack_hello(topic[1:])
            if topic[:1] == b"\1" and hello is not None:
                self._epochs += 1
                id, link = hello[0], frames.link_number(hello[1], self._epochs)
                self.xpub.set(zmq.SUBSCRIBE, frames.link_prefix(id, link))
                self.links[id] = link
                self.control(id, [c.OPEN, 0, self.record, 1])
                if id in self._owed:
                    self.control(id, [c.APPLIED, self._owed.pop(id)])
        while self.sub.poll(0):
            frame = self.sub.recv()
            header = frames.unpack_link(frame)
            self.received.append((header, frame[frames.LINK_HEADER_SIZE :]))
            if header.kind == frames.CONTROL:
                unpacker = msgpack.Unpacker(strict_map_key=False)
                unpacker.feed(frame[frames.LINK_HEADER_SIZE :])
                for entry in unpacker:
                    self._on_control(header.sender, entry)

    def _on_control(self, sender: bytes, entry: list[Any]) -> None:
        kind = entry[0]
        if kind == c.OPEN:
            self.records[sender] = entry[2]
            self._confirm(sender, entry[2]["version"])
        elif kind == c.DELTA:
            self._confirm(sender, entry[1]["version"])
        elif kind == c.APPLIED:
            self.is_confirmed = True
        elif kind == c.PING and sender in self.links:
            self.control(sender, [c.PONG, entry[1]])

    def _confirm(self, sender: bytes, version: int) -> None:
        if sender in self.links:
            self.control(sender, [c.APPLIED, version])
        else:
            self._owed[sender] = version

    def control(self, to: bytes, *entries: list[Any]) -> None:
        self.frame(to, frames.CONTROL, 0, len(entries), b"".join(map(msgpack.packb, entries)))

    def frame(self, to: bytes, kind: int, first: int, count: int, body: bytes) -> None:
        header = frames.pack_link(to, self.links[to], kind, self.id, first, count)
        self.xpub.send(header + body)

    def requester(self, node: bytes) -> zmq.Socket[bytes]:
        """A DEALER at a node's request socket."""
        dealer = self._socket(zmq.DEALER)
        dealer.connect(f"tcp://127.0.0.1:{self.records[node]['rpc']}")
        return dealer

    def request(self, to: bytes, body: bytes, count: int = 1, kind: int = frames.REQUEST) -> bytes:
        return frames.pack_data(kind, self.id, to, 0, count) + body

    def close(self) -> None:
        for made in self._sockets:
            made.close(0)


class Wire:
    """A plain TCP client that has shaken hands as a ZeroMQ socket of ``kind``."""

    def __init__(self, port: int, kind: bytes) -> None:
        self.tcp = socket.create_connection(("127.0.0.1", port))
        self.tcp.settimeout(5.0)
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
        self.tcp.sendall(greeting)
        got = b""
        while len(got) < len(greeting):
            got += self.tcp.recv(len(greeting) - len(got))
        ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
        self.tcp.sendall(bytes([4, len(ready)]) + ready)

    def send(self, body: bytes, *, more: bool = False) -> None:
        self.tcp.sendall(struct.pack(">BQ", 2 | more, len(body)) + body)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *error: object) -> None:
        self.tcp.close()


def rss_bytes(process: NodeProcess) -> int:
    """Memory in use by a process."""
    with open(f"/proc/{process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(process: NodeProcess) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))
