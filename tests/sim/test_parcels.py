"""Large payloads on virtual time: cut links, slow and full receivers, calls that are given up."""

from __future__ import annotations

import contextlib

import pytest

from mesh.engine import events as e
from mesh.engine import parcel_plane
from mesh.engine.config import MAX_PAYLOAD_BYTES
from mesh.links.window import Window
from patterns.errors import CallTimeout, PayloadTooLarge, PeerLost, RemoteError
from tests.sim import SimNode, Simulation
from tests.sim.runner import sleep
from tests.sim.test_delivery import missed_by, pair

MIB = 1024 * 1024


def kept(node: SimNode) -> int:
    """Bytes of parcels that it keeps."""
    return node.engine._parcels._budget.reserved


def lane(node: SimNode, of: SimNode):  # type: ignore[no-untyped-def]
    return node.engine.session_of(of.id).parcels


def test_parcels_of_one_sender_keep_their_order_and_are_marked_with_no_gap() -> None:
    sim, one, two = pair()
    heard, own = two.hear("big"), one.hear("big")
    sim.outcome(two.confirm())
    for number in range(5):
        assert one.publish("big", [number, bytes(MIB + number)]) == 2
    sim.outcome(one.flush())
    sim.run(1)
    for messages in (heard, own):
        assert [(m.data[0], len(m.data[1]), m.missed) for m in messages] == [
            (n, MIB + n, 0) for n in range(5)
        ]
    assert not two.saw(e.Gap, one)
    assert kept(two) == 0


def test_small_messages_and_calls_overtake_parcels() -> None:
    sim, one, two = pair(latency=0.05)
    heard = two.hear(">")
    two.serve("echo", lambda value: value, service="echo")
    sim.outcome(two.confirm())
    large = one.call("echo.echo", bytes(8 * MIB))
    one.publish("big", bytes(8 * MIB))
    sim.run(0.1)
    one.publish("small", 1)
    assert sim.outcome(one.call("echo.echo", 1)) == 1
    assert [m.subject for m in heard] == ["small"]
    assert not large.done()
    assert len(sim.outcome(large)) == 8 * MIB
    sim.until(lambda: [m.subject for m in heard] == ["small", "big"], 10)


@pytest.mark.parametrize("seed", range(12))
def test_a_parcel_that_a_lost_link_cuts_arrives_or_is_one_missing_message(seed: int) -> None:
    sim, one, two = pair(seed, latency=0.01)
    heard = two.hear(">")
    sim.outcome(two.confirm())
    for number in range(4):
        one.publish("big", [number, bytes(2 * MIB)])
        one.publish("small", [number])
    for _ in range(3):
        sim.run(0.2 + sim.random.random() * 0.15)
        sim.cut(*(two, one) if seed % 2 else (one, two))
    sim.run(3)
    one.publish("small", [4])
    sim.run(5)
    numbers = [m.data[0] for m in heard if m.subject == "big"]
    assert numbers == sorted(set(numbers))
    assert missed_by(two, one) == 9 - len(heard)
    assert kept(two) == 0


def test_what_finds_no_room_waits_and_holds_up_nothing_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parcel_plane, "KEPT_BYTES", 3 * MIB)
    sim = Simulation(1)
    nodes = sim.meshed(4)
    receiver, senders = nodes[0], nodes[1:]
    reader = receiver.subscribe("big")
    small = receiver.hear("small")
    sim.outcome(receiver.confirm())
    for sender in senders:
        for number in range(3):
            sender.publish("big", [sender.id, number, bytes(2 * MIB)])
        sender.publish("small", 1)
    sim.run(0.2)
    assert len(small) == 3
    assert kept(receiver) <= 3 * MIB
    got = []
    for _ in range(1000):
        got += [(m.data[0], m.data[1]) for m in reader.take() or ()]
        sim.run(0.01)
        assert kept(receiver) <= 3 * MIB
        if len(got) == 9:
            break
    assert sorted(got) == sorted((s.id, n) for s in senders for n in range(3))
    reader.take()
    assert kept(receiver) == 0


def test_a_large_call_has_one_outcome_when_its_link_is_cut() -> None:
    for seed in range(10):
        sim, one, two = pair(seed, latency=0.01)
        ran = []
        two.serve("size", lambda data, ran=ran: ran.append(1) or len(data), service="s")
        two.serve("made", bytes, service="s")
        sim.outcome(two.confirm())
        calls = [one.call("s.size", bytes(4 * MIB)), one.call("s.made", 4 * MIB)]
        sim.run(sim.random.random() * 0.2)
        sim.cut(two, one) if seed % 2 else sim.cut(one, two)
        for call in calls:
            with contextlib.suppress(PeerLost):
                sim.outcome(call)
        assert len(ran) <= 1
        sim.run(3)
        assert (kept(one), kept(two)) == (0, 0)


def test_a_large_call_that_is_cancelled_or_times_out_is_not_started_and_not_sent_on() -> None:
    sim, one, two = pair(latency=0.05)
    ran = []
    two.serve("size", ran.append, service="s")
    sim.outcome(two.confirm())
    late = one.call("s.size", bytes(32 * MIB), timeout=0.5)
    with pytest.raises(CallTimeout):
        sim.outcome(late)
    sim.run(1)
    assert not lane(one, two).outgoing.is_in_use
    assert (ran, kept(two), lane(two, one).incoming) == ([], 0, {})


def test_a_cancellation_stays_behind_a_large_request_that_is_on_its_way() -> None:
    sim, one, two = pair(latency=0.05)
    ended = []

    async def slow(data: bytes) -> None:
        await sleep(1)
        ended.append(len(data))

    two.serve("slow", slow, service="s")
    sim.outcome(two.confirm())
    call = one.call("s.slow", bytes(262_060))
    sim.run(0.01)
    assert not lane(one, two).outgoing.queue  # all of it has left, and is not there yet
    one.engine.cancel(1)
    sim.run(3)
    assert ended == []
    assert not call.done()


def test_above_the_limit_it_is_the_callers_error_at_every_verb() -> None:
    sim, one, two = pair()
    two.hear("s")
    two.member("g", lambda m: None)
    two.serve("made", bytes, service="s")
    sim.outcome(two.confirm())
    huge = bytes(MAX_PAYLOAD_BYTES)
    for verb in (
        lambda: one.publish("s", huge),
        lambda: one.engine.broadcast("g", huge, None),
        lambda: one.engine.send_to(two.id, "s", huge, None),
        lambda: sim.outcome(one.groupcast("g", huge)),
        lambda: sim.outcome(one.call("s.made", huge)),
    ):
        with pytest.raises(PayloadTooLarge, match="max_payload_bytes"):
            verb()
    with pytest.raises(RemoteError, match="PayloadTooLarge"):
        sim.outcome(one.call("s.made", MAX_PAYLOAD_BYTES))


def test_what_is_above_the_receivers_limit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sim, one, two = pair()
    heard = two.hear("s")
    two.serve("size", len, service="s")
    one.serve("made", bytes, service="m")
    sim.outcome(two.confirm())
    object.__setattr__(two.config, "max_payload_bytes", MIB)
    one.publish("s", bytes(2 * MIB))
    one.publish("s", 1)
    sim.run(1)
    assert [(m.data, m.missed) for m in heard][-1] == (1, 0)
    assert missed_by(two, one) == 1
    with pytest.raises(Exception, match="takes at most"):
        sim.outcome(one.call("s.size", bytes(2 * MIB)))
    with pytest.raises(RemoteError, match="takes at most"):
        sim.outcome(two.call("m.made", 2 * MIB))
    assert kept(two) == 0


def test_a_dead_senders_parcel_in_the_making_is_freed() -> None:
    sim, one, two = pair(latency=0.05)
    two.hear("s")
    sim.outcome(two.confirm())
    one.publish("s", bytes(16 * MIB))
    sim.run(0.3)
    assert kept(two) == 16 * MIB + 7 or kept(two) > 16 * MIB
    sim.kill(one)
    sim.run(10)
    assert kept(two) == 0


def test_of_too_many_parcels_for_one_that_is_away_the_oldest_are_counted_and_told() -> None:
    sim, one, two = pair()
    heard = two.hear("s")
    sim.outcome(two.confirm())
    sim.freeze(two)
    big = bytes(60 * MIB)
    for number in range(7):
        one.publish("s", [number, big])
    sim.run(1)
    sim.thaw(two)
    one.publish("s", [7])
    sim.run(20)
    missing = missed_by(two, one)
    assert missing > 0
    assert missing == one.engine.counters["dropped_for_slow_peers"]
    assert len(heard) + missing == 8


def test_a_sender_that_goes_on_without_room_loses_its_link_and_what_it_made_us_keep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parcel_plane, "KEPT_BYTES", MIB)
    sim = Simulation()
    receiver, honest, liar = sim.meshed(3)
    reader = receiver.subscribe("big")
    sim.outcome(receiver.confirm())
    honest.publish("big", bytes(2 * MIB))
    sim.run(0.1)
    lane(liar, receiver).outgoing.window = Window(2**40, 2**40, 2**40)
    liar.publish("big", bytes(8 * MIB))
    sim.run(0.1)
    assert receiver.engine.counters["link_resets"] == 1
    assert sum(len(a.data) for a in lane(receiver, liar).incoming.values()) <= 2 * MIB
    assert reader.take()
