"""What comes to doors, what an authority signs, and the files of keys and permissions.

A seal and a signature would keep all garbage out. So what is fed is also sealed with the key of the
door, or signed with that of the authority: as by a member, or an authority of another version.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from mesh.security import Credentials, MeshKey, NodeKey, knocking
from mesh.security.certificates import (
    CERTIFICATE,
    REVOCATIONS,
    ROTATION,
    BadCertificate,
    Certificate,
    Revocations,
    RotationOrder,
)
from mesh.security.curve import bind_id
from mesh.security.key_files import KeptKeys, _parse
from mesh.security.knocking import ANSWER, KNOCK, BadKnock, Card, DoorRefusal
from mesh.security.policy import Policy
from mesh.security.signed import SIGNATURE_BYTES
from patterns.errors import BadName, ConfigError
from tests.fuzz.campaign.target import Target
from tests.unit.mesh.security import statements as s

__all__ = ["TARGETS"]

KEY = MeshKey(s.KEY, "lab")
NODE = NodeKey(s.NODE_SECRET)
ID = bind_id(NODE.public, bytes(8))
CARD = Card(ID, NODE.public, 7001, s.certificate().raw, s.revocations(1, b"serial 2").raw)
BARE = Card(ID, NODE.public, 7001)
SIGNED: tuple[tuple[bytes, Callable[[bytes, bytes], Any], bytes], ...] = (
    (CERTIFICATE, Certificate.from_bytes, s.certificate().raw),
    (REVOCATIONS, Revocations.from_bytes, s.revocations(3, b"serial 1", b"serial 2").raw),
    (ROTATION, RotationOrder.from_bytes, s.rotation().raw),
)
POLICY = b"""\
default = "deny"
[roles]
seller = ["shop-1", "shop-2"]
[[rule]]
name = "no-refunds"
who = ["role:seller"]
deny.call = ["orders.refund"]
[[rule]]
name = "packers"
who = ["packer-1"]
allow.join = ["packers"]
allow.publish = ["orders.>"]
"""


class Still:
    """A clock that stands."""

    def __call__(self) -> float:
        return float(s.NOW)


def door() -> Credentials:
    return Credentials(
        ID,
        "lab",
        [KEY],
        NODE,
        authority=s.PUBLIC,
        certificate=s.certificate(),
        wall_clock=Still(),
    )


def knocked(data: bytes) -> Any:
    """At a door, as it came by TCP."""
    host = door()
    return host, host.answer(data)


def check_knocked(data: bytes, result: Any) -> Hashable:
    host, answer = result
    assert len(answer) <= knocking.MAX_KNOCK_BYTES
    assert len(host.members) <= 2
    return answer[5]


def told(data: bytes) -> Any:
    """At a door, by a member who says whatever he likes."""
    host = door()
    frame = knocking._pack(KNOCK, KEY, data)
    return host, host.answer(frame)


def card_of(data: bytes) -> Any:
    return knocking.read_said(KNOCK, data)


def check_card(data: bytes, result: Any) -> Hashable:
    token, said = result
    assert len(token) == knocking.TOKEN_BYTES
    if isinstance(said, Card):
        again = knocking.said_card(KNOCK, token, said)
        assert knocking.read_said(KNOCK, again) == result
        return "card", bool(said.certificate), bool(said.revocations), bool(said.rotation)
    assert isinstance(said, DoorRefusal)
    return "refusal"


def answer_of(data: bytes) -> Any:
    guest = door()
    return guest.take_answer(data, KEY, bytes(16))


def signed_with(kind: bytes, read: Callable[[bytes, bytes], Any]) -> Callable[[bytes], Any]:
    from nacl.signing import SigningKey

    signer = SigningKey(s.SEED)

    def decode(data: bytes) -> Any:
        return read(signer.sign(kind + data).signature + data, s.PUBLIC)

    return decode


def check_statement(data: bytes, result: Any) -> Hashable:
    assert result.raw[SIGNATURE_BYTES:] == data
    return type(result)


def key_file(data: bytes) -> KeptKeys:
    return _parse("lab.key", data.decode().splitlines())


def check_key_file(data: bytes, result: Any) -> Hashable:
    assert all(text and not text.startswith("#") for text in result.texts)
    return min(len(result.texts), 8), result.until is None


REFUSES = (BadKnock,)

TARGETS = [
    Target(
        "door",
        knocked,
        (
            knocking.pack_card(KNOCK, KEY, bytes(16), CARD),
            knocking.pack_card(KNOCK, MeshKey("mesh1-" + "b" * 51 + "q", "lab"), bytes(16), CARD),
        ),
        refuses=REFUSES,
        law=check_knocked,
        packed_at=None,
    ),
    Target(
        "door_member",
        told,
        (knocking.said_card(KNOCK, bytes(16), CARD),),
        refuses=REFUSES,
        law=check_knocked,
    ),
    Target(
        "door_answer",
        answer_of,
        (
            knocking.pack_card(ANSWER, KEY, bytes(16), CARD),
            knocking.pack_refusal(KEY, bytes(16), DoorRefusal("revoked", "calc is revoked")),
            knocking.pack_no_such_key(KEY.hint),
        ),
        refuses=REFUSES,
        packed_at=None,
    ),
    Target(
        "card",
        card_of,
        (knocking.said_card(KNOCK, bytes(16), CARD), knocking.said_card(KNOCK, bytes(16), BARE)),
        refuses=REFUSES,
        law=check_card,
    ),
    *(
        Target(
            kind.split()[1].decode(),
            signed_with(kind, read),
            (raw[SIGNATURE_BYTES:],),
            refuses=(BadCertificate,),
            law=check_statement,
        )
        for kind, read, raw in SIGNED
    ),
    Target(
        "key_file",
        key_file,
        (b"words\n", b"# ours\n" + s.KEY.encode() + b"\n#until 9999999999\nold words\n"),
        refuses=(ConfigError, UnicodeDecodeError),
        law=check_key_file,
        packed_at=None,
        is_own=True,
    ),
    Target(
        "policy",
        lambda data: Policy.from_toml(data.decode()),
        (POLICY, b'default = "allow"\n'),
        refuses=(ConfigError, BadName, UnicodeDecodeError),
        packed_at=None,
        is_own=True,
    ),
]
