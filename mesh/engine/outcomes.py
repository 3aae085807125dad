"""What became of what discovery has found, for people and programs that ask why it is not here.

In words, and as a cause: one of a few texts that never change. Those of members are their states;
a refusal's is "refused-" and the other side's own code ("mesh", "key", ...), which may be new.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mesh.engine.core import Core
from mesh.engine.dialer import ANSWER_TIMEOUT, Dialer

__all__ = ["Outcome", "Outcomes"]


class Outcome(NamedTuple):
    """What became of it: ``cause`` for programs, ``text`` for people."""

    cause: str
    text: str


class Outcomes:
    """Looks at members and at the dialer; changes nothing."""

    def __init__(self, core: Core, dialer: Dialer) -> None:
        self._core = core
        self._dialer = dialer

    def of(self, id: bytes | None, addresses: Sequence[str]) -> Outcome:
        """What became of a hint: "alive: calc/1a2b3c4d", "refused: ...", "no answer ...", ..."""
        core, dialer = self._core, self._dialer
        ids = [id] if id is not None else [dialer.who_answered(a) for a in addresses]
        for known in ids:
            if known == core.id:
                return Outcome("self", "this node")
            member = core.membership.get(known) if known is not None else None
            if member is not None:
                return Outcome(str(member.peer.state), f"{member.state}: {member.peer}")
        for address in addresses:
            if (refusal := dialer.refusals.get(address)) is not None:
                return Outcome(f"refused-{refusal[0]}", f"refused: {refusal[1]}")
        rounds = dialer.rounds_without_answer(id, addresses)
        if rounds is not None:
            if not rounds:
                return Outcome("dialled", "being dialled")
            return Outcome("unanswered", f"no answer yet, after {rounds} rounds")
        if any(address in dialer.silent for address in addresses):
            text = f"no answer within {ANSWER_TIMEOUT:g} s at any address: it is gone, or shut off"
            return Outcome("silent", text)
        return Outcome("not-dialled", "not dialled")
