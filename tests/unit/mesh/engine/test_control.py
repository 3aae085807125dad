"""Control messages: what has the shape of its type is taken, all else refused or ignored."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.engine import control as c
from mesh.wire.frames import BadFrame

GOOD: list[list[Any]] = [
    [c.OPEN, 0, {}, 1],
    [c.REFUSE, "mesh", "text"],
    [c.DELTA, {}],
    [c.APPLIED, 3],
    [c.ACK, 1, 100],
    [c.GOODBYE, "bye"],
    [c.GOODBYE_ACK],
    [c.PEERS, [], True],
    [c.DIGEST, 5],
    [c.PING, 1],
    [c.PONG, 1],
    [c.REPLY, b""],
    [c.CALLS, [1]],
    [c.CALLS_MISSING, [1]],
]


@pytest.mark.parametrize("entry", GOOD)
def test_a_message_of_its_shape_is_taken_with_fields_that_came_later(entry: list[Any]) -> None:
    assert c.check_control(entry) == (entry[0], entry[1:])
    assert c.check_control([*entry, {"new": 1}]) == (entry[0], [*entry[1:], {"new": 1}])


@pytest.mark.parametrize("entry", [entry for entry in GOOD if len(entry) > 1])
def test_a_message_with_a_field_missing_or_of_another_type_is_refused(entry: list[Any]) -> None:
    for position in range(1, len(entry)):
        with pytest.raises(BadFrame):
            c.check_control(entry[:position])
        for wrong in (None, 1.5, True, object()):
            if type(wrong) is type(entry[position]):
                continue
            with pytest.raises(BadFrame):
                c.check_control([*entry[:position], wrong, *entry[position + 1 :]])


@pytest.mark.parametrize("entry", [[c.ACK, -1, 0], [c.ACK, 0, -1], [c.APPLIED, -1], [c.PING, -5]])
def test_a_negative_number_is_refused(entry: list[Any]) -> None:
    with pytest.raises(BadFrame):
        c.check_control(entry)


@pytest.mark.parametrize("entry", [None, 5, "x", {}, [], [None], ["1"], [True], [1.0], [[1]]])
def test_what_is_no_list_that_begins_with_a_type_is_refused(entry: Any) -> None:
    with pytest.raises(BadFrame):
        c.check_control(entry)


@pytest.mark.parametrize("kind", [0, 99, -1, 2**40])
def test_a_type_of_a_newer_version_is_ignored(kind: int) -> None:
    assert c.check_control([kind, "whatever"]) is None


def test_types_are_all_different() -> None:
    assert len({entry[0] for entry in GOOD}) == len(GOOD)
