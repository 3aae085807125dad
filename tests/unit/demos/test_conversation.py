"""Lines stand in one order at everybody, once, and what arrives is believed in nothing."""

from __future__ import annotations

import random
from typing import Any

import pytest

from demos.chat.conversation import KEPT_LINES, Conversation, Kind, Line
from demos.chat.wire import Clock, group_of, pack, read_line, room_of

ANA, BEN = "a" * 32, "b" * 32


def said(order: int, author: str = ANA, number: int | None = None) -> Line:
    return Line(Kind.SAID, f"{order}", order, 0.0, author=author, number=number or order)


def test_lines_that_arrive_in_any_order_stand_in_one() -> None:
    lines = [said(order, author) for order in range(1, 50) for author in (ANA, BEN)]
    shuffled = random.Random(7).sample(lines, len(lines))
    conversation = Conversation("#lobby")
    assert all(conversation.add(line) for line in shuffled)
    assert conversation.lines == lines


def test_a_line_that_comes_twice_is_kept_once() -> None:
    conversation = Conversation("#lobby")
    assert conversation.add(said(1))
    assert not conversation.add(said(1))
    assert not conversation.add(said(5, number=1))
    assert conversation.add(said(1, BEN))
    assert len(conversation.lines) == 2


def test_a_note_stands_behind_what_was_said_before_it() -> None:
    conversation = Conversation("#lobby")
    note = Line(Kind.NOTE, "ben left", 3, 0.0, number=1)
    for line in (said(3), note, said(4), said(2)):
        conversation.add(line)
    assert [line.text for line in conversation.lines] == ["2", "3", "ben left", "4"]


def test_the_oldest_lines_give_way_and_do_not_come_back() -> None:
    conversation = Conversation("#lobby")
    for order in range(1, KEPT_LINES + 11):
        conversation.add(said(order))
    assert len(conversation.lines) == KEPT_LINES
    assert not conversation.add(said(5))
    assert conversation.lines[0].order == 11
    assert [line.order for line in conversation.said(2)] == [KEPT_LINES + 9, KEPT_LINES + 10]


def test_unread_lines_are_counted_until_they_are_read() -> None:
    conversation = Conversation("#lobby")
    conversation.mark_unread(mention=True)
    conversation.mark_unread(mention=False)
    assert (conversation.unread, conversation.has_mention) == (2, True)
    conversation.mark_read()
    assert (conversation.unread, conversation.has_mention) == (0, False)


def test_a_line_travels_as_it_is() -> None:
    line = Line(Kind.SAID, "hi", 7, 12.5, author=ANA, nick="ana", number=3)
    read = read_line(pack(line, with_author=True), Clock())
    for field in ("text", "order", "at", "author", "nick", "number"):
        assert getattr(read, field) == getattr(line, field)


GOOD: dict[str, Any] = {"n": 1, "order": 1, "at": 0.0, "text": "hi"}


@pytest.mark.parametrize(
    "data",
    [
        None,
        "hi",
        {},
        GOOD | {"n": 0},
        GOOD | {"n": True},
        GOOD | {"n": 2**60},
        GOOD | {"order": "1"},
        GOOD | {"at": float("nan")},
        GOOD | {"at": 1e300},
        GOOD | {"text": b"hi"},
        GOOD | {"text": " \n"},
    ],
)
def test_what_is_no_line_is_refused(data: Any) -> None:
    assert read_line(GOOD, Clock(), ANA, "ana").text == "hi"
    with pytest.raises(ValueError, match="it"):
        read_line(data, Clock(), ANA, "ana")


@pytest.mark.parametrize("author", [None, "ana", "A" * 32, 7])
def test_a_line_of_a_history_names_its_author(author: Any) -> None:
    with pytest.raises(ValueError, match="author"):
        read_line(GOOD | {"author": author, "nick": "ana"}, Clock())


@pytest.mark.parametrize("order", [2**53, -5, 0, 10**9])
def test_a_count_that_cannot_be_is_taken_for_the_next(order: int) -> None:
    clock = Clock()
    assert clock.see(41) == 41
    assert read_line(GOOD | {"order": order}, clock, ANA, "ana").order == 42
    assert clock.tick() == 43


def test_a_room_is_a_group_and_back() -> None:
    assert room_of(group_of("dev-1")) == "dev-1"
    for name in ("", "Dev", "a b", "x" * 33, "ü", "../x"):
        with pytest.raises(ValueError, match="room's name"):
            group_of(name)
    for group in ("painters", "room-", "room-Dev", "*"):
        assert room_of(group) is None
