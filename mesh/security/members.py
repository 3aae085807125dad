"""The nodes that have shown themselves at the door: whose connections are let in, and who they are.

A node is known here by its id and its key, and by the mesh keys under which it was introduced: when
a key is rotated out, those that know no other are out, too. An introduction lets its owner try to
connect; that it has the key is proved by CURVE. Who is not here is not heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from mesh.security.certificates import Certificate

__all__ = ["MAX_INTRODUCED", "MAX_NODES_PER_KEY", "Introduced", "Members"]

MAX_INTRODUCED = 8192
"""Nodes that may connect: twice as many as an engine knows."""

MAX_NODES_PER_KEY = 256
"""Nodes with one certified key at once, the processes of one service on one machine: nobody can
drive out the others by making up ids."""

LOOKED_AT = 512
"""Nodes that are looked at for one that gives way to another."""


class Introduced:
    """One node: its id, its public key, its certificate, and the mesh keys that it has used."""

    __slots__ = ("certificate", "has_our_revocations", "hints", "id", "key")

    def __init__(self, id: bytes, key: bytes) -> None:
        self.id = id
        self.key = key
        self.certificate: Certificate | None = None
        self.hints: set[bytes] = set()
        self.has_our_revocations = True


class Members:
    """Nodes by id, the latest last.

    ``is_kept(id)`` says who must not give way: whoever is linked has to be here, or an expulsion
    would miss it, and so has this node itself.
    """

    def __init__(self) -> None:
        self._nodes: dict[bytes, Introduced] = {}
        self._ids: dict[bytes, dict[bytes, None]] = {}
        """The ids of each key, the oldest first."""
        self.is_kept: Callable[[bytes], bool] = _nobody

    def __len__(self) -> int:
        return len(self._nodes)

    def add(
        self, id: bytes, key: bytes, certificate: Certificate | None, hint: bytes
    ) -> Introduced | None:
        """``id`` owns ``key`` and knows the mesh key that ``hint`` names; None without room."""
        if id not in self._nodes:
            of_key = self._ids.get(key, {})
            if len(of_key) >= MAX_NODES_PER_KEY and not self._make_room(of_key):
                return None
            if len(self._nodes) >= MAX_INTRODUCED and not self._make_room(self._nodes):
                return None
        known = self._nodes.pop(id, None) or Introduced(id, key)
        known.certificate = certificate
        known.hints.add(hint)
        self._nodes[id] = known
        ids = self._ids.setdefault(key, {})
        ids.pop(id, None)
        ids[id] = None
        return known

    def _make_room(self, ids: Iterable[bytes]) -> bool:
        """The oldest that is not linked gives way; should it be there, it knocks again."""
        for id in islice(ids, LOOKED_AT):
            if not self.is_kept(id):
                self.forget(id)
                return True
        return False

    def forget(self, id: bytes) -> None:
        """It may not connect."""
        node = self._nodes.pop(id, None)
        if node is None:
            return
        ids = self._ids[node.key]
        del ids[id]
        if not ids:
            del self._ids[node.key]

    def get(self, id: bytes) -> Introduced | None:
        """What is known of a node."""
        return self._nodes.get(id)

    def revocations_changed(self) -> None:
        """Nobody is known to have the new list."""
        for node in self._nodes.values():
            node.has_our_revocations = False

    def has_key(self, key: bytes) -> bool:
        """Whether the owner of that key may connect, and is heard."""
        return key in self._ids

    def expel(self, is_out: Callable[[Introduced], bool]) -> list[bytes]:
        """Forget those, and return their ids."""
        out = [node.id for node in self._nodes.values() if is_out(node)]
        for id in out:
            self.forget(id)
        return out


def _nobody(id: bytes) -> bool:
    return False
