"""An announcement is valid by construction; hints are counted within bounds."""

import asyncio
from typing import Any

import pytest

from discovery import Candidate
from discovery.hints import MAX_REMEMBERED, Hints
from discovery.source import MAX_HOSTS
from tests.unit.discovery.helpers import announcement, run_virtual


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "f" * 31),
        ("id", "F" * 32),
        ("id", "f" * 32 + "\n"),
        ("id", b"f" * 32),
        ("mesh", ""),
        ("mesh", "a\nb"),
        ("mesh", "é" * 65),
        ("mesh", 5),
        ("protocol", -1),
        ("protocol", 65_536),
        ("protocol", "1"),
        ("port", 0),
        ("port", 65_536),
        ("port", True),
        ("port", 1.5),
        ("fingerprint", "a b"),
        ("fingerprint", "a" * 129),
        ("fingerprint", None),
        ("hosts", ()),
        ("hosts", ("example",)),
        ("hosts", ("0.0.0.0",)),
        ("hosts", ("224.0.0.251",)),
        ("hosts", ("fe80::1%eth0",)),
        ("hosts", (2130706433,)),
        ("hosts", (b"\x7f\x00\x00\x01",)),
    ],
)
def test_an_announcement_with_a_wrong_field_cannot_be_made(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field.removesuffix("s")):
        announcement(**{field: value})


def test_addresses_join_each_host_with_the_port() -> None:
    made = announcement(hosts=("10.0.0.1", "2001:db8::1"), port=7)
    assert made.addresses == ("10.0.0.1:7", "[2001:db8::1]:7")


def test_a_candidate_carries_what_was_announced_within_bounds() -> None:
    hosts = tuple(f"10.0.0.{n}" for n in range(MAX_HOSTS + 5))
    candidate = announcement(3, hosts=hosts, fingerprint="ab").candidate("mdns")
    assert candidate == Candidate(
        addresses=tuple(f"{host}:5003" for host in hosts[:MAX_HOSTS]),
        source="mdns",
        id=f"{3:032x}",
        mesh="test",
        protocol=1,
        fingerprint="ab",
    )


def test_a_repeated_hint_is_told_again_and_counted_once() -> None:
    async def main() -> None:
        told: list[Candidate] = []
        hints = Hints(announcement(1).id, told.append)
        other = announcement(2).candidate("test")
        for _ in range(3):
            hints.offer(other)
        await asyncio.sleep(0)
        assert told == [other] * 3
        assert hints.known == (other,)

    run_virtual(main())


def test_a_source_remembers_a_bounded_number_of_hints() -> None:
    async def main() -> None:
        hints = Hints(announcement(1).id, lambda _: None)
        for n in range(MAX_REMEMBERED + 10):
            hints.offer(Candidate((f"10.0.0.1:{n}",), "test"))
        assert len(hints.known) == MAX_REMEMBERED

    run_virtual(main())


def test_after_close_nothing_is_told_not_even_what_was_offered_before() -> None:
    async def main() -> None:
        told: list[Candidate] = []
        hints = Hints(announcement(1).id, told.append)
        hints.offer(announcement(2).candidate("test"))
        hints.close()
        hints.offer(announcement(3).candidate("test"))
        await asyncio.sleep(0)
        assert told == []

    run_virtual(main())
