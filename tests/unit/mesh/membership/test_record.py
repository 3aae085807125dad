"""Records: what is told is what is held, version by version, and nothing malformed gets in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from mesh.membership import MAX_RECORD_BYTES, MAX_WEIGHT, OwnRecord, Record
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
    "queues": {"billing": ["orders.>", "refunds"]},
    "tags": {"zone": "1"},
    "instance": "calc-1",
    "weight": 2.5,
    "addresses": ["10.0.0.1:7000"],
    "rpc": 7001,
    "work": 7002,
    "observer": False,
}


OPTIONAL = {"queues": {}, "instance": ID.hex(), "weight": 1.0}
"""What a record that does not say it means."""


def own(**fields: Any) -> OwnRecord:
    given = {"tags": {}, "is_observer": False, "instance": "calc-1", "weight": 1.0, **fields}
    return OwnRecord(ID, "calc", addresses=["h:1"], rpc_port=2, work_port=3, **given)


def over_the_wire(value: Any) -> Any:
    return Codec().unpack_all(Codec().pack(value), 1)[0]


def shown(record: Record) -> tuple[Any, ...]:
    return record.version, set(record.interest), record.services, record.queues, record.size


def test_a_record_arrives_as_it_was_sent() -> None:
    record = Record.from_wire(ID, {**WHOLE, "new": object()})
    assert (record.id, record.name, record.version) == (ID, "calc", 3)
    assert record.services == {"calc": ("add",)}
    assert list(record.interest) == WHOLE["interest"]
    assert record.groups == {"crew"}
    assert (record.tags, record.addresses) == ({"zone": "1"}, ("10.0.0.1:7000",))
    assert (record.rpc_port, record.work_port, record.is_observer) == (7001, 7002, False)
    assert record.queues == {"billing": ("orders.>", "refunds")}
    assert (record.instance, record.weight) == ("calc-1", 2.5)
    assert record.wants("a.*")
    assert record.wants(group_subject("crew"))
    assert not record.wants("orders.>")


WRONG: dict[str, list[Any]] = {
    "name": [None, "", "no good", "x" * 65, 5],
    "version": [None, -1, 1.5, True, "1"],
    "services": [None, [], {"no good": []}, {"a": None}, {"a": ["no good", 5]}, {"_mesh": []}],
    "interest": [None, {}, [5], [""], ["a..b"], ["a*"], ["_mesh.x"], [None]],
    "tags": [None, [], {"a": 5}, {5: "a"}, {"a": "x" * 256}, {str(i): "" for i in range(65)}],
    "addresses": [None, "h:1", [5], ["x" * 256]],
    "rpc": [None, 0, -1, 65536, "7001", True],
    "work": [None, 0, -1, 65536, "7001", True],
    "instance": [None, "", 5, b"x", "x" * 256, "\ud800"],
    "weight": [None, 0, -1.0, "1", True, math.nan, math.inf, MAX_WEIGHT * 1.01, 10**400],
    "queues": [None, [], {"no good": []}, {"a": None}, {"a": "b"}, {"a": ["a..b"]}, {5: []},
               {"a": [group_subject("crew")]}, {"a": [5]}],
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, vs in WRONG.items() for v in vs])
def test_a_wrong_field_is_refused(field: str, value: Any) -> None:
    with pytest.raises(BadFrame):
        Record.from_wire(ID, {**WHOLE, field: value})


@pytest.mark.parametrize("field", sorted(WRONG.keys() - OPTIONAL.keys()))
def test_a_missing_field_is_refused(field: str) -> None:
    with pytest.raises(BadFrame):
        Record.from_wire(ID, {key: value for key, value in WHOLE.items() if key != field})


@pytest.mark.parametrize("field", sorted(OPTIONAL))
def test_a_missing_field_that_older_nodes_lack_has_its_default(field: str) -> None:
    record = Record.from_wire(ID, {key: value for key, value in WHOLE.items() if key != field})
    assert getattr(record, field) == OPTIONAL[field]


@pytest.mark.parametrize("weight", [1, 5e-324, 0.5, MAX_WEIGHT])
def test_a_weight_may_be_any_number_above_0(weight: float) -> None:
    record = Record.from_wire(ID, {**WHOLE, "weight": weight})
    assert (record.weight, type(record.weight)) == (weight, float)


def test_a_pattern_that_a_queue_group_names_twice_counts_once() -> None:
    record = Record.from_wire(ID, {**WHOLE, "queues": {"billing": ["b", "a", "b"]}})
    assert record.queues == {"billing": ("b", "a")}


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
        {"version": 4, "add": ["ok"], "queues": {"a": [5]}},
        {"version": 4, "queues": None},
        {"version": 4, "queues": {"g": [f"{i}.{'x' * 200}" for i in range(1500)]}},
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
        self.shared: set[tuple[str, str]] = set()
        self.methods = 0

    @rule(group=st.sampled_from("gh"), pattern=st.sampled_from(["a", "b", "c.*"]))
    def toggle_shared(self, group: str, pattern: str) -> None:
        change = self.own.unwant_queue if (group, pattern) in self.shared else self.own.want_queue
        change(group, pattern)
        self.shared ^= {(group, pattern)}

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
        assert {(g, p) for g, ps in self.copy.queues.items() for p in ps} == self.shared
        assert all(self.copy.queues.values())


Told.TestCase.settings = settings(max_examples=50, deadline=None)
TestTold = Told.TestCase


def full_after(want: Callable[[str], None]) -> int:
    """How many patterns a record takes until it is full."""
    count = 0
    while True:
        try:
            want(f"subject.number.{count}")
        except ConfigError:
            return count
        count += 1


def test_a_record_that_would_not_fit_a_frame_is_refused_and_stays_as_it_was() -> None:
    record = own()
    count = full_after(record.want)
    with pytest.raises(ConfigError):
        record.serve("calc", "x" * 64)
    record.take_delta()
    assert len(record.to_wire()["interest"]) == count
    assert len(Codec().pack(record.to_wire())) <= MAX_RECORD_BYTES
    record.unwant("subject.number.0")
    record.want("subject.number.x")


def test_queue_groups_count_in_the_size_and_give_it_back() -> None:
    record = own()
    # Long ones: each that is shared is compared with all before it.
    end = ".part" * 30
    count = full_after(lambda pattern: record.want_queue("g", pattern + end))
    with pytest.raises(ConfigError):
        record.want("x" * 200)
    assert len(record.queues["g"]) == count
    assert MAX_RECORD_BYTES * 0.9 < len(Codec().pack(record.to_wire())) <= MAX_RECORD_BYTES
    for i in range(count):
        record.unwant_queue("g", f"subject.number.{i}{end}")
    assert record.queues == {}
    assert full_after(lambda pattern: record.want_queue("g", pattern + end)) == count


def test_sharing_a_pattern_twice_or_ending_it_twice_changes_nothing() -> None:
    record = own()
    record.unwant_queue("g", "a")
    assert (record.changes, record.has_changes) == (0, False)
    record.want_queue("g", "a")
    record.take_delta()
    changes = record.changes
    record.want_queue("g", "a")
    assert (record.changes, record.has_changes) == (changes, False)


def test_a_delta_says_nothing_of_queue_groups_that_did_not_change() -> None:
    record = own()
    record.want_queue("g", "a")
    record.take_delta()
    record.want("b")
    assert record.take_delta() == {"version": 3, "add": ["b"]}


def test_an_own_record_is_told_with_instance_weight_and_work_port() -> None:
    told = Record.from_wire(ID, over_the_wire(own(instance="ü-1", weight=2).to_wire()))
    assert (told.instance, told.weight, told.work_port) == ("ü-1", 2.0, 3)


def test_an_own_record_with_much_text_in_any_alphabet_fits_a_frame() -> None:
    tags = {f"{i}-{'端' * 200}": "点" * 255 for i in range(64)}
    record = own(tags=tags, instance="実" * 255)
    assert full_after(record.want) > 0
    assert len(Codec().pack(record.to_wire())) <= MAX_RECORD_BYTES


def test_every_node_provides_its_own_name_but_an_observer() -> None:
    assert own().services == {"calc": ()}
    assert own(is_observer=True).services == {}


@pytest.mark.parametrize(
    "tags", [{"a": 5}, {5: "a"}, {"a": "x" * 256}, {str(i): "" for i in range(65)}]
)
def test_tags_that_cannot_travel_are_refused(tags: Any) -> None:
    with pytest.raises(ConfigError):
        own(tags=tags)


@pytest.mark.parametrize("value", WRONG["instance"])
def test_an_instance_that_cannot_travel_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError):
        own(instance=value)


@pytest.mark.parametrize("value", WRONG["weight"])
def test_a_weight_that_is_no_share_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError):
        own(weight=value)
