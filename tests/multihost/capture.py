"""Searches all that crosses interfaces for some bytes: a JSON line for each line on stdin.

Run where the interfaces are, with what to search for in hex and their names. It tells how many
packets and bytes it saw, and in how many packets each was found.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys

ETH_P_ALL = 3
BUFFER_BYTES = 32 << 20


def main() -> None:
    needles = {needle: bytes.fromhex(needle) for needle in sys.argv[1].split(",")}
    ready = selectors.DefaultSelector()
    ready.register(sys.stdin, selectors.EVENT_READ)
    found = dict.fromkeys(needles, 0)
    packets = size = 0
    for name in sys.argv[2:]:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        wire.bind((name, 0))
        ready.register(wire, selectors.EVENT_READ)
    print(json.dumps("ready"), flush=True)  # noqa: T201  the test waits for it
    while True:
        for key, _ in ready.select():
            if key.fileobj is sys.stdin:
                if not sys.stdin.readline():
                    return
                print(json.dumps([packets, size, found]), flush=True)  # noqa: T201
                continue
            assert isinstance(key.fileobj, socket.socket)
            frame = key.fileobj.recv(65536)
            packets += 1
            size += len(frame)
            for name, needle in needles.items():
                found[name] += needle in frame


if __name__ == "__main__":
    main()
