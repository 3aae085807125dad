"""The ring's laws: fair shares, minimal movement, and the same answer for whoever asks.

Shares are counted over all slots. A slot's hash decides like a fair draw, so shares scatter as
draws do: by about 1.2 % for a member of ten, whatever the names. The names used for the promised
figures are ordinary ones; the law for any names allows five standard deviations.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.ring import PREFERRED, SLOTS, Ring, ring, score, slot_of

QUICK = settings(max_examples=60, deadline=None)
KEYS = [f"key-{i}".encode() for i in range(60)]


@dataclass(frozen=True)
class Handle:
    id: bytes


Members = list[tuple[Handle, str, float]]

instances = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    min_size=1,
    max_size=12,
    unique=True,
)
weights = st.floats(1e-3, 1e3)


@st.composite
def memberships(draw: st.DrawFn) -> Members:
    names = draw(instances)
    return [(Handle(bytes([i])), name, draw(weights)) for i, name in enumerate(names)]


def equal(names: Sequence[str], weight: float = 1.0) -> Members:
    return [(Handle(name.encode()), name, weight) for name in names]


@pytest.fixture(scope="session")
def keys_of_slots() -> list[bytes]:
    """A key of each slot."""
    found: dict[int, bytes] = {}
    number = 0
    while len(found) < SLOTS:
        key = b"%d" % number
        found.setdefault(slot_of(key), key)
        number += 1
    return list(found.values())


def shares(members: Members, keys: list[bytes]) -> dict[str, int]:
    """How many slots each instance owns."""
    names = {handle: name for handle, name, _ in members}
    own = Ring(members)
    return Counter(names[own.owners(key, 1)[0]] for key in keys)


# Shares.


@pytest.mark.parametrize(
    ("pattern", "count", "limit"),
    [
        ("node-{}", 10, 1.02),
        ("worker-{}", 10, 1.02),
        pytest.param("node-{}", 100, 1.15, marks=pytest.mark.slow),
    ],
)
def test_equal_members_own_nearly_equal_shares(
    pattern: str, count: int, limit: float, keys_of_slots: list[bytes]
) -> None:
    owned = shares(equal([pattern.format(i) for i in range(count)]), keys_of_slots)
    assert len(owned) == count
    assert sum(owned.values()) == SLOTS
    assert max(owned.values()) / (SLOTS / count) <= limit


@pytest.mark.parametrize("given", [(1.0, 2.0, 5.0), (0.5, 0.25, 0.25), (1e-3, 1.0, 3.0)])
def test_shares_are_proportional_to_weights(
    given: tuple[float, ...], keys_of_slots: list[bytes]
) -> None:
    members = [(Handle(b"%d" % i), f"n{i}", weight) for i, weight in enumerate(given)]
    owned = shares(members, keys_of_slots)
    for _, name, weight in members:
        p = weight / sum(given)
        assert abs(owned[name] - SLOTS * p) <= 5 * math.sqrt(SLOTS * p * (1 - p))


@settings(max_examples=5, deadline=None)
@given(st.lists(st.text("abcdef0123456789", min_size=1), min_size=5, max_size=5, unique=True))
def test_shares_are_fair_whatever_the_names(names: list[str]) -> None:
    wins = Counter(
        max(names, key=lambda name: score(slot, name, 1.0)) for slot in range(0, SLOTS, 4)
    )
    mean = SLOTS / 4 / 5
    assert all(abs(wins[name] - mean) <= 5 * math.sqrt(mean * 4 / 5) for name in names)


# Movement.


@QUICK
@given(memberships(), st.text("xyz", min_size=21, max_size=30), weights)
def test_a_join_or_leave_changes_the_order_of_no_others(
    members: Members, name: str, weight: float
) -> None:
    """So exactly its own keys move: to it when it comes, to whoever was next when it goes."""
    newcomer = Handle(b"new")
    without = Ring(members)
    with_it = Ring([*members, (newcomer, name, weight)])
    for key in KEYS:
        order = with_it.owners(key)
        assert [handle for handle in order if handle is not newcomer] == without.owners(key)
        heir = order[1] if order[0] is newcomer else order[0]
        assert without.owners(key, 1) == [heir]


def test_of_n_keys_a_newcomer_takes_over_its_share_and_nothing_else_moves(
    keys_of_slots: list[bytes],
) -> None:
    members = equal([f"node-{i}" for i in range(5)])
    before, after = Ring(members[:4]), Ring(members)
    moved = 0
    for key in keys_of_slots:
        old, new = before.owners(key, 1), after.owners(key, 1)
        if old != new:
            moved += 1
            assert new == [members[4][0]]
    assert moved == shares(members, keys_of_slots)["node-4"]
    assert abs(moved - SLOTS / 5) <= 5 * math.sqrt(SLOTS / 5 * 4 / 5)


@QUICK
@given(memberships(), st.data())
def test_more_weight_brings_keys_and_takes_none(members: Members, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(members) - 1))
    handle, name, weight = members[index]
    heavier = [*members]
    heavier[index] = (handle, name, weight * data.draw(st.floats(1.01, 100)))
    before, after = Ring(members), Ring(heavier)
    for key in KEYS:
        if before.owners(key, 1) != after.owners(key, 1):
            assert after.owners(key, 1) == [handle]


@QUICK
@given(memberships(), st.sampled_from([0.25, 2.0, 1024.0]))
def test_only_the_ratio_of_weights_counts(members: Members, factor: float) -> None:
    scaled = [(handle, name, weight * factor) for handle, name, weight in members]
    assert [Ring(scaled).owners(key) for key in KEYS] == [Ring(members).owners(key) for key in KEYS]


# Agreement.


@QUICK
@given(memberships(), st.randoms())
def test_all_who_know_the_same_members_name_the_same_owners(members: Members, random: Any) -> None:
    shuffled = [*members]
    random.shuffle(shuffled)
    one, other = Ring(members), Ring(shuffled)
    assert one.members == other.members
    assert [one.owners(key) for key in KEYS] == [other.owners(key) for key in KEYS]
    assert [one.preferred(key) for key in KEYS] == [other.preferred(key) for key in KEYS]


@QUICK
@given(memberships())
def test_a_restarted_member_of_the_same_instance_has_its_keys_back(members: Members) -> None:
    (old, name, weight), *others = members
    new = Handle(b"restarted")
    before, after = Ring(members), Ring([*others, (new, name, weight)])
    for key in KEYS:
        expected = [new if handle == old else handle for handle in before.owners(key)]
        assert after.owners(key) == expected


@QUICK
@given(memberships())
def test_the_order_is_that_of_the_formula(members: Members) -> None:
    own = Ring(members)
    for key in KEYS[:10]:
        slot = int.from_bytes(blake2b(key, digest_size=8).digest()[:2], "big")
        entitled = {}
        for handle, name, weight in members:
            told = slot.to_bytes(2, "big") + name.encode()
            h = int.from_bytes(blake2b(told, digest_size=8).digest(), "big")
            entitled[handle] = -weight / math.log((h + 0.5) / 2**64)
        assert own.owners(key) == sorted(entitled, key=lambda m: -entitled[m])
        assert dict(own.scores(key)) == entitled
        assert slot_of(key) == slot
        assert [score(slot, name, weight) for _, name, weight in members] == list(entitled.values())


# Ties, and what is remembered.


def test_members_of_one_instance_are_ordered_by_id() -> None:
    members = [(Handle(bytes([i])), "same", 1.0) for i in (3, 1, 2)]
    for key in KEYS:
        assert [handle.id[0] for handle in Ring(members).owners(key)] == [1, 2, 3]


class Hash:
    """Stands for blake2b where no input with the wanted hash can be found."""

    def __init__(self, data: bytes, digest_size: int) -> None:
        assert digest_size == 8
        self.data = data

    def digest(self) -> bytes:
        greatest = {b"max": 2**64 - 1, b"inf": 2**64 - 1024, b"big": 2**64 - 1025, b"min": 0}
        return greatest.get(self.data[2:], 0x1234 << 48).to_bytes(8, "big")


def test_the_greatest_hashes_score_infinitely_and_the_least_still_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ring, "blake2b", Hash)
    assert score(1, "max", 1e-9) == score(1, "inf", 1.0) == math.inf
    assert 1e15 < score(1, "big", 1.0) < math.inf
    assert score(1, "min", 1.0) == pytest.approx(1 / (65 * math.log(2)))


def test_infinite_scores_tie_and_beat_any_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "blake2b", Hash)
    members = equal(["inf", "max"], 1e-6) + equal(["big", "min"], 1e6)
    order = [handle.id for handle in Ring(members).owners(b"any")]
    assert order == [b"inf", b"max", b"big", b"min"]


def test_preferred_are_the_first_few_of_all_owners() -> None:
    own = Ring(equal([f"n{i}" for i in range(PREFERRED + 4)]))
    for key in KEYS:
        order = own.owners(key)
        assert len(set(order)) == len(own) == PREFERRED + 4
        assert own.preferred(key) == tuple(order[:PREFERRED])
        assert own.preferred(key) is own.preferred(key)
        assert [handle for handle, _ in own.scores(key)] == order
        for n in (1, PREFERRED, PREFERRED + 1, PREFERRED + 9):
            assert own.owners(key, n) == order[:n]


def test_keys_of_one_slot_share_what_is_remembered() -> None:
    own = Ring(equal(["a", "b", "c"]))
    seen: dict[int, bytes] = {}
    for number in range(SLOTS):
        key = b"%d" % number
        twin = seen.setdefault(slot_of(key), key)
        if twin != key:
            assert own.preferred(key) is own.preferred(twin)
            return
    raise AssertionError("no two keys of one slot")


def test_an_empty_ring_names_nobody() -> None:
    empty: Ring[Handle] = Ring([])
    assert (len(empty), empty.preferred(b"k"), empty.owners(b"k"), empty.scores(b"k")) == (
        0,
        (),
        [],
        [],
    )
