"""What a slow watcher sees: the newest state of each peer, and every loss."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.engine import events as e
from mesh.membership import Peer

A, B = Peer(id="a" * 32, name="a"), Peer(id="b" * 32, name="b")

STATES = [
    e.PeerJoined,
    e.PeerUpdated,
    e.PeerSuspected,
    e.PeerRecovered,
    e.PeerUnresponsive,
    e.PeerFailed,
    e.PeerLeft,
]


def test_the_snapshot_comes_first() -> None:
    watcher = e.Watcher([e.PeerJoined(A), e.PeerJoined(B)])
    watcher.put(e.PeerSuspected(A))
    assert [(type(x), x.peer) for x in watcher.take()] == [
        (e.PeerJoined, A),
        (e.PeerSuspected, A),
        (e.PeerJoined, B),
    ]
    assert watcher.take() == []


peers = st.sampled_from([A, B])
changes = st.builds(lambda kind, peer: kind(peer), st.sampled_from(STATES), peers)
gaps = st.builds(lambda peer, missed: e.Gap(peer, "", missed), peers, st.none() | st.integers(1, 9))


def sum_of_gaps(events: list[e.Event]) -> list[int | None]:
    """Unknown for ever after a gap that nobody could count; until the next, if it had ended."""
    known: int | None = 0
    has_gap = has_ended = is_open = False
    for event in events:
        if not isinstance(event, e.Gap):
            if type(event) is not e.PeerUpdated:
                has_ended = type(event) in (e.PeerFailed, e.PeerLeft)
            continue
        has_gap = True
        if event.missed is not None:
            is_open = False
            known = None if known is None else known + event.missed
        elif has_ended:
            is_open = True
        else:
            known = None
    return [None if is_open else known] if has_gap else []


@given(st.lists(changes | gaps, max_size=40))
def test_an_unread_watcher_tells_each_peers_newest_state_and_the_sum_of_its_gaps(
    events: list[e.Event],
) -> None:
    ended: set[Peer] = set()
    possible = []
    for event in events:
        if type(event) in (e.PeerFailed, e.PeerLeft):
            ended.add(event.peer)
        elif type(event) not in (e.PeerUpdated, e.Gap):
            ended.discard(event.peer)
        elif type(event) is e.PeerUpdated and event.peer in ended:
            continue  # one that is gone says nothing of itself
        possible.append(event)
    events = possible
    watcher = e.Watcher([])
    for event in events:
        watcher.put(event)
    taken = watcher.take()
    for peer in (A, B):
        put = [x for x in events if x.peer == peer]
        got = [x for x in taken if x.peer == peer]
        states = [type(x) for x in put if type(x) not in (e.Gap, e.PeerUpdated)]
        seen = [type(x) for x in got if type(x) not in (e.Gap, e.PeerUpdated)]
        assert seen[-1:] == states[-1:]
        assert len(got) <= e.KEPT_PER_PEER + 1
        told = [x.missed for x in got if isinstance(x, e.Gap)]
        assert told == sum_of_gaps(put)


@given(st.lists(changes, max_size=e.KEPT_PER_PEER))
def test_a_watcher_that_keeps_up_sees_everything(events: list[e.Event]) -> None:
    watcher = e.Watcher([])
    seen = []
    for event in events:
        watcher.put(event)
        seen += watcher.take()
    assert seen == events


def test_an_update_of_an_unread_state_shows_the_newest_description() -> None:
    watcher = e.Watcher([e.PeerJoined(A)])
    renamed = Peer(id=A.id, name="renamed")
    watcher.put(e.PeerUpdated(renamed))
    assert [(type(x), x.peer.name) for x in watcher.take()] == [(e.PeerJoined, "renamed")]


@pytest.mark.parametrize("end", [e.PeerFailed, e.PeerLeft])
def test_unread_peers_are_bounded_and_the_ended_go_first(
    end: type[e.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(e, "KEPT_PEERS", 10)
    watcher = e.Watcher([])
    alive = [Peer(id=f"alive{i}", name="x") for i in range(5)]
    for peer in alive:
        watcher.put(e.PeerJoined(peer))
    for i in range(100):
        watcher.put(end(Peer(id=f"gone{i}", name="x")))
    taken = watcher.take()
    assert len(taken) == 10
    assert [x.peer for x in taken[:5]] == alive


def test_the_reader_is_woken_by_an_event_and_by_the_end() -> None:
    watcher = e.Watcher([])
    woken: list[bool] = []
    watcher.on_ready = lambda: woken.append(watcher.is_closed)
    watcher.put(e.PeerJoined(A))
    watcher.close()
    assert woken == [False, True]
    assert len(watcher.take()) == 1, "what is unread may still be taken"
