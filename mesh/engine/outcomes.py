"""What became of what discovery has found, in words, for people who ask why it is not here."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.engine.core import Core
from mesh.engine.dialer import ANSWER_TIMEOUT, Dialer

__all__ = ["NO_ANSWER", "REFUSED", "Outcomes"]

NO_ANSWER = "no answer"
REFUSED = "refused: "
"""How the texts of those begin that are no members, and were dialled."""


class Outcomes:
    """Looks at members and at the dialer; changes nothing."""

    def __init__(self, core: Core, dialer: Dialer) -> None:
        self._core = core
        self._dialer = dialer

    def of(self, id: bytes | None, addresses: Sequence[str]) -> str:
        """What became of a hint: "alive: calc/1a2b3c4d", "refused: ...", "no answer ...", ..."""
        core, dialer = self._core, self._dialer
        ids = [id] if id is not None else [dialer.who_answered(a) for a in addresses]
        for known in ids:
            if known == core.id:
                return "this node"
            member = core.membership.get(known) if known is not None else None
            if member is not None:
                return f"{member.state}: {member.peer}"
        for address in addresses:
            if (refusal := dialer.refusals.get(address)) is not None:
                return REFUSED + refusal[1]
        rounds = dialer.rounds_without_answer(id, addresses)
        if rounds is not None:
            return f"{NO_ANSWER} yet, after {rounds} rounds" if rounds else "being dialled"
        if any(address in dialer.silent for address in addresses):
            return (
                f"{NO_ANSWER} within {ANSWER_TIMEOUT:g} s at any address: it is gone, or shut off"
            )
        return "not dialled"
