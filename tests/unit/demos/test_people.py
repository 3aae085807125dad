"""Who is here is told from the peers of the mesh, and each is called so that one is meant."""

from __future__ import annotations

from typing import Any

import pytest

import mesh
from demos.chat.people import People, UnknownPerson

ME = "0" * 32
ANA, BEN, OTHER_BEN = ("a" * 32, "b1" + "0" * 30, "b2" + "0" * 30)


def peer(id: str, nick: str, *rooms: str, **changes: Any) -> mesh.Peer:
    groups = frozenset(f"room-{room}" for room in rooms)
    fields: dict[str, Any] = {
        "services": {"chat": ("tell",)}, "groups": groups, "tags": {"nick": nick}
    }  # fmt: skip
    return mesh.Peer(id, "chat", **(fields | changes))


@pytest.fixture
def people() -> People:
    return People(ME, "eva")


def test_rooms_that_are_entered_and_quit_are_told(people: People) -> None:
    change = people.update(peer(ANA, "ana", "lobby"))
    assert change is not None
    assert (change.entered, change.quit, change.has_come) == ({"lobby"}, frozenset(), True)
    change = people.update(peer(ANA, "ana", "dev"))
    assert change is not None
    assert (change.entered, change.quit, change.has_come) == ({"dev"}, {"lobby"}, False)
    assert people.update(peer(ANA, "ana", "dev")) is None
    change = people.update(peer(ANA, "ana", "dev", state="left"))
    assert change is not None
    assert (change.quit, change.has_gone) == ({"dev"}, True)
    assert (list(people), people.rooms()) == ([], {})


def test_what_is_no_chat_is_not_a_person(people: People) -> None:
    assert people.update(peer(ANA, "ana", tags={})) is None
    assert people.update(peer(ANA, "ana", services={"calc": ("add",)})) is None
    assert people.update(peer(BEN, "ben", state="failed")) is None
    assert list(people) == []


def test_two_of_one_nick_are_told_apart_by_their_ids(people: People) -> None:
    people.update(peer(BEN, "ben"))
    assert people.label(people.resolve("BEN")) == "ben"
    people.update(peer(OTHER_BEN, "Ben"))
    assert [people.label(person) for person in people] == ["ben~b100", "Ben~b200"]
    with pytest.raises(UnknownPerson, match=r"2 people are called ben: ben~b100, Ben~b200"):
        people.resolve("ben")
    assert people.resolve("ben~b2").id == OTHER_BEN
    people.update(peer(BEN, "ben", state="left"))
    assert people.resolve("ben").id == OTHER_BEN


def test_a_nick_that_nobody_has_is_said_to_be_so(people: People) -> None:
    with pytest.raises(UnknownPerson, match="nobody here is called carl"):
        people.resolve("carl")
    with pytest.raises(UnknownPerson, match="eva is you"):
        people.resolve("eva")
    people.update(peer(ANA, "eva"))
    assert people.resolve("eva").id == ANA
    assert people.label(people.me) == "eva~0000"


def test_a_nick_with_controls_or_blanks_is_shown_harmlessly(people: People) -> None:
    people.update(peer(ANA, "\x1b[2J a"))
    (person,) = people
    assert person.nick == "\\x1b[2J_a"
