"""What a keyed node is and whom it believes: its mesh keys, its own key, its certificate.

Both sides of the door speak through it: ``question`` and ``take_answer`` of the one that dials,
``answer`` of the one that is dialled. Whoever shows a card that holds is among the ``members``, and
may connect from then on. What the authority says (who is revoked, which key comes next) travels
with the cards, so it reaches every node that meets another.

Rules: the mesh key in use comes first; the others are accepted until they are dropped. In a mesh
with an authority a card without a valid certificate is refused. ``on_news`` is called after
anything changed that is worth keeping, ``on_expelled`` with the ids of nodes that are out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from mesh.engine.telling import Telling
from mesh.logs import get_logger
from mesh.security.boxes import seal_for, unseal_with
from mesh.security.certificates import (
    CLOCK_SKEW_SECONDS,
    NO_REVOCATIONS,
    BadCertificate,
    Certificate,
    Revocations,
    RotationOrder,
)
from mesh.security.curve import NodeKey, is_bound
from mesh.security.identity import Identity
from mesh.security.keys import GENERATED_PREFIX, MeshKey
from mesh.security.knocking import (
    ANSWER,
    KNOCK,
    NO_SUCH_KEY,
    BadKnock,
    Card,
    DoorRefusal,
    open_frame,
    pack_card,
    pack_no_such_key,
    pack_refusal,
    read_card,
)
from mesh.security.members import Members
from mesh.security.signed import public_of_seed
from patterns.errors import ConfigError

__all__ = ["MAX_MESH_KEYS", "Credentials"]

logger = get_logger("mesh.security")

MAX_MESH_KEYS = 8
"""Keys that are good at once: two during a change, and each costs a start 0.1 s if it is words."""

REFUSED_KEY = "key"
REFUSED_ID = "id"
REFUSED_CERTIFICATE = "certificate"
REFUSED_REVOKED = "revoked"
REFUSED_FULL = "full"


class Credentials:
    """``keys``: the mesh keys, the one in use first; ``until``: when the others are good no more,
    as Unix time, None without an end. ``authority``: the public key of the mesh's
    authority, empty in a mesh that has none. ``certificate``: of ``node``, by that authority."""

    def __init__(
        self,
        id: bytes,
        mesh: str,
        keys: Sequence[MeshKey],
        node: NodeKey,
        *,
        until: float | None = None,
        authority: bytes = b"",
        certificate: Certificate | None = None,
        revocations: Revocations = NO_REVOCATIONS,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.id = id
        self.mesh = mesh
        self.keys = list(keys)[:MAX_MESH_KEYS]
        self.node = node
        self.authority = authority
        self.certificate = certificate
        self.revocations = revocations
        self.rotation: RotationOrder | None = None
        self.port = 0
        """Of the link socket, once it is bound."""
        self.members = Members()
        self.members.is_kept = self._is_kept
        self.is_linked: Callable[[bytes], bool] = _nobody_is
        """Whether a node is a member now: those are not forgotten."""
        self.refused = 0
        """Knocks that were answered with a refusal."""
        self._tell = Telling(time.monotonic)
        self._wall_clock = wall_clock
        self.until = until if len(self.keys) > 1 else None
        self.on_news: Callable[[], None] = _nothing
        self.on_expelled: Callable[[list[bytes], str], None] = _nobody
        self.members.add(id, node.public, certificate, self.key.hint)

    @property
    def key(self) -> MeshKey:
        """The mesh key in use."""
        return self.keys[0]

    def accepts(self, fingerprint: str) -> bool:
        """Whether nodes that announce that fingerprint can be peers."""
        return any(key.fingerprint == fingerprint for key in self.keys)

    def _is_kept(self, id: bytes) -> bool:
        return id == self.id or self.is_linked(id)

    def identity_of(self, id: bytes) -> Identity | None:
        """Who a node is, by its certificate."""
        node = self.members.get(id)
        certificate = node.certificate if node is not None else None
        return certificate.identity if certificate is not None else None

    # Accepted connections.

    def admit(self, key: bytes) -> bytes:
        """The User-Id of a connection whose client has that key; empty for one to refuse."""
        return key.hex().encode() if self.members.has_key(key) else b""

    def may_say(self, user: str, id: bytes) -> bool:
        """Whether a frame of ``id`` may come by a connection with that User-Id."""
        key = bytes.fromhex(user)
        return self.members.has_key(key) and is_bound(key, id)

    # The door.

    def _card(self, peer: bytes | None) -> Card:
        """What we show; to the owner of the key ``peer`` alone also an order to change the key.

        It is sealed for that key: the mesh key is what is to be changed, and who has recorded what
        was sealed with it must not find the new one there.
        """
        order = self.rotation
        return Card(
            self.id,
            self.node.public,
            self.port,
            self.certificate.raw if self.certificate is not None else b"",
            self.revocations.raw,
            seal_for(peer, order.raw) if order is not None and peer is not None else b"",
        )

    def question(self, key: MeshKey, token: bytes, whom: bytes | None = None) -> bytes:
        """A knock sealed with that mesh key. ``whom``: the id of the member that it is for, if it
        is known; only such a one is told of a new key."""
        node = self.members.get(whom) if whom is not None else None
        return pack_card(KNOCK, key, token, self._card(node.key if node is not None else None))

    def answer(self, frame: bytes) -> bytes:
        """What to say to a knock. Raises BadKnock for one that no member made."""
        kind, hint, sealed = open_frame(frame)
        if kind != KNOCK:
            raise BadKnock("it was no question")
        key = self._key_of(hint)
        if key is None:
            self.refused += 1
            return pack_no_such_key(self.key.hint)
        token, said = read_card(KNOCK, key, sealed)
        if isinstance(said, DoorRefusal):
            raise BadKnock("a refusal is no question")
        refusal = self._take(said, key)
        if refusal is not None:
            self.refused += 1
            self._tell.warning(logger, "a node was refused at the door: %s", refusal.text)
            return pack_refusal(key, token, refusal)
        return pack_card(ANSWER, key, token, self._card(said.key))

    def take_answer(self, frame: bytes, key: MeshKey, token: bytes) -> Card | DoorRefusal:
        """What was answered to ``question``; a card that holds, or why there is no link.

        Raises BadKnock for an answer that no member made, or that is not to this question.
        """
        kind, hint, sealed = open_frame(frame)
        if kind == NO_SUCH_KEY:
            return DoorRefusal(REFUSED_KEY, "it has another mesh key")
        if kind != ANSWER:
            raise BadKnock("it was no answer")
        if hint != key.hint:
            raise BadKnock("it was answered with another key")
        answered, said = read_card(ANSWER, key, sealed)
        if answered != token:
            raise BadKnock("it was an answer to another question")
        if isinstance(said, DoorRefusal):
            return said
        return self._take(said, key) or said

    def _key_of(self, hint: bytes) -> MeshKey | None:
        return next((key for key in self.keys if key.hint == hint), None)

    def _take(self, card: Card, key: MeshKey) -> DoorRefusal | None:
        """Let the node in that has shown this card, or say why not."""
        self._learn(card)
        if not is_bound(card.key, card.id):
            return DoorRefusal(REFUSED_ID, "its id does not belong to its key")
        certificate = None
        if self.authority:
            try:
                certificate = self._certificate_of(card)
            except BadCertificate as error:
                return DoorRefusal(REFUSED_CERTIFICATE, str(error))
            if self.revocations.revokes(certificate):
                return DoorRefusal(REFUSED_REVOKED, f"{certificate.name} is revoked")
        node = self.members.add(card.id, card.key, certificate, key.hint)
        if node is None:
            return DoorRefusal(REFUSED_FULL, "too many nodes are known here, or of this identity")
        node.has_our_revocations = card.revocations == self.revocations.raw
        return None

    def is_up_to_date(self, id: bytes) -> bool:
        """Whether that node has shown that it knows our order to change the key, and our list of
        revocations; true of both where there is none."""
        node = self.members.get(id)
        if node is None:
            return False
        has_key = self.rotation is None or self.key.hint in node.hints
        return has_key and node.has_our_revocations

    def _certificate_of(self, card: Card) -> Certificate:
        if not card.certificate:
            raise BadCertificate("it has no certificate, and this mesh has an authority")
        certificate = Certificate.from_bytes(card.certificate, self.authority)
        certificate.check(self._wall_clock(), self.mesh)
        if certificate.node_key != card.key:
            raise BadCertificate(f"the certificate of {certificate.name} is for another node's key")
        return certificate

    # What the authority says.

    def _learn(self, card: Card) -> None:
        """Whoever brings it, it is signed: where there is no authority, with the key in use."""
        try:
            if self.authority and card.revocations not in (b"", self.revocations.raw):
                self.revoke(Revocations.from_bytes(card.revocations, self.authority))
            order = unseal_with(self.node.secret, card.rotation) if card.rotation else None
            if order is not None and (self.rotation is None or order != self.rotation.raw):
                signer = self.authority or public_of_seed(self.key.authority_seed)
                self.rotate(RotationOrder.from_bytes(order, signer))
        except BadCertificate as error:
            self._tell.warning(
                logger, "a node at the door brought what is not to be believed: %s", error
            )

    def revoke(self, revocations: Revocations) -> None:
        """Believe a list of revocations if it is newer; those on it are out at once."""
        if not revocations.is_newer_than(self.revocations):
            return
        self.revocations = revocations
        self.members.revocations_changed()
        logger.info("%d certificates are revoked", len(revocations.serials))
        if self.certificate is not None and revocations.revokes(self.certificate):
            logger.error("the certificate of this node, %s, is revoked", self.certificate.name)
        out = self.members.expel(
            lambda node: node.certificate is not None and revocations.revokes(node.certificate)
        )
        self.on_news()
        self._tell_expelled(out, "its certificate is revoked")

    def rotate(self, order: RotationOrder) -> bool:
        """Use the key of a newer order from now on; the old ones are good for its grace.

        False for an order that changes nothing: it is not newer, or its grace is over. Raises
        BadCertificate for one that no node should give.
        """
        now = self._wall_clock()
        ends_at = order.issued_at + order.grace
        if self.rotation is not None and order.issued_at <= self.rotation.issued_at:
            return False
        if ends_at <= now:
            return False
        if order.issued_at > now + CLOCK_SKEW_SECONDS:
            raise BadCertificate("the order to change the key is from the future")
        if not order.key.startswith(GENERATED_PREFIX):
            raise BadCertificate("the new key is not one of full strength")
        self.rotation = order
        self.until = ends_at
        if order.key != self.key.text:
            others = [key for key in self.keys if key.text != order.key]
            self.keys = [MeshKey(order.key, self.mesh), *others][:MAX_MESH_KEYS]
            logger.info("the mesh key has changed; the old one is good for %d s", ends_at - now)
        self.members.add(self.id, self.node.public, self.certificate, self.key.hint)
        self.on_news()
        return True

    def order_rotation(self, key: str, grace: int) -> RotationOrder:
        """An order that nodes with our key obey. Raises ConfigError where only an authority can
        give one."""
        if self.authority:
            raise ConfigError("this mesh has an authority: only that changes the key")
        return RotationOrder.signed(self.key.authority_seed, key, grace, self.next_order_at())

    def next_order_at(self) -> float:
        """When an order is to be given that is newer than the last one, as Unix time."""
        after = self.rotation.issued_at + 1 if self.rotation is not None else 0
        return max(self._wall_clock(), after)

    def tick(self) -> None:
        """What has run out: old keys after their grace, certificates. Call it every few seconds."""
        now = self._wall_clock()
        out = self.members.expel(
            lambda node: node.certificate is not None and node.certificate.is_expired(now)
        )
        self._tell_expelled(out, "its certificate has expired")
        if self.until is not None and now >= self.until:
            self.until = None
            self.keys = self.keys[:1]
            hint = self.key.hint
            out = self.members.expel(lambda node: hint not in node.hints)
            logger.info("the old mesh key is not accepted any more")
            self.on_news()
            self._tell_expelled(out, "it knows only a mesh key that is rotated out")

    def _tell_expelled(self, ids: list[bytes], reason: str) -> None:
        if ids:
            self.on_expelled(ids, reason)


def _nobody_is(id: bytes) -> bool:
    return False


def _nothing() -> None:
    pass


def _nobody(ids: list[bytes], reason: str) -> None:
    pass
