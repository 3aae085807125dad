"""Payloads that leave as a frame part of their own: as other messages, but nobody copies them."""

from __future__ import annotations

import pytest

from mesh.engine.packing import PAYLOAD_PART_BYTES
from mesh.links import PARCEL_BYTES
from mesh.links.outbox import PENDING_BYTES
from mesh.wire import frames
from patterns.errors import PayloadTooLarge
from patterns.messages import Message
from tests.sim import SimNode
from tests.sim.test_delivery import missed_by, pair

SIZES = [PAYLOAD_PART_BYTES - 1, PAYLOAD_PART_BYTES, 64 * 1024, PARCEL_BYTES - 100, PARCEL_BYTES]
"""Packed with the rest; on its own; the same; the largest so; cut into chunks, and so the last."""


def kinds_sent(node: SimNode) -> set[int]:
    """Of the link frames that node sends from now on."""
    kinds: set[int] = set()
    send = node.transport.send_link

    def spy(frame: bytes, payload: bytes = b"") -> None:
        kinds.add(frames.unpack_link(frame).kind)
        send(frame, payload)

    node.transport.send_link = spy  # type: ignore[method-assign]
    return kinds


@pytest.mark.parametrize("headers", [None, {"trace": "7f"}])
def test_every_size_arrives_once_in_order_here_and_there(headers: dict[str, str] | None) -> None:
    sim, one, two = pair()
    heard, own = two.hear("n"), one.hear("n")
    sim.outcome(two.confirm())
    kinds = kinds_sent(one)
    sent: list[object] = []
    for size in SIZES:
        for data in ("small", bytes([size % 251]) * size):
            sent.append(data)
            one.engine.publish("n", data, headers)
    sim.outcome(one.flush())
    sim.run(1)
    for messages in (heard, own):
        assert [m.data for m in messages] == sent
        assert {type(m.data) for m in messages} == {bytes, str}
        assert [m.headers for m in messages] == [headers or {}] * len(sent)
        assert not any(m.missed for m in messages)
    assert frames.PUBLISH | frames.IN_PARTS in kinds
    assert not {"gaps", "bad_frames"} & set(two.engine.counters)


def test_a_send_and_a_broadcast_carry_them_too() -> None:
    sim, one, two = pair()
    heard = two.hear("n")
    crew = two.join("crew")
    sim.outcome(two.confirm())
    kinds = kinds_sent(one)
    data = bytes(64 * 1024)
    one.engine.send_to(two.id, "n", data, None)
    one.engine.broadcast("crew", data, None)
    sim.outcome(one.flush())
    sim.run(1)
    assert [(m.kind, m.data) for m in heard + crew] == [("send", data), ("broadcast", data)]
    assert {frames.SEND | frames.IN_PARTS, frames.BROADCAST | frames.IN_PARTS} <= kinds


def test_those_that_a_slow_peer_misses_are_told_by_number_and_subject() -> None:
    sim, one, two = pair()
    heard: list[Message] = []
    subscription = two.subscribe("n", heard.append, inline=True)
    sim.outcome(two.confirm())
    data = bytes(64 * 1024)
    count = 2 * PENDING_BYTES // len(data)
    for _ in range(count):
        one.publish("n", data)
    sim.outcome(one.flush())
    sim.run(1)
    assert 0 < len(heard) < count
    assert missed_by(two, one) == count - len(heard)
    assert subscription.lost == count - len(heard)


def test_a_node_with_a_lower_limit_refuses_them_as_any_other() -> None:
    sim, one, two = pair()
    two.hear("n")
    sim.outcome(two.confirm())
    one.engine.sending.limit = 20_000
    with pytest.raises(PayloadTooLarge):
        one.publish("n", bytes(20_000))
