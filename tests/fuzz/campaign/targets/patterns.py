"""What is inside of entries: control messages, records, deltas, requests, replies, casts, names."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from typing import Any

from mesh.engine import control as c
from mesh.membership import MAX_WEIGHT, OwnRecord, Record
from mesh.membership.record import MAX_RECORD_BYTES, MAX_TAGS, MAX_TEXT, size_of, size_of_queues
from mesh.wire.codec import Codec
from mesh.wire.frames import BadFrame
from patterns import messages as m
from patterns import names
from patterns.errors import BadName
from patterns.groupcast import casts as k
from patterns.groupcast.sources import Source, read_cast
from patterns.keys import key_bytes
from patterns.rpc import CallOptions
from patterns.subjects import SubjectMap
from tests.fuzz.campaign.target import Target
from tests.unit.patterns.rpc.port import Node, Port

__all__ = ["CONTROLS", "RECORD", "TARGETS"]

ID = bytes(range(16))
RECORD: dict[str, Any] = {
    "name": "calc",
    "version": 3,
    "services": {"calc": ["add"]},
    "interest": ["a.*", names.group_subject("crew")],
    "queues": {"billing": ["orders.>"]},
    "tags": {"zone": "1"},
    "instance": "calc-1",
    "weight": 2.5,
    "addresses": ["10.0.0.1:7000"],
    "rpc": 7001,
    "work": 7002,
    "observer": False,
    "blocks": True,
}
DELTA = {
    "version": 4,
    "add": ["b.c"],
    "remove": ["a.*"],
    "services": {"calc": ["add", "sub"]},
    "queues": {"billing": ["orders.*", "x"], "new": ["y"]},
    "addresses": ["10.0.0.2:7000"],
    "blocks": False,
}
CREW = names.group_subject("crew")
CONTROLS: list[list[Any]] = [
    [c.OPEN, 0, RECORD, 1],
    [c.OPEN, 5, RECORD, 1, True],
    [c.REFUSE, c.REFUSED_FULL, "no room"],
    [c.DELTA, DELTA],
    [c.APPLIED, 1],
    [c.ACK, 7, 100],
    [c.GOODBYE, "closed"],
    [c.GOODBYE_ACK],
    [c.PEERS, [[ID, ["10.0.0.3:7000", "[fe80::1]:7000"]]], True],
    [c.DIGEST, 77],
    [c.PING, 1],
    [c.PONG, c.FIRST_QUESTION + 1],
    [c.PONG, c.FIRST_PING],
    [c.REPLY, Codec().pack([1, 0, "value"])],
    [c.CALLS, [1, 2]],
    [c.CALLS_MISSING, [1, 2]],
    [c.PARCEL_ACK, 7, 100],
    [c.LOST, [["a.b", 3]]],
    [k.WANT, CREW, 8, 0, 1],
    [k.GRANT, CREW, 1, 8],
    [k.RETURN, CREW, 1, 2, 0],
    [k.DONE, [0, 2, 5, 1]],
    [k.BACK, k.BACK_MOVED, [2, 1], ID],
    [k.HELD, 1, 0, [3, 1], [0, 2]],
    [k.CHECK, 4, 100],
    [k.RECALL, CREW, 1],
    [c.STREAM_ACK, 1, 2],
    [c.STREAMS_LOST, 1],
    [c.OWNED, "cart", b"\x00\x01\x9a\xa9", False, 1 << 60],
    [c.OWNED, "cart", b"", True, 7],
]

codec = Codec()


def unpacked(data: bytes) -> Any:
    return codec.unpack_all(data, 1)[0]


def packed(*values: Any) -> tuple[bytes, ...]:
    return tuple(codec.pack(value) for value in values)


def check_control(data: bytes, checked: Any) -> Hashable:
    if checked is None:
        return None
    kind, fields = checked
    assert all(field >= 0 for field in fields if type(field) is int)
    return kind


# Records.


def check_record(data: bytes, record: Any) -> Hashable:
    assert all(isinstance(pattern, str) for pattern in record.interest)
    assert all(isinstance(p, str) for ps in record.queues.values() for p in ps)
    assert len(record.tags) <= MAX_TAGS
    texts = [*record.tags, *record.tags.values(), *record.addresses, record.instance]
    assert all(len(text) <= MAX_TEXT for text in texts)
    assert all(text.encode() is not None for text in (*texts, *record.interest))
    assert 0 < record.weight <= MAX_WEIGHT
    assert 0 < record.work_port < 65_536
    assert 0 < record.rpc_port < 65_536
    assert record.size == size_of(record.interest) + size_of_queues(record.queues)
    assert record.groups is not None
    shapes = (record.interest, record.queues, record.services, record.tags, record.addresses)
    return tuple(min(len(shape), 3) for shape in shapes)


def apply_delta(data: bytes) -> Any:
    """A record that refuses a delta is as it was."""
    told = unpacked(data)
    record = Record.from_wire(ID, copy.deepcopy(RECORD))
    try:
        record.apply(told)
    except BadFrame:
        same = Record.from_wire(ID, RECORD)
        for field in ("version", "interest", "services", "queues", "addresses", "size", "blocks"):
            assert getattr(record, field) == getattr(same, field), field
        raise
    return record


def check_delta(data: bytes, record: Any) -> Hashable:
    assert record.version == 4
    assert record.size <= MAX_RECORD_BYTES
    return check_record(data, record)


def own_delta() -> dict[str, Any]:
    """What a node says of a change of its own."""
    own = OwnRecord(ID, "calc", tags={}, is_observer=False, instance="calc", weight=1.0)
    own.version = 3
    own.want("c.d")
    own.want_queue("billing", "x")
    own.serve("calc", "mul")
    delta = own.take_delta()
    assert delta is not None
    return delta


# Requests and replies.


class Rpc:
    """A server and a client that know each other, on a clock that stands."""

    def __init__(self) -> None:
        self.port = port = Port()
        self.peer = Node("peer")
        port.providers.update(self.peer, {"calc": ("add",)}, True)
        for function in (add, echo):
            port.serve(function)

    def served(self, data: bytes) -> Hashable:
        """Each entry that is well formed has one answer, whatever is in it."""
        port = self.port
        entries = codec.unpack_all(data)
        port.replies.clear()
        malformed = port.request(*entries)
        if malformed <= 16:
            assert len(port.replies) == len(entries) - malformed, port.replies
        statuses = {entry[1] for _, entry in port.replies}
        assert not port.server._jobs or len(port.server) < 100
        return frozenset(statuses), min(malformed, 17)

    def settled(self, data: bytes) -> Hashable:
        """Replies to three calls in flight: each ends once, or goes on."""
        port, client = self.port, self.port.client
        entries = codec.unpack_all(data)
        first = client._last_id + 1
        waiters = [port.waiter() for _ in range(3)]
        for waiter in waiters:
            client.call("calc.add", (1, 2), {}, CallOptions(timeout=5.0), waiter)
        for entry in entries:
            # Ids count up; the inputs name them 1 to 3.
            if isinstance(entry, list) and entry and type(entry[0]) is int and 0 < entry[0] < 4:
                entry[0] += first - 1
        try:
            malformed = client.on_replies(self.peer, entries)
            ended = sum(waiter.done() for waiter in waiters)
            assert ended + len(client) == 3, (ended, len(client))
            assert self.peer.outstanding == len(client)
        finally:
            for number in range(3):
                client.cancel(first + number)
        assert not client._bytes
        port.requests.clear()
        port.cancelled.clear()
        errors = frozenset(type(waiter.error) for waiter in waiters if waiter.done())
        return errors, min(malformed, 2)


def add(a: int, b: int = 0) -> int:
    return a + b


def echo(value: Any) -> Any:
    return value


rpc = Rpc()
KEY = ["calc.add", 9000, [1, 2], {}, {"trace": "1"}, "key", 0]
REQUESTS = (
    [[1, "calc.add", 9000, [1, 2]]],
    [[1, "calc.add", 9000, [1], {"b": 2}], [2, "calc.echo", 9000, [{"a": {1, 2}}]]],
    [[3, *KEY], [4, *KEY[:4]]],
)
REPLIES = (
    [[1, m.STATUS_OK, "value"], [2, m.STATUS_ERROR, "ValueError", "text", "trace"]],
    [[1, m.STATUS_MOVED, ID], [2, m.STATUS_DRAINING, "leaving"], [3, m.STATUS_NO_METHOD, "x"]],
    [[1, m.STATUS_OVERLOADED, "x"], [2, m.STATUS_EXPIRED, "x"], [3, m.STATUS_BAD_REQUEST, "x"]],
)


def flow(lists: tuple[list[Any], ...]) -> tuple[bytes, ...]:
    return tuple(b"".join(packed(*entries)) for entries in lists)


def shape_of(data: bytes, result: object) -> Hashable:
    assert isinstance(result, Hashable)
    return result


# Casts.

source: Any = Source(Node("sender"))


def cast(data: bytes) -> Any:
    return read_cast(unpacked(data), source, 7)


def check_cast(data: bytes, message: Any) -> Hashable:
    assert isinstance(message.headers, dict)
    assert message.redelivered in (True, False)
    assert message.key is None or key_bytes(message.key) is not None
    assert isinstance(message.group, str | None)
    return type(message), message.group is None


def ranges(data: bytes) -> Any:
    value = unpacked(data)
    if not isinstance(value, list):
        raise ValueError("the control lane has seen to that")
    numbers = list(k.numbers_of(value, 5000))
    is_in = k.membership_of(value)
    is_honest = len(set(numbers)) == len(numbers) and all(value[1::2])
    if is_honest:  # else they overlap, or hold nothing
        assert all(is_in(number) for number in numbers[:50])
    return numbers


def check_ranges(data: bytes, numbers: Any) -> Hashable:
    assert len(numbers) <= 5000
    return len(numbers).bit_length()


# Names.


def name_of(data: bytes) -> Any:
    """All that a text from outside is asked whether it is."""
    text = data.decode("utf-8", "surrogatepass")
    passed, refusals = [], []
    for check in (lambda t: names.check_name("node", t), names.check_subject, names.check_pattern,
                  names.split_method, names.group_subject, names.queue_pool):  # fmt: skip
        try:
            check(text)
        except BadName as error:
            refusals.append(str(error))
        else:
            passed.append(check)
    assert all(refusal.isprintable() and len(refusal) < 400 for refusal in refusals)
    group, queue = names.group_of(text), names.queue_of(text)
    assert group is None or names.group_subject(group) == text
    assert queue is None or names.queue_pool(queue) == text
    return text, tuple(passed)


def check_name(data: bytes, result: Any) -> Hashable:
    text, passed = result
    if names.check_pattern in passed:
        interest: SubjectMap[str] = SubjectMap()
        interest.add(text, "x")
        literal = text.replace("*", "t").replace(">", "t.u")
        assert list(interest.match(literal)) == ["x"]
        interest.remove(text, "x")
        assert not interest
    return len(passed), names.group_of(text) is None, names.queue_of(text) is None


TARGETS = [
    Target(
        "control", lambda data: c.check_control(unpacked(data)), packed(*CONTROLS),
        law=check_control,
    ),
    Target(
        "record",
        lambda data: Record.from_wire(ID, unpacked(data)),
        packed(RECORD, {**RECORD, "queues": {}, "interest": []}),
        law=check_record,
    ),
    Target("delta", apply_delta, packed(DELTA, own_delta(), {"version": 4}), law=check_delta),
    Target("requests", rpc.served, flow(REQUESTS), law=shape_of),
    Target("replies", rpc.settled, flow(REPLIES), law=shape_of),
    Target(
        "cast",
        cast,
        packed(
            [CREW, 1],
            [CREW, {"a": 1}, {"h": "x"}, k.FLAG_REDELIVERED, "key"],
            [names.queue_pool("billing"), 1, {}, 0, None, "a.b"],
        ),
        # What the receiver takes for an entry that nobody can read.
        refuses=(BadFrame, TypeError, IndexError, KeyError, ValueError),
        law=check_cast,
    ),
    Target("ranges", ranges, packed([0, 3, 7, 1], []), refuses=(BadFrame, ValueError, TypeError),
           law=check_ranges),
    Target("key", lambda data: key_bytes(unpacked(data)), packed("7", b"7", 7, -(2**63), "é"),
           refuses=(BadFrame, BadName)),
    Target(
        "names",
        name_of,
        (b"calc", b"a.b", b"a.*.>", b"_mesh.all", b"_mesh.g.crew", b"_mesh.q.billing", b"calc.add"),
        refuses=(UnicodeDecodeError,),
        law=check_name,
        packed_at=None,
    ),
]  # fmt: skip
