"""Records: what is told is what is held, version by version, and nothing malformed gets in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from mesh.membership import MAX_RECORD_BYTES, OwnRecord, Record
from mesh.wire.codec import Codec
from mesh.wire.frames import BadFrame
from patterns.errors import ConfigError
from patterns.names import group_subject

ID = bytes(range(16))

WHOLE: dict[str, Any] = {
    "name": "calc",
    "version": 3,
    "services": {"calc": ["add"]},
    "interest": ["a.*", group_subject("crew")],
    "tags": {"zone": "1"},
    "addresses": ["10.0.0.1:7000"],
    "rpc": 7001,
    "observer": False,
}


def own() -> OwnRecord:
    return OwnRecord(ID, "calc", tags={}, is_observer=False, addresses=["h:1"], rpc_port=2)


def over_the_wire(value: Any) -> Any:
    return Codec().unpack_all(Codec().pack(value), 1)[0]


def shown(record: Record) -> tuple[Any, ...]:
    return record.version, set(record.interest), record.services


def test_a_record_arrives_as_it_was_sent() -> None:
    record = Record.from_wire(ID, {**WHOLE, "new": object()})
    assert (record.id, record.name, record.version) == (ID, "calc", 3)
    assert record.services == {"calc": ("add",)}
    assert list(record.interest) == WHOLE["interest"]
    assert record.groups == {"crew"}
    assert (record.tags, record.addresses) == ({"zone": "1"}, ("10.0.0.1:7000",))
    assert (record.rpc_port, record.is_observer) == (7001, False)


WRONG: dict[str, list[Any]] = {
    "name": [None, "", "no good", "x" * 65, 5],
    "version": [None, -1, 1.5, True, "1"],
    "services": [None, [], {"no good": []}, {"a": None}, {"a": ["no good"]}, {"a": [5]}, {5: []}],
    "interest": [None, {}, [5], [""], ["a..b"], ["a*"], ["_mesh.x"], [None]],
    "tags": [None, [], {"a": 5}, {5: "a"}, {"a": "x" * 256}, {str(i): "" for i in range(65)}],
    "addresses": [None, "h:1", [5], ["x" * 256]],
    "rpc": [None, 0, -1, 65536, "7001", True],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, vs in WRONG.items() for v in vs])
def test_a_wrong_field_is_refused(field: str, value: Any) -> None:
    with pytest.raises(BadFrame):
        Record.from_wire(ID, {**WHOLE, field: value})


@pytest.mark.parametrize("field", sorted(WRONG))
def test_a_missing_field_is_refused(field: str) -> None:
    with pytest.raises(BadFrame):
        Record.from_wire(ID, {key: value for key, value in WHOLE.items() if key != field})


@pytest.mark.parametrize("fields", [None, 5, [], "x"])
def test_what_is_no_map_is_refused(fields: Any) -> None:
    with pytest.raises(BadFrame):
        Record.from_wire(ID, fields)
    with pytest.raises(BadFrame):
        Record.from_wire(ID, WHOLE).apply(fields)


@pytest.mark.parametrize(
    "delta",
    [
        {},
        {"version": 3},
        {"version": 5},
        {"version": "4"},
        {"version": 4, "add": ["ok", "a..b"]},
        {"version": 4, "remove": [5]},
        {"version": 4, "add": ["ok"], "services": {"a": [5]}},
        {"version": 4, "add": "ok"},
    ],
)
def test_a_delta_that_is_malformed_or_does_not_follow_changes_nothing(delta: Any) -> None:
    record = Record.from_wire(ID, WHOLE)
    before = shown(record)
    with pytest.raises(BadFrame):
        record.apply(delta)
    assert shown(record) == before


def test_a_delta_tells_what_it_really_added_and_removed() -> None:
    record = Record.from_wire(ID, WHOLE)
    added, removed = record.apply({"version": 4, "add": ["b", "a.*"], "remove": ["unknown", "a.*"]})
    assert (added, removed) == (["b"], ["a.*"])


class Told(RuleBasedStateMachine):
    """An own record, and a copy elsewhere that hears of it in deltas."""

    def __init__(self) -> None:
        super().__init__()
        self.own = own()
        self.copy = Record.from_wire(ID, over_the_wire(self.own.to_wire()))
        self.wanted: set[str] = set()
        self.methods = 0

    @rule(pattern=st.sampled_from(["a", "b", "c.*", "d.>"]))
    def toggle(self, pattern: str) -> None:
        if pattern in self.wanted:
            self.own.unwant(pattern)
        else:
            self.own.want(pattern)
        self.wanted ^= {pattern}

    @rule()
    def serve(self) -> None:
        self.methods += 1
        self.own.serve("calc", f"m{self.methods}")

    @rule()
    def tell(self) -> None:
        has_changes = self.own.has_changes
        delta = self.own.take_delta()
        assert (delta is not None) is has_changes
        if delta is not None:
            self.copy.apply(over_the_wire(delta))
        assert shown(self.copy) == shown(Record.from_wire(ID, over_the_wire(self.own.to_wire())))
        assert set(self.copy.interest) == self.wanted
        assert len(self.copy.services["calc"]) == self.methods


Told.TestCase.settings = settings(max_examples=50, deadline=None)
TestTold = Told.TestCase


def test_a_record_that_would_not_fit_a_frame_is_refused_and_stays_as_it_was() -> None:
    record = own()
    count = 0
    while True:
        try:
            record.want(f"subject.number.{count}")
        except ConfigError:
            break
        count += 1
    with pytest.raises(ConfigError):
        record.serve("calc", "x" * 64)
    record.take_delta()
    assert len(record.to_wire()["interest"]) == count
    assert len(Codec().pack(record.to_wire())) <= MAX_RECORD_BYTES
    record.unwant("subject.number.0")
    record.want("subject.number.x")


def test_every_node_provides_its_own_name_but_an_observer() -> None:
    assert own().services == {"calc": ()}
    assert OwnRecord(ID, "calc", tags={}, is_observer=True).services == {}


@pytest.mark.parametrize(
    "tags", [{"a": 5}, {5: "a"}, {"a": "x" * 256}, {str(i): "" for i in range(65)}]
)
def test_tags_that_cannot_travel_are_refused(tags: Any) -> None:
    with pytest.raises(ConfigError):
        OwnRecord(ID, "calc", tags=tags, is_observer=False)
