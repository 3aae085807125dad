"""A DNS server for a host of the lab: `NAME TYPE VALUE...` lines on stdin set what it answers.

Blanks inside a value are written as "_". Runs until it is killed.
"""

from __future__ import annotations

import selectors
import socket
import sys

import dns.message
import dns.rcode
import dns.rrset

TTL = 1


def answer(packet: bytes, records: dict[tuple[str, str], list[str]]) -> bytes:
    question = dns.message.from_wire(packet)
    response = dns.message.make_response(question)
    [asked] = question.question
    name, kind = asked.name.to_text(omit_final_dot=True), asked.rdtype.name
    found = records.get((name, kind))
    if found:
        response.answer.append(dns.rrset.from_text(asked.name, TTL, "IN", kind, *found))
    elif not any(known == name for known, _ in records):
        response.set_rcode(dns.rcode.NXDOMAIN)
    return response.to_wire()


def main() -> None:
    records: dict[tuple[str, str], list[str]] = {}
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("", 53))
    ready = selectors.DefaultSelector()
    ready.register(server, selectors.EVENT_READ)
    ready.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)  # noqa: T201  the test waits for it
    while True:
        for key, _ in ready.select():
            if key.fileobj is server:
                packet, sender = server.recvfrom(4096)
                server.sendto(answer(packet, records), sender)
                continue
            line = sys.stdin.readline()
            if not line:
                return
            name, kind, *values = line.split()
            records[name, kind] = [value.replace("_", " ") for value in values]
            print("set", flush=True)  # noqa: T201  the test waits for it


if __name__ == "__main__":
    main()
