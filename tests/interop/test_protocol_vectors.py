"""``docs/protocol.md`` against the code: each test vector decoded and encoded, constants compared.

A row of a vector table is `| what | value | bytes |`. `encode` makes the bytes from the value with
the code that the library sends with, `decode` the value from the bytes with the code that reads
what arrives. A table for which there is neither fails, and so does a kind, a control type, a status
or an extension type without a vector.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import msgpack
import pytest
from zeroconf import ServiceInfo
from zmq.utils import z85

import mesh
from discovery import Announcement, datagram, service
from mesh.engine import control as c
from mesh.engine.config import MAX_PAYLOAD_BYTES as LIMIT
from mesh.engine.packing import pack_copy, pack_message
from mesh.membership import OwnRecord, Record
from mesh.plain import wire
from mesh.queues.specs import job_of, wire_of
from mesh.security import MeshKey, knocking, signed
from mesh.security.curve import bind_id, is_bound
from mesh.security.keys import derive
from mesh.security.knocking import Card
from mesh.testing import SimMesh
from mesh.wire import codec as codec_module
from mesh.wire import frames
from mesh.wire.codec import Codec
from patterns import messages as m
from patterns.errors import NoProvider
from patterns.groupcast import casts as k
from patterns.groupcast.sources import Source, read_cast
from patterns.queues import messages as q
from patterns.queues.checks import BadMessage
from patterns.queues.worker import Held
from patterns.streams import messages as s
from tests.test_docs import UNITS, resolve
from tests.unit.patterns.queues.queueworld import Desk, WorkerSide, World

PAGE = (Path(__file__).parents[2] / "docs/protocol.md").read_text(encoding="utf-8")
A, B = bytes(range(16)), bytes(range(16, 32))

NAMES: dict[str, Any] = {
    "A": A,
    "B": B,
    "null": None,
    "true": True,
    "false": False,
    "datetime": datetime.fromisoformat,
    "uuid": UUID,
    "decimal": Decimal,
    "tuple": lambda *items: items,
    "set": lambda *items: set(items),
    "frozenset": lambda *items: frozenset(items),
    "ext": msgpack.ExtType,
}


class Vector(NamedTuple):
    section: str
    what: str
    value: Any
    text: str

    @property
    def data(self) -> bytes:
        return bytes.fromhex(self.text)


def value_of(text: str) -> Any:
    source = re.sub(r"h'([0-9a-f]*)'", lambda found: repr(bytes.fromhex(found[1])), text)
    return eval(source, {"__builtins__": {}} | NAMES)  # our own page


def rows(page: str) -> list[Vector]:
    found = []
    for section, table in re.findall(
        r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", page.partition("## 12.")[2], re.MULTILINE | re.DOTALL
    ):
        for what, value, text in re.findall(r"^\| ([^|`]+) \| `(.*)` \| (.*) \|$", table, re.M):
            found.append(Vector(section, what, value_of(value), text))
    return found


# From values to bytes


def frame(what: str, v: dict[str, Any]) -> list[bytes]:
    if what == "chunk":
        header = frames.pack_link(v["receiver"], v["link"], v["kind"], v["sender"], v["first"], 0)
        return [header + frames.pack_chunk(*v["chunk"]) + v["bytes"]]
    entries = [Codec().pack(entry) for entry in v["entries"]]
    count = len(entries)
    if what == "link, two parts":
        header = frames.pack_link(v["receiver"], v["link"], v["kind"], v["sender"], v["first"], 1)
        return [header + entries[0], v["payload"]]
    if what == "data":
        header = frames.pack_data(v["kind"], v["sender"], v["receiver"], v["link"], count)
    else:
        header = frames.pack_link(
            v["receiver"], v["link"], v["kind"], v["sender"], v["first"], count
        )
    return [header, *entries]


def link_string(what: str, v: dict[str, Any]) -> list[bytes]:
    if what == "hello":
        return [frames.pack_hello(v["id"], v["dial"])]
    if what == "prefix":
        return [frames.link_prefix(v["id"], frames.link_number(v["dial"], v["n"]))]
    return [frames.pack_info(v["id"], {key: v[key] for key in ("v", "mesh", "link", "rpc")})]


def own_record(v: dict[str, Any]) -> OwnRecord:
    """The record of a node that did what `v` says, one thing after the other."""
    record = OwnRecord(
        A,
        v["name"],
        tags=v["tags"],
        is_observer=v["observer"],
        instance=v["instance"],
        weight=v["weight"],
        addresses=v["addresses"],
        rpc_port=v["rpc"],
        work_port=v["work"],
    )
    for name, methods in v["services"].items():
        for method in methods:
            record.serve(name, method)
    for pattern in v["interest"]:
        record.want(pattern)
    for group, patterns in v["queues"].items():
        for pattern in patterns:
            record.want_queue(group, pattern)
    if v.get("blocks"):
        record.block(True)
    for name, holds in v.get("owns", {}).items():
        record.own(name, holds)
    record.take_delta()
    record.version = v["version"]
    return record


def record_bytes(what: str, v: dict[str, Any]) -> list[bytes]:
    if what == "record":
        return [Codec().pack(own_record(v).to_wire())]
    record = own_record(the("record"))
    for pattern in v["add"]:
        record.want(pattern)
    for pattern in v["remove"]:
        record.unwant(pattern)
    record.serve("calc", "sub")
    record.want_queue("billing", "refunds.*")
    record.readdress(v["addresses"])
    record.block(v["blocks"])
    return [Codec().pack(record.take_delta())]


def the(what: str) -> Any:
    return next(v.value for v in VECTORS if v.what == what and v.section == "Records")


def entry(what: str, v: list[Any]) -> list[bytes]:
    codec = Codec()
    if what == "message":
        return [pack_message(codec, LIMIT, v[0], v[1], v[2] if len(v) > 2 else None)]
    if what == "copy":
        return [pack_copy(codec, LIMIT, v[0], v[5], v[1], v[2])]
    return [codec.pack(v)]


def announcement(v: dict[str, Any]) -> Announcement:
    return Announcement(
        v["id"], v["mesh"], v["protocol"], tuple(v["hosts"]), v["port"], v["fingerprint"]
    )


def discovered(what: str, v: dict[str, Any]) -> list[bytes]:
    if what == "datagram":
        return [datagram.encode(datagram.Kind(v["kind"]), announcement(v))]
    told = Announcement(v["id"], v["mesh"], int(v["v"]), ("10.0.0.1",), 7000, v["fp"])
    return [service.build_service(told, loopback_only=False).text]


def key_bytes(what: str, v: list[str]) -> list[bytes]:
    pair = mesh.curve_keys(*v)
    return [
        z85.decode(pair.secret.encode()),
        z85.decode(pair.public.encode()),
        bytes.fromhex(derive(*v)[1]),
    ]


def door_bytes(what: str, v: Any) -> list[bytes]:
    if what == "door key":
        return [MeshKey(*v).door]
    if what == "id":
        return [bind_id(v["key"], v["n"])]
    if what == "card":
        card = Card(v["id"], v["key"], v["port"])
        return [knocking.said_card(v["kind"], v["token"], card)]
    return [signed.sign(v["seed"], v["kind"].encode() + b"\0", v["fields"])]


def plain(what: str, v: Any) -> list[bytes]:
    codec = Codec()
    if what == "message":
        return [wire.pack_message(*v, codec)]
    if what == "reply":
        if v[0] == "ok":
            return wire.pack_value(v[1], codec)
        return wire.pack_error(NoProvider(v[1]), codec)
    envelope = [part.encode() for part in v["envelope"]]
    return [*envelope, b"", v["method"].encode(), msgpack.packb([v["args"], v["kwargs"]])]


def packed(what: str, v: Any) -> list[bytes]:
    return [Codec().pack(v)]


ENCODERS: dict[str, Callable[[str, Any], list[bytes]]] = {
    "Link strings": link_string,
    "Frames": frame,
    "Control messages": packed,
    "Records": record_bytes,
    "Entries": entry,
    "Work queues": packed,
    "Values": packed,
    "Discovery": discovered,
    "Keys": key_bytes,
    "Doors": door_bytes,
    "Plain clients": plain,
}


def shown(section: str, what: str, parts: list[bytes]) -> str:
    """As the page shows it."""
    if section == "Plain clients" or what == "link, two parts":
        return " ".join(f"[{part.hex()}]" for part in parts)
    return " ".join(part.hex() for part in parts if part)


# From bytes to values


def read_frame(vector: Vector) -> Any:
    data, *payloads = (bytes.fromhex(part) for part in vector.text.strip("[]").split("] ["))
    header: Any
    if vector.what == "data":
        header, size = frames.unpack_data(data), frames.DATA_HEADER_SIZE
    else:
        limit = frames.MAX_DATA_FRAME_BYTES if vector.what == "work" else 256 * 1024
        header, size = frames.unpack_link(data, limit), frames.LINK_HEADER_SIZE
    fields = header._asdict()
    assert fields.pop("version") == frames.PROTOCOL_VERSION
    if vector.what == "chunk":
        fields.pop("count")
        chunk, piece = frames.unpack_chunk(memoryview(data)[size:])
        return fields | {"chunk": list(chunk), "bytes": bytes(piece)}
    entries = Codec().unpack_all(memoryview(data)[size:], fields.pop("count"))
    for payload in payloads:
        assert frames.is_in_parts(data)
        assert Codec().unpack_with(memoryview(data)[size:], payload)[0][1] == payload
        fields["payload"] = payload
    return fields | {"entries": entries}


def read_link_string(vector: Vector) -> Any:
    if vector.what == "info":
        id, info = frames.unpack_info(vector.data)
        return {"id": id} | info
    hello = frames.unpack_hello(vector.data[: len(frames.pack_hello(A, 0))])
    assert hello is not None
    found = {"id": hello[0], "dial": hello[1]}
    if vector.what == "prefix":
        found["n"] = int.from_bytes(vector.data[21:], "big")
    return found


def read_control(vector: Vector) -> Any:
    (told,) = Codec().unpack_all(vector.data, 1)
    checked = c.check_control(told)
    assert checked is not None
    kind, fields = checked
    assert getattr(c, vector.what, None) == kind or getattr(k, vector.what, None) == kind
    assert c.check_control([*told, "of a later version"]) is not None
    return [kind, *fields]


def read_record(vector: Vector) -> Any:
    (told,) = Codec().unpack_all(vector.data, 1)
    record = Record.from_wire(A, told if vector.what == "record" else the("record"))
    if vector.what == "delta":
        assert record.apply(told) == (told["add"], told["remove"])
        assert list(record.interest) == ["_mesh.g.workers", "a.>"]
    assert record.version == vector.value["version"]
    assert record.blocks == vector.value.get("blocks", False)
    assert record.owns == vector.value.get("owns", {})
    assert record.services == {n: tuple(ms) for n, ms in vector.value["services"].items()}
    assert record.queues == {n: tuple(ps) for n, ps in vector.value["queues"].items()}
    return told


def read_entry(vector: Vector) -> Any:
    (told,) = Codec().unpack_all(vector.data, 1)
    if vector.what in ("cast", "copy"):
        cast = read_cast(told, Source(Sender()), 7)
        assert (cast.pool, cast.data) == (told[0], told[1])
        assert cast.subject == (told[5] if vector.what == "copy" else None)
        assert cast.redelivered == (len(told) > 3 and told[3] == k.FLAG_REDELIVERED)
    return told


class Sender:
    """Of a cast: a handle, as far as reading one goes."""

    id = A
    outstanding = 0
    peer = None


def read_work(vector: Vector) -> Any:
    """By a home or a worker that is in a state in which this can come."""
    (told,) = Codec().unpack_all(vector.data, 1)
    if vector.what == "job":
        assert wire_of(job_of(told)) == told
        return told
    assert getattr(q, vector.what) == told[0]
    hear = at_home() if told[0] < q.JOBS else at_a_worker(told)
    hear(told)
    with pytest.raises(BadMessage):
        hear([*told, "more"])
    return told


def at_home() -> Callable[[object], None]:
    return Desk(World()).counter.join("worker", 60.0, lambda message: None, lambda: True).on_message


def at_a_worker(told: list[Any]) -> Callable[[object], None]:
    source = WorkerSide(World(), max_in_flight=100).worker.add_source("q", lambda message: None)
    if told[0] != q.HOME:
        source.on_message([q.HOME, "889b98f4"])
        source.on_message([q.TOUCHED, 120_000, []])
        source.account.credit = 12
        source.account.is_recalling = told[0] == q.RETURNED
        held = Held(source, 0.0, 46, 1, 0, b"")
        source.commits = {ref: (held, lambda error: None) for ref in (1, 2)}
        source.ask(1_000.0)
    return source.on_message


def read_value(vector: Vector) -> Any:
    return Codec().unpack_all(vector.data, 1)[0]


def read_discovered(vector: Vector) -> Any:
    if vector.what == "datagram":
        kind, told = datagram.decode(vector.data)
        assert told == announcement(vector.value)
        return vector.value | {"kind": int(kind)}
    info = ServiceInfo(
        service.SERVICE_TYPE,
        service.instance_name(A.hex()),
        port=7000,
        parsed_addresses=["10.0.0.1"],
        properties=vector.data,
    )
    read = service.parse_service(A.hex(), info, loopback_only=False)
    return {"id": read.id, "mesh": read.mesh, "v": str(read.protocol), "fp": read.fingerprint}


def read_keys(vector: Vector) -> Any:
    assert [len(part) for part in vector.text.split()] == [64, 64, 16]
    return vector.value


def read_door(vector: Vector) -> Any:
    v = vector.value
    if vector.what == "id":
        assert is_bound(v["key"], vector.data)
    elif vector.what == "card":
        token, card = knocking.read_said(v["kind"], vector.data)
        assert isinstance(card, Card)
        assert (token, card) == (v["token"], Card(v["id"], v["key"], v["port"]))
    elif vector.what == "statement":
        public, kind = signed.public_of_seed(v["seed"]), v["kind"].encode() + b"\0"
        fields = v["fields"]
        assert signed.verified(vector.data, public, kind, "it", len(fields), 1024) == fields
    return v


def read_plain(vector: Vector) -> Any:
    parts = [bytes.fromhex(part) for part in re.findall(r"\[([0-9a-f]*)\]", vector.text)]
    if vector.what == "message":
        subject, data = parts[0].split(b"\x00", 1)
        return [subject.decode(), msgpack.unpackb(data)]
    if vector.what == "reply":
        assert parts[0] in wire.STATUSES
        return [parts[0].decode(), msgpack.unpackb(parts[1])]
    envelope, body = wire.split_envelope(parts)
    request = wire.unpack_request(body, Codec())
    return {"envelope": [part.decode() for part in envelope[:-1]]} | request._asdict()


DECODERS: dict[str, Callable[[Vector], Any]] = {
    "Link strings": read_link_string,
    "Frames": read_frame,
    "Control messages": read_control,
    "Records": read_record,
    "Entries": read_entry,
    "Work queues": read_work,
    "Values": read_value,
    "Discovery": read_discovered,
    "Keys": read_keys,
    "Doors": read_door,
    "Plain clients": read_plain,
}

VECTORS = rows(PAGE)

each_vector = pytest.mark.parametrize(
    "vector", VECTORS, ids=lambda v: f"{v.section}-{v.what}-{v.text[:12]}"
)


@each_vector
def test_the_code_makes_these_bytes_of_the_value(vector: Vector) -> None:
    made = ENCODERS[vector.section](vector.what, vector.value)
    assert shown(vector.section, vector.what, made) == vector.text


@each_vector
def test_the_code_reads_this_value_from_the_bytes(vector: Vector) -> None:
    assert DECODERS[vector.section](vector) == vector.value


def of(section: str, what: str | None = None) -> list[Any]:
    return [v.value for v in VECTORS if v.section == section and what in (None, v.what)]


def numbers_of(page: str, heading: str) -> set[int]:
    """The first column of the table with this heading."""
    table = page.partition(heading)[2].partition("\n\n")[0]
    return {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.M)}


def test_each_kind_of_frame_has_a_vector() -> None:
    kinds = {
        getattr(frames, name)
        for name in (
            *("CONTROL", "PUBLISH", "SEND", "BROADCAST", "CHUNK", "PARCEL", "STREAM"),
            *("REQUEST", "REPLY", "REFUSED", "CANCEL", "CAST"),
        )
    }
    in_parts = {frames.PUBLISH | frames.IN_PARTS}
    assert {value["kind"] for value in of("Frames")} == kinds | in_parts
    assert numbers_of(PAGE, "| kind | name | plane | entries |") == kinds


def test_each_control_message_has_a_row_and_a_vector() -> None:
    assert {value[0] for value in of("Control messages")} == set(c._SHAPES)
    assert numbers_of(PAGE, "| type | name | fields | meaning |") == set(c._SHAPES)


def test_each_message_of_streams_has_a_row_and_a_vector() -> None:
    kinds = set(range(s.ABORT + 1))
    assert {value[1] for value in of("Entries", "stream")} == kinds
    assert numbers_of(PAGE, "| kind | name | fields | meaning |") == kinds


def test_each_message_of_work_queues_has_a_row_and_a_vector() -> None:
    kinds = {getattr(q, name) for name in q.__all__}
    assert {v.value[0] for v in VECTORS if v.section == "Work queues" and v.what != "job"} == kinds
    up = numbers_of(PAGE, "| kind | message | fields | meaning |")
    down = numbers_of(PAGE, "| kind | answer | fields | meaning |")
    assert up | down == kinds
    assert max(up) < q.JOBS == min(down)


def test_each_method_of_a_queue_has_a_row() -> None:
    table = PAGE.partition("| method | arguments | answer |")[2].partition("\n\n")[0]
    with SimMesh(seed=1) as sim:
        shop = sim.node("shop")
        shop.queue("emails")
        sim.advance(1)
        served = shop.host.engine.me.services["_queue-emails"]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == list(served)


def test_each_status_has_a_row_and_a_vector() -> None:
    statuses = {value for name, value in vars(m).items() if name.startswith("STATUS_")}
    assert {value[1] for value in of("Entries", "reply")} == statuses
    assert numbers_of(PAGE, "| status | name | then |") == statuses


def test_each_extension_type_has_a_row_and_a_vector() -> None:
    built_in = set(codec_module._FROM_BYTES) | {codec_module._SET, codec_module._FROZENSET}
    assert numbers_of(PAGE, "| type | what | data |") == built_in
    first_bytes = {v.data[0] for v in VECTORS if v.section == "Values"}
    assert first_bytes & {0xC7, 0xD4, 0xD6, 0xD8}
    assert (codec_module.FIRST_USER_CODE, codec_module.LAST_USER_CODE) == (32, 127)


def test_each_status_of_plain_clients_has_a_row() -> None:
    table = PAGE.partition("| status | value |")[2].partition("\n\n")[0]
    told = re.findall(r"^\| `(\w+)` \|", table, re.M)
    assert [name.encode() for name in told] == list(wire.STATUSES)


def test_each_reason_of_back_is_told() -> None:
    reasons = {value for name, value in vars(k).items() if name.startswith("BACK_")}
    told = PAGE.partition("Reasons of BACK:")[2].partition("\n\n")[0]
    assert {int(number) for number in re.findall(r"(?:^|; )\s*(\d) ", told)} == reasons


CONSTANTS = re.findall(r"^\| `([\w.]+\.[A-Z_]+)` \| ([^|]+) \|", PAGE, flags=re.MULTILINE)


def test_the_page_states_constants() -> None:
    assert len(CONSTANTS) > 25


@pytest.mark.parametrize(("name", "stated"), CONSTANTS)
def test_a_constant_has_the_stated_value(name: str, stated: str) -> None:
    number, _, unit = stated.strip().partition(" ")
    assert resolve(name) == pytest.approx(float(number) * UNITS[unit])


def test_the_constants_in_the_text_are_right() -> None:
    assert resolve("mesh.membership.record.MAX_RECORD_BYTES") == 240 * 1024
    assert resolve("patterns.groupcast.casts.MAX_NUMBER") == 1 << 62
    assert resolve("discovery.local.PORT") == 17_891
    assert resolve("discovery.datagram.MAX_DATAGRAM_BYTES") == 1200
    assert resolve("mesh.engine.control.MAX_PEERS_TOLD") == 1000
    assert resolve("mesh.engine.exchange.QUIET") == 2
    assert resolve("patterns.rpc.placement.FINAL") == 2
    assert resolve("mesh.plain.wire.MAX_ENVELOPE_BYTES") == 256


COUNTERS = re.findall(r"^\| `(plain_\w+)` \|", PAGE, flags=re.MULTILINE)


def test_the_counters_of_plain_clients_are_these() -> None:
    root = Path(__file__).parents[2]
    sources = [path.read_text(encoding="utf-8") for path in (root / "mesh/plain").glob("*.py")]
    counted = {name for source in sources for name in re.findall(r'"(plain_\w+)"', source)}
    assert set(COUNTERS) == counted
