"""Nodes read out of single packets of mDNS, and what is wrong with some of them."""

from __future__ import annotations

import pytest
from zeroconf import ServiceInfo
from zeroconf._protocol.outgoing import DNSOutgoing

from discovery import Announcement
from discovery.announced import MAX_RECORDS, announced_in
from discovery.multicast import question
from discovery.service import build_service

ANSWER = 0x8400

ID = "ab" * 16


def announcement(**other: object) -> Announcement:
    fields: dict[str, object] = {
        "id": ID,
        "mesh": "lab",
        "protocol": 7,
        "hosts": ("10.0.0.2", "fd00::2"),
        "port": 5555,
        "fingerprint": "c0ffee",
    }
    return Announcement(**fields | other)  # type: ignore[arg-type]


def packet(service: ServiceInfo, *, flags: int = ANSWER, leave_out: str = "") -> bytes:
    out = DNSOutgoing(flags)
    records = {
        "pointer": [service.dns_pointer()],
        "service": [service.dns_service()],
        "text": [service.dns_text()],
        "addresses": service.dns_addresses(),
    }
    for kind, parts in records.items():
        if kind != leave_out:
            for record in parts:
                out.add_answer_at_time(record, 0)
    return out.packets()[0]


def test_a_node_is_read_with_all_that_it_says_of_itself() -> None:
    (found,) = announced_in(packet(build_service(announcement(), False)))
    assert (found.id, found.mesh, found.protocol, found.fingerprint) == (ID, "lab", 7, "c0ffee")
    assert set(found.addresses) == {"10.0.0.2:5555", "[fd00::2]:5555"}


@pytest.mark.parametrize("part", ["service", "text", "addresses"])
def test_one_that_is_not_whole_is_left_out(part: str) -> None:
    found = announced_in(packet(build_service(announcement(), False), leave_out=part))
    assert found == []


@pytest.mark.parametrize("instance", ["\x01", "x" * 63, "a.b", " "])
def test_a_name_that_no_service_may_have_does_not_hide_the_nodes_beside_it(instance: str) -> None:
    out = DNSOutgoing(ANSWER)
    forged = build_service(announcement(id="cd" * 16), False).dns_text()
    forged.name = f"{instance}.{forged.name.partition('.')[2]}"
    service = build_service(announcement(), False)
    for record in (forged, service.dns_service(), service.dns_text(), *service.dns_addresses()):
        out.add_answer_at_time(record, 0)
    assert [node.id for node in announced_in(out.packets()[0])] == [ID]


def test_a_question_and_what_is_no_packet_have_no_nodes() -> None:
    service = build_service(announcement(), False)
    assert announced_in(packet(service, flags=0)) == []
    assert announced_in(question()) == []
    assert announced_in(b"") == []
    whole = packet(service)
    for end in range(len(whole)):
        announced_in(whole[:end])


def test_of_a_packet_with_too_many_records_the_first_are_read() -> None:
    out = DNSOutgoing(ANSWER)
    count = MAX_RECORDS
    for number in range(count):
        service = build_service(announcement(id=f"{number:032x}"), False)
        for record in (service.dns_service(), service.dns_text(), *service.dns_addresses()):
            out.add_answer_at_time(record, 0)
    assert len(announced_in(max(out.packets(), key=len))) < count


def test_each_question_is_told_apart_from_all_others() -> None:
    assert len({question() for _ in range(50)}) > 40
