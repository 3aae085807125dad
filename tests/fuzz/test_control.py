"""The decoders of the control lane and of records, fed with garbage and with damaged messages.

The same law as for frames: they return or raise `BadFrame`; and a record that refuses a delta is
as it was before.
"""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.engine import control as c
from mesh.membership import MAX_WEIGHT, Record
from mesh.wire.codec import Codec
from mesh.wire.frames import BadFrame
from patterns.names import group_subject

ID = bytes(range(16))
SETTINGS = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.sampled_from(["calc", "a.*", "a.b.>", "_mesh.all", group_subject("g"), "", "h:1"]),
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = ["name", "version", "services", "interest", "queues", "tags", "instance", "weight",
          "addresses", "rpc", "work", "observer", "blocks"]  # fmt: skip
RECORD: dict[str, Any] = {
    "name": "calc",
    "version": 3,
    "services": {"calc": ["add"]},
    "interest": ["a.*", group_subject("crew")],
    "queues": {"billing": ["orders.>"]},
    "tags": {"zone": "1"},
    "instance": "calc-1",
    "weight": 2.5,
    "addresses": ["10.0.0.1:7000"],
    "rpc": 7001,
    "work": 7002,
    "observer": False,
}


def over_the_wire(value: Any) -> Any:
    return Codec().unpack_all(Codec().pack(value), 1)[0]


@SETTINGS
@given(values | st.lists(values, min_size=1, max_size=5).map(lambda v: [v[0], *v[1:]]))
def test_any_value_as_a_control_message_is_taken_or_refused(value: Any) -> None:
    try:
        checked = c.check_control(over_the_wire(value))
    except BadFrame:
        return
    assert checked is None or checked[0] == value[0]


@SETTINGS
@given(st.integers(0, 20), st.lists(values, max_size=4))
def test_any_fields_of_a_known_type_are_taken_or_refused(kind: int, fields: list[Any]) -> None:
    try:
        checked = c.check_control(over_the_wire([kind, *fields]))
    except BadFrame:
        return
    if checked is not None:
        assert all(field >= 0 for field in checked[1] if type(field) is int)


@SETTINGS
@given(st.dictionaries(st.sampled_from(FIELDS), values, max_size=3) | values)
def test_any_value_in_any_field_of_a_record_is_taken_or_refused(damage: Any) -> None:
    told = {**RECORD, **damage} if isinstance(damage, dict) else damage
    try:
        record = Record.from_wire(ID, over_the_wire(told))
    except BadFrame:
        return
    assert record.groups is not None
    assert all(isinstance(pattern, str) for pattern in record.interest)
    assert all(isinstance(p, str) for ps in record.queues.values() for p in ps)
    assert record.instance.encode()
    assert 0 < record.weight <= MAX_WEIGHT
    assert 0 < record.work_port < 65536


@SETTINGS
@given(
    st.dictionaries(
        st.sampled_from(["version", "add", "remove", "services", "queues"]), values, max_size=5
    ),
    st.booleans(),
)
def test_any_delta_is_applied_whole_or_changes_nothing(
    delta: dict[str, Any], follows: bool
) -> None:
    record = Record.from_wire(ID, copy.deepcopy(RECORD))
    if follows:
        delta["version"] = 4
    try:
        record.apply(over_the_wire(delta))
    except BadFrame:
        assert record.version == 3
        assert list(record.interest) == RECORD["interest"]
        assert record.services == {"calc": ("add",)}
        assert record.queues == {"billing": ("orders.>",)}
    else:
        assert record.version == 4
