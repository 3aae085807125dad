"""The nodes that have shown themselves at the door: whose connections are let in, and who they are.

A node is known here by its id and its key, and by the mesh keys under which it was introduced: when
a key is rotated out, those that know no other are out, too. An introduction lets its owner try to
connect; that it has the key is proved by CURVE.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.security.certificates import Certificate

__all__ = ["MAX_INTRODUCED", "MAX_NODES_PER_KEY", "Introduced", "Members"]

MAX_INTRODUCED = 8192
"""Nodes that may connect: twice as many as an engine knows. The oldest goes first; should it still
be there, it comes to the door again when it connects anew."""

MAX_NODES_PER_KEY = 256
"""Nodes with one certified key at once, the processes of one service on one machine: nobody can
drive out the others by making up ids."""


class Introduced:
    """One node: its id, its public key, its certificate, and the mesh keys that it has used."""

    __slots__ = ("certificate", "has_our_revocations", "hints", "id", "key")

    def __init__(self, id: bytes, key: bytes, certificate: Certificate | None) -> None:
        self.id = id
        self.key = key
        self.certificate = certificate
        self.hints: set[bytes] = set()
        self.has_our_revocations = True


class Members:
    """Nodes by id, the latest last."""

    def __init__(self) -> None:
        self._nodes: dict[bytes, Introduced] = {}
        self._ids: dict[bytes, dict[bytes, None]] = {}
        """The ids of each key, the oldest first."""
        self.expelled: dict[bytes, None] = {}
        """Keys that were let in once and are not any more."""

    def __len__(self) -> int:
        return len(self._nodes)

    def add(
        self, id: bytes, key: bytes, certificate: Certificate | None, hint: bytes
    ) -> Introduced:
        """``id`` owns ``key`` and knows the mesh key that ``hint`` names."""
        known = self._nodes.pop(id, None) or Introduced(id, key, certificate)
        known.certificate = certificate
        known.hints.add(hint)
        self._nodes[id] = known
        self.expelled.pop(key, None)
        ids = self._ids.setdefault(key, {})
        ids[id] = None
        if len(ids) > MAX_NODES_PER_KEY:
            self.forget(next(iter(ids)))
        elif len(self._nodes) > MAX_INTRODUCED:
            self.forget(next(iter(self._nodes)))
        return known

    def forget(self, id: bytes) -> None:
        """It may connect no more; what is connected stays."""
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
        """Whether the owner of that key may connect."""
        return key in self._ids

    def expel(self, is_out: Callable[[Introduced], bool]) -> list[bytes]:
        """Let no frame in any more from those; returns their ids."""
        out = [node for node in self._nodes.values() if is_out(node)]
        for node in out:
            self.forget(node.id)
        for node in out:
            if node.key not in self._ids:
                self.expelled[node.key] = None
                if len(self.expelled) > MAX_INTRODUCED:
                    del self.expelled[next(iter(self.expelled))]
        return [node.id for node in out]
