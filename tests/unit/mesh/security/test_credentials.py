"""Laws of the door's questions and answers, of who is let in, and of keys that change."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.security import Credentials, MeshKey, NodeKey, generate_key
from mesh.security.certificates import (
    CERTIFICATE,
    REVOCATIONS,
    ROTATION,
    Certificate,
    Revocations,
    RotationOrder,
)
from mesh.security.curve import bind_id, is_bound
from mesh.security.identity import Identity
from mesh.security.knocking import (
    ANSWER,
    HEADER_BYTES,
    KNOCK,
    MAX_KNOCK_BYTES,
    BadKnock,
    Card,
    DoorRefusal,
    body_bytes,
    new_token,
    open_frame,
    pack_card,
    read_card,
)
from mesh.security.members import MAX_NODES_PER_KEY, Members
from mesh.security.signed import BadCertificate, public_of_seed, sign
from tests.unit.mesh.security.statements import NOW, SEED
from tests.unit.mesh.security.statements import PUBLIC as AUTHORITY

KEY = MeshKey(generate_key(), "mesh")
OTHER_KEY = MeshKey(generate_key(), "mesh")


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def make(
    *keys: MeshKey,
    name: str | None = None,
    serial: int = 1,
    clock: Clock | None = None,
    **more: Any,
) -> Credentials:
    """A node; with a ``name``, one with a certificate."""
    node = NodeKey.generate()
    if name is not None:
        more |= {"authority": AUTHORITY, "certificate": certificate(name, node.public, serial)}
    return Credentials(
        bind_id(node.public), "mesh", keys or (KEY,), node, wall_clock=clock or Clock(), **more
    )


def certificate(
    name: str, node_key: bytes, serial: int = 1, authority: bytes = SEED
) -> Certificate:
    fields = (serial_of(serial), name, [], node_key, "mesh", NOW, NOW + 1000)
    raw = sign(authority, CERTIFICATE, fields)
    return Certificate.from_bytes(raw, public_of_seed(authority))


def serial_of(number: int) -> bytes:
    return number.to_bytes(8, "big")


def revocations(version: int, *serials: int, authority: bytes = SEED) -> Revocations:
    raw = sign(authority, REVOCATIONS, (version, b"".join(map(serial_of, serials))))
    return Revocations.from_bytes(raw, public_of_seed(authority))


def visit(dialler: Credentials, host: Credentials, key: MeshKey | None = None) -> object:
    """What the dialler makes of the answer: a card, or a refusal."""
    used = key or dialler.key
    token = new_token()
    question = dialler.question(used, token, host.id)
    return dialler.take_answer(host.answer(question), used, token)


# The door.


def test_two_members_learn_each_others_keys() -> None:
    one, other = make(), make()
    card = visit(one, other)
    assert isinstance(card, Card)
    assert (card.id, card.key) == (other.id, other.node.public)
    for node, peer in ((one, other), (other, one)):
        assert node.members.has_key(peer.node.public)
        assert node.admit(peer.node.public)
        assert node.may_say(peer.node.public.hex(), peer.id)


def test_who_has_not_knocked_is_not_admitted() -> None:
    node, stranger = make(), make()
    assert not node.admit(stranger.node.public)
    assert not node.admit(b"")


def test_another_mesh_key_is_refused_by_name_and_nothing_is_learnt() -> None:
    one, other = make(KEY), make(OTHER_KEY)
    refusal = visit(one, other)
    assert isinstance(refusal, DoorRefusal)
    assert refusal.code == "key"
    assert len(one.members) == len(other.members) == 1


def test_an_answer_to_another_question_is_no_answer() -> None:
    one, other = make(), make()
    old = one.question(KEY, new_token())
    recorded = other.answer(old)
    token = new_token()
    with pytest.raises(BadKnock, match="another question"):
        one.take_answer(recorded, KEY, token)


def test_a_question_is_no_answer() -> None:
    one = make()
    token = new_token()
    question = one.question(KEY, token)
    turned = question[:5] + bytes([ANSWER]) + question[6:]
    with pytest.raises(BadKnock):
        one.take_answer(turned, KEY, token)


def test_nobody_can_show_an_id_that_belongs_to_another_key() -> None:
    host, thief, owner = make(), make(), make()
    thief.id = owner.id
    refusal = visit(thief, host)
    assert isinstance(refusal, DoorRefusal)
    assert refusal.code == "id"
    assert not host.members.has_key(thief.node.public)


def test_a_frame_of_another_sender_is_not_said_by_a_member() -> None:
    host, member, other = make(), make(), make()
    visit(member, host)
    visit(other, host)
    assert not host.may_say(member.node.public.hex(), other.id)
    assert not host.may_say(member.node.public.hex(), secrets.token_bytes(16))
    assert not host.may_say(member.node.public.hex(), b"")


@given(st.integers(min_value=0), st.integers(0, 7))
def test_a_knock_with_one_bit_changed_is_refused(position: int, bit: int) -> None:
    host = make()
    question = QUESTION
    at = position % len(question)
    changed = bytearray(question)
    changed[at] ^= 1 << bit
    try:
        answer = host.answer(bytes(changed))
    except BadKnock:
        pass
    else:
        # What names the key can be changed by anybody: it is answered with nothing of worth.
        assert HEADER_BYTES - 8 <= at < HEADER_BYTES
        assert len(answer) == HEADER_BYTES
    assert len(host.members) == 1


QUESTION = make().question(KEY, bytes(16))


@given(st.binary(max_size=200))
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(BadKnock):
        open_frame(data)


@given(st.recursive(st.integers() | st.binary() | st.text() | st.none(), st.lists, max_leaves=8))
def test_what_a_member_says_is_a_card_a_refusal_or_refused(said: Any) -> None:
    import msgpack

    from mesh.security.sealing import seal

    try:
        sealed = seal(KEY.door, msgpack.packb(said))
    except (OverflowError, ValueError):
        return
    try:
        _, card = read_card(KNOCK, KEY, sealed)
    except BadKnock:
        return
    assert isinstance(card, Card | DoorRefusal)


def test_a_frame_says_how_long_it_is_and_no_more_than_is_allowed() -> None:
    frame = pack_card(KNOCK, KEY, bytes(16), Card(bytes(16), bytes(32), 1))
    assert body_bytes(frame[:HEADER_BYTES]) == len(frame) - HEADER_BYTES
    too_long = frame[:6] + (MAX_KNOCK_BYTES + 1).to_bytes(4, "big") + frame[10:HEADER_BYTES]
    with pytest.raises(BadKnock, match="bytes"):
        body_bytes(too_long)


@given(st.binary(min_size=32, max_size=32))
def test_an_id_belongs_to_its_key_alone(key: bytes) -> None:
    id = bind_id(key)
    assert len(id) == 16
    assert is_bound(key, id)
    assert not is_bound(bytes([key[0] ^ 1]) + key[1:], id)
    assert bind_id(key) != id


# Certificates.


def test_members_with_certificates_know_who_they_are() -> None:
    one, other = make(name="orders"), make(name="billing", serial=2)
    assert isinstance(visit(one, other), Card)
    assert one.identity_of(other.id) == Identity("billing", frozenset())
    assert other.identity_of(one.id) == Identity("orders", frozenset())
    assert one.identity_of(secrets.token_bytes(16)) is None


@pytest.mark.parametrize("who", ["nobody", "another authority's", "of another key", "expired"])
def test_without_a_valid_certificate_a_member_is_refused(who: str) -> None:
    clock = Clock()
    host = make(name="host", clock=clock)
    guest = make(name="guest", serial=2)
    if who == "nobody":
        guest.certificate = None
    elif who == "another authority's":
        guest.certificate = certificate("guest", guest.node.public, authority=bytes(32))
    elif who == "of another key":
        guest.certificate = make(name="other").certificate
    else:
        clock.now += 10 * 365 * 86_400
    token = new_token()
    question = guest.question(KEY, token)
    guest.authority = b""  # it would not believe the host, but that is not what is asked here
    refusal = guest.take_answer(host.answer(question), KEY, token)
    assert isinstance(refusal, DoorRefusal)
    assert refusal.code == "certificate"
    assert not host.members.has_key(guest.node.public)


def test_revocations_travel_with_cards_and_put_the_revoked_out_at_once() -> None:
    host, operator, guest = make(name="host"), make(name="op", serial=2), make(name="g", serial=3)
    news: list[str] = []
    expelled: list[tuple[list[bytes], str]] = []
    host.on_news = lambda: news.append("news")
    host.on_expelled = lambda ids, reason: expelled.append((ids, reason))
    visit(guest, host)
    assert host.admit(guest.node.public)
    operator.revocations = revocations(1, 3)
    visit(operator, host)
    assert news == ["news"]
    assert expelled == [([guest.id], "its certificate is revoked")]
    assert not host.admit(guest.node.public)
    assert not host.may_say(guest.node.public.hex(), guest.id)
    refusal = visit(guest, host)
    assert isinstance(refusal, DoorRefusal)
    assert refusal.code == "revoked"
    assert host.may_say(operator.node.public.hex(), operator.id)


def test_revocations_of_another_authority_are_not_believed() -> None:
    host, liar, guest = make(name="host"), make(name="liar", serial=2), make(name="g", serial=3)
    visit(guest, host)
    liar.revocations = revocations(7, 3, authority=bytes(32))
    visit(liar, host)
    assert host.revocations.version == 0
    assert host.admit(guest.node.public)


def test_an_older_list_of_revocations_does_not_replace_a_newer_one() -> None:
    host = make(name="host")
    newer = revocations(2, 9)
    host.revoke(newer)
    host.revoke(revocations(1))
    assert host.revocations is newer


def test_a_certificate_that_runs_out_puts_its_node_out() -> None:
    clock = Clock()
    host, guest = make(name="host", clock=clock), make(name="guest", serial=2)
    expelled: list[bytes] = []
    host.on_expelled = lambda ids, reason: expelled.extend(ids)
    visit(guest, host)
    host.tick()
    assert not expelled
    clock.now += 10 * 365 * 86_400
    host.tick()
    assert guest.id in expelled


# Keys that change.


def order(key: str, signer: bytes, *, issued_at: int = NOW, grace: int = 60) -> RotationOrder:
    raw = sign(signer, ROTATION, (issued_at, key, grace))
    return RotationOrder.from_bytes(raw, public_of_seed(signer))


def test_a_new_key_reaches_who_has_the_old_one_and_both_are_good_for_the_grace() -> None:
    clock = Clock()
    one, other, late = make(clock=clock), make(clock=clock), make(clock=clock)
    visit(one, other)
    new = generate_key()
    one.rotate(order(new, KEY.authority_seed))
    assert one.key.text == new
    assert one.accepts(KEY.fingerprint)
    assert isinstance(visit(one, other), DoorRefusal), "with the new key, which it has not yet"
    assert isinstance(visit(one, other, KEY), Card)
    assert other.key.text == new
    assert isinstance(visit(one, other), Card)
    assert isinstance(visit(late, other), Card), "during the grace"
    assert late.key.text == new, "the answer has brought it"


def test_after_the_grace_who_knows_only_the_old_key_is_out() -> None:
    clock = Clock()
    host, good, thief = make(clock=clock), make(clock=clock), make(clock=clock)
    expelled: list[bytes] = []
    host.on_expelled = lambda ids, reason: expelled.extend(ids)
    visit(good, host)
    visit(thief, host)
    new = order(generate_key(), KEY.authority_seed)
    host.rotate(new)
    good.rotate(new)
    visit(good, host)
    clock.now += 61
    host.tick()
    assert expelled == [thief.id]
    assert not host.admit(thief.node.public)
    assert not host.may_say(thief.node.public.hex(), thief.id)
    assert host.may_say(good.node.public.hex(), good.id)
    refusal = visit(thief, host)
    assert isinstance(refusal, DoorRefusal)
    assert refusal.code == "key"


def test_the_old_key_cannot_change_the_key_again() -> None:
    """Who knew it, and was to be kept out by the change, knows it still."""
    clock = Clock()
    host, thief = make(clock=clock), make(clock=clock)
    new = generate_key()
    host.rotate(order(new, KEY.authority_seed))
    thief.rotate(order(generate_key(), KEY.authority_seed, issued_at=NOW + 1))
    visit(thief, host, KEY)
    assert host.key.text == new


def test_in_a_mesh_with_an_authority_only_that_changes_the_key() -> None:
    host, member = make(name="host"), make(name="member", serial=2)
    visit(member, host)
    member.rotation = order(generate_key(), KEY.authority_seed)
    visit(member, host)
    assert host.key is KEY
    new = order(generate_key(), SEED)
    member.rotation = new
    visit(member, host)
    assert host.key.text == new.key


def test_an_order_that_has_run_out_changes_nothing() -> None:
    host = make()
    host.rotate(order(generate_key(), KEY.authority_seed, issued_at=NOW - 100, grace=50))
    assert host.key is KEY


def test_an_order_from_the_future_is_not_believed() -> None:
    """It would bar all that come before it."""
    host = make()
    with pytest.raises(BadCertificate, match="future"):
        host.rotate(order(generate_key(), KEY.authority_seed, issued_at=NOW + 3600))
    assert host.key is KEY


def test_a_new_key_must_have_full_strength() -> None:
    with pytest.raises(BadCertificate, match="strength"):
        make().rotate(order("some words", KEY.authority_seed))


def test_who_records_a_question_or_answer_learns_no_new_key_from_it() -> None:
    """Also not who knows the old key, or knocks with a card of his own."""
    clock = Clock()
    host, peer, thief = make(clock=clock), make(clock=clock), make(clock=clock)
    visit(host, peer)
    host.rotate(order(generate_key(), KEY.authority_seed))
    for question in (host.question(KEY, bytes(16)), host.question(KEY, bytes(16), thief.id)):
        _, said = read_card(KNOCK, KEY, open_frame(question)[2])
        assert isinstance(said, Card)
        assert said.rotation == b"", "nobody is told who is not known"
    told = host.question(KEY, bytes(16), peer.id)
    thief.answer(told)
    assert thief.key is KEY, "it was for another"
    peer.answer(told)
    assert peer.key.text == host.key.text


def test_who_is_refused_is_not_told_the_new_key() -> None:
    host, guest = make(name="host"), make(name="guest", serial=2)
    host.rotate(order(generate_key(), SEED))
    host.revoke(revocations(1, 2))
    refusal = visit(guest, host, KEY)
    assert isinstance(refusal, DoorRefusal)
    assert guest.key is KEY


def test_an_order_that_is_not_newer_changes_nothing_and_says_so() -> None:
    host = make()
    assert host.rotate(host.order_rotation(generate_key(), 60))
    new = host.key
    assert not host.rotate(order(generate_key(), KEY.authority_seed, issued_at=NOW))
    assert host.key is new
    assert host.rotate(host.order_rotation(generate_key(), 60)), "within the same second"


def test_refusals_are_counted_and_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    host, guest = make(name="host"), make()
    for _ in range(500):
        assert isinstance(visit(guest, host), DoorRefusal)
    assert host.refused == 500
    assert len(caplog.records) < 50


# Bounds.


def test_who_is_linked_is_kept_and_expelled_with_all_its_ids() -> None:
    """Or a node could escape its revocation by showing more ids than are remembered."""
    host, guest = make(name="host"), make(name="guest", serial=2)
    visit(guest, host)
    first = guest.id
    linked = {first}
    host.is_linked = linked.__contains__
    for _ in range(3 * MAX_NODES_PER_KEY):
        guest.id = bind_id(guest.node.public)
        visit(guest, host)
    assert host.identity_of(first) == Identity("guest", frozenset())
    expelled: list[bytes] = []
    host.on_expelled = lambda ids, reason: expelled.extend(ids)
    host.revoke(revocations(1, 2))
    assert first in expelled
    for id in (first, guest.id, bind_id(guest.node.public)):
        assert not host.may_say(guest.node.public.hex(), id)


def test_without_room_for_one_more_it_is_refused_and_nobody_gives_way() -> None:
    host, guest = make(name="host"), make(name="guest", serial=2)
    host.is_linked = lambda id: True
    for _ in range(MAX_NODES_PER_KEY):
        guest.id = bind_id(guest.node.public)
        assert isinstance(visit(guest, host), Card)
    guest.id = bind_id(guest.node.public)
    refusal = visit(guest, host)
    assert isinstance(refusal, DoorRefusal)
    assert refusal.code == "full"


def test_a_node_does_not_forget_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.security.members.MAX_INTRODUCED", 5)
    host = make()
    for _ in range(20):
        visit(make(), host)
    assert host.members.get(host.id) is not None
    assert len(host.members) == 5


def test_one_key_cannot_drive_out_others_by_making_up_ids() -> None:
    members = Members()
    honest = NodeKey.generate().public
    honest_id = bind_id(honest)
    members.add(honest_id, honest, None, b"hint")
    mad = NodeKey.generate().public
    for _ in range(3 * MAX_NODES_PER_KEY):
        members.add(bind_id(mad), mad, None, b"hint")
    assert members.get(honest_id) is not None
    assert len(members) == 1 + MAX_NODES_PER_KEY


def test_the_nodes_that_may_connect_are_bounded_and_the_oldest_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mesh.security.members.MAX_INTRODUCED", 3)
    members = Members()
    keys = [secrets.token_bytes(32) for _ in range(5)]
    ids = [bind_id(key) for key in keys]
    for id, key in zip(ids, keys, strict=True):
        members.add(id, key, None, b"hint")
    assert [members.get(id) is not None for id in ids] == [False, False, True, True, True]
    assert [members.has_key(key) for key in keys] == [False, False, True, True, True]
