"""A stranger that floods a network: handshakes with members, and forged mDNS.

Settings come as JSON in the first argument: ``doors`` and ``links`` (addresses to connect to),
``mesh``, ``fingerprint`` and ``ids`` (of members, whose goodbye is forged), ``host`` (where he is),
``handshakes`` and ``packets`` a second. He begins, says "ready", and tells what he did for each
line on stdin.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import selectors
import socket
import sys
import time
from typing import Any

from zeroconf import DNSOutgoing, ServiceInfo

from discovery import parse_address
from discovery.service import SERVICE_TYPE, instance_name

GROUP = ("224.0.0.251", 5353)
TICK = 0.01
KEPT = 400
"""Connections left open at once: some of each second's are there to say nothing."""


class Flooder:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.handshakes = self.packets = 0
        self._open: list[socket.socket] = []
        self._places = itertools.cycle([*settings["doors"], *settings["links"]])
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setsockopt(
            socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(settings["host"])
        )
        self._udp.bind((settings["host"], 0))
        greeting = b"\xff" + bytes(8) + b"\x7f"
        knock = b"mesh\1\1\0\0\0\x60" + os.urandom(96)
        self._says = itertools.cycle([b"", os.urandom(64), knock, greeting])

    def handshake(self) -> None:
        """Connect to one, say something that no member says, and leave it open for a while."""
        tcp = socket.socket()
        tcp.setblocking(False)
        tcp.connect_ex(parse_address(next(self._places)))
        self._open.append(tcp)
        self.handshakes += 1
        if len(self._open) >= 20:
            # It is connected by now, or never.
            said = next(self._says)
            with contextlib.suppress(OSError):
                self._open[-20].send(said)
        if len(self._open) > KEPT:
            self._open.pop(0).close()

    def announce(self) -> None:
        """A node that is not there, or the goodbye of one that is."""
        number = self.packets
        is_goodbye = number % 10 == 0
        ids = self.settings["ids"]
        id = ids[number % len(ids)] if is_goodbye else os.urandom(16).hex()
        info = ServiceInfo(
            SERVICE_TYPE,
            instance_name(id),
            port=1024 + number % 60_000,
            addresses=[socket.inet_aton(f"10.77.1.{100 + number % 100}")],
            properties={
                "id": id,
                "mesh": self.settings["mesh"],
                "v": "1",
                "fp": self.settings["fingerprint"],
            },
            server=f"{id}.local.",
        )
        out = DNSOutgoing(0x8400)
        ttl = 0 if is_goodbye else None
        for record in (
            info.dns_pointer(ttl),
            info.dns_service(ttl),
            info.dns_text(ttl),
            *info.dns_addresses(ttl),
        ):
            out.add_answer_at_time(record, 0)
        self._udp.sendto(out.packets()[0], GROUP)
        self.packets += 1

    def run(self) -> None:
        ready = selectors.DefaultSelector()
        ready.register(sys.stdin, selectors.EVENT_READ)
        began = time.monotonic()
        print(json.dumps("ready"), flush=True)  # noqa: T201  the test waits for it
        while True:
            seconds = time.monotonic() - began
            while self.handshakes < seconds * self.settings["handshakes"]:
                self.handshake()
            while self.packets < seconds * self.settings["packets"]:
                self.announce()
            if ready.select(TICK):
                if not sys.stdin.readline():
                    return
                told = [self.handshakes, self.packets, time.monotonic() - began]
                print(json.dumps(told), flush=True)  # noqa: T201


if __name__ == "__main__":
    Flooder(json.loads(sys.argv[1])).run()
