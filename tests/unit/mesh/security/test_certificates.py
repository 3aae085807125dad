"""Laws of what an authority signs: nothing is believed but what it said, as it said it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.security.certificates import (
    CERTIFICATE,
    CLOCK_SKEW_SECONDS,
    MAX_CERTIFICATE_BYTES,
    MAX_GRACE_SECONDS,
    MAX_REVOCATIONS_BYTES,
    MAX_REVOKED,
    MAX_ROLES,
    NO_REVOCATIONS,
    REVOCATIONS,
    ROTATION,
    BadCertificate,
    Certificate,
    Revocations,
    RotationOrder,
)
from mesh.security.identity import Identity
from mesh.security.signed import SIGNATURE_BYTES, sign
from patterns.errors import ConfigError
from tests.unit.mesh.security.statements import (
    FIELDS,
    KEY,
    NODE_KEY,
    NOW,
    OTHER,
    PUBLIC,
    SEED,
    certificate,
    revocations,
    rotation,
)

Reader = Callable[[bytes, bytes], object]

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
KINDS: dict[str, tuple[Reader, bytes]] = {
    "certificate": (Certificate.from_bytes, certificate().raw),
    "revocations": (Revocations.from_bytes, revocations(7, b"serial 1", b"serial 2").raw),
    "rotation": (RotationOrder.from_bytes, rotation().raw),
}
by_kind = pytest.mark.parametrize(("read", "raw"), KINDS.values(), ids=KINDS)


@given(
    name=NAMES,
    roles=st.lists(NAMES, max_size=MAX_ROLES),
    node_key=st.binary(min_size=32, max_size=32),
    begin=st.integers(0, 2**32),
)
def test_a_certificate_says_what_was_signed(
    name: str, roles: list[str], node_key: bytes, begin: int
) -> None:
    fields = (b"12345678", name, roles, node_key, "lab", begin, begin + 5)
    read = Certificate.from_bytes(sign(SEED, CERTIFICATE, fields), PUBLIC)
    assert (read.name, list(read.roles), read.node_key, read.mesh) == (name, roles, node_key, "lab")
    assert (read.serial, read.not_before, read.not_after) == (b"12345678", begin, begin + 5)
    assert read.identity == Identity(name, frozenset(roles))
    assert Certificate.from_bytes(read.raw, PUBLIC) == read


@by_kind
def test_every_flipped_bit_is_refused(read: Reader, raw: bytes) -> None:
    read(raw, PUBLIC)
    for at in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[at] ^= 1 << bit
            with pytest.raises(BadCertificate):
                read(bytes(changed), PUBLIC)


@by_kind
def test_what_is_cut_off_or_goes_on_is_refused(read: Reader, raw: bytes) -> None:
    for size in range(len(raw)):
        with pytest.raises(BadCertificate):
            read(raw[:size], PUBLIC)
    with pytest.raises(BadCertificate):
        read(raw + b"\0", PUBLIC)
    with pytest.raises(BadCertificate, match="longer than"):
        read(raw + bytes(MAX_REVOCATIONS_BYTES), PUBLIC)


@by_kind
@pytest.mark.parametrize("authority", [OTHER, bytes(32), b"", PUBLIC[:-1], PUBLIC + b"\0"])
def test_another_authority_is_refused(read: Reader, raw: bytes, authority: bytes) -> None:
    with pytest.raises(BadCertificate, match="authority"):
        read(raw, authority)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_one_kind_is_not_taken_for_another(kind: str, other: str) -> None:
    read, raw = KINDS[kind][0], KINDS[other][1]
    if kind == other:
        read(raw, PUBLIC)
    else:
        with pytest.raises(BadCertificate, match="not signed"):
            read(raw, PUBLIC)


@pytest.mark.parametrize(
    ("at", "value", "match"),
    [
        (0, b"short", "serial"),
        (0, "serial 1", "serial"),
        (1, "no good", "bad node name"),
        (1, 7, "bad node name"),
        (2, "ops", "roles"),
        (2, ["ops", "no good"], "bad role name"),
        (2, ["r"] * (MAX_ROLES + 1), "roles"),
        (3, NODE_KEY[:-1], "node key"),
        (4, "", "bad mesh name"),
        (5, -1, "time"),
        (5, 1.5, "time"),
        (6, True, "time"),
        (6, 2**60, "time"),
    ],
)
def test_a_signed_certificate_with_a_wrong_field_is_refused(
    at: int, value: Any, match: str
) -> None:
    fields = list(FIELDS)
    fields[at] = value
    with pytest.raises(BadCertificate, match=match):
        Certificate.from_bytes(sign(SEED, CERTIFICATE, fields), PUBLIC)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", b"\x90", b"\x80", b"\xc0", b"\xdd\xff\xff\xff\xff", b"\x91" * 900, b"\x01\x01"],
)
def test_what_is_signed_but_no_list_of_fields_is_refused(payload: bytes) -> None:
    from nacl.signing import SigningKey

    raw = SigningKey(SEED).sign(CERTIFICATE + payload).signature + payload
    with pytest.raises(BadCertificate):
        Certificate.from_bytes(raw, PUBLIC)


def test_one_with_more_fields_is_of_another_version_and_refused() -> None:
    with pytest.raises(BadCertificate, match="fields"):
        Certificate.from_bytes(sign(SEED, CERTIFICATE, [*FIELDS, 1]), PUBLIC)


def test_long_names_fit() -> None:
    roles = [f"{number:02}".rjust(40, "r") for number in range(MAX_ROLES)]
    assert len(certificate(name="n" * 64, mesh="m" * 64, roles=roles).raw) <= MAX_CERTIFICATE_BYTES


@pytest.mark.parametrize(
    ("now", "mesh", "match"),
    [
        (NOW - CLOCK_SKEW_SECONDS - 1, "lab", "valid from 2027-01-15.*clock"),
        (NOW + 1000 + CLOCK_SKEW_SECONDS + 1, "lab", "expired on 2027-01-15"),
        (NOW, "elsewhere", "for the mesh 'lab', not 'elsewhere'"),
    ],
)
def test_a_certificate_is_refused_outside_of_its_time_and_mesh(
    now: float, mesh: str, match: str
) -> None:
    with pytest.raises(BadCertificate, match=match):
        certificate().check(now, mesh)


@pytest.mark.parametrize("late", [-CLOCK_SKEW_SECONDS, 0, 1000, 1000 + CLOCK_SKEW_SECONDS])
def test_clocks_may_be_off(late: int) -> None:
    certificate().check(NOW + late, "lab")


def test_an_error_can_be_caught_as_one_of_configuration() -> None:
    assert issubclass(BadCertificate, ConfigError)


# Revocations


@given(st.sets(st.binary(min_size=8, max_size=8), max_size=30), st.integers(0, 2**63 - 1))
def test_a_list_of_revocations_says_what_was_signed(serials: set[bytes], version: int) -> None:
    read = revocations(version, *serials)
    assert (read.version, read.serials) == (version, serials)
    assert Revocations.from_bytes(read.raw, PUBLIC) == read


def test_a_list_revokes_by_serial() -> None:
    assert revocations(1, b"serial 0", b"serial 1").revokes(certificate())
    assert not revocations(1, b"serial 0").revokes(certificate())


def test_the_higher_version_is_the_newer_one() -> None:
    first, second = revocations(1, b"serial 1"), revocations(2)
    assert second.is_newer_than(first)
    assert first.is_newer_than(NO_REVOCATIONS)
    assert not first.is_newer_than(second)
    assert not first.is_newer_than(first)


def test_a_list_is_bounded() -> None:
    serials = [number.to_bytes(8) for number in range(MAX_REVOKED + 20)]
    assert len(revocations(2**63 - 1, *serials[:MAX_REVOKED]).serials) == MAX_REVOKED
    with pytest.raises(BadCertificate, match="longer than"):
        revocations(1, *serials)


@pytest.mark.parametrize("fields", [(1, b"odd"), (1, [b"serial 1"]), (-1, b""), ("1", b"")])
def test_a_signed_list_with_a_wrong_field_is_refused(fields: tuple[Any, Any]) -> None:
    with pytest.raises(BadCertificate):
        Revocations.from_bytes(sign(SEED, REVOCATIONS, fields), PUBLIC)


# Orders to change the key


def test_an_order_says_what_was_signed_and_shows_no_key() -> None:
    order = rotation()
    assert (order.issued_at, order.key, order.grace) == (NOW, KEY, 60)
    assert KEY not in repr(order)


@pytest.mark.parametrize(
    "fields",
    [
        (NOW, "", 60),
        (NOW, "mesh1-cut", 60),
        (NOW, b"key", 60),
        (NOW, "k" * 600, 60),
        (NOW, "key", -1),
        (NOW, "key", MAX_GRACE_SECONDS + 1),
        ("now", "key", 60),
    ],
)
def test_a_signed_order_with_a_wrong_field_is_refused(fields: tuple[Any, ...]) -> None:
    with pytest.raises(BadCertificate):
        RotationOrder.from_bytes(sign(SEED, ROTATION, fields), PUBLIC)


def test_the_signature_stands_before_what_it_signs() -> None:
    """Programs in other languages read them, too."""
    assert msgpack.unpackb(certificate().raw[SIGNATURE_BYTES:]) == list(FIELDS)
