"""What a dialer dials: one node, or one address whose node is not known yet."""

from __future__ import annotations

from enum import Enum

from mesh.engine.ports import Dial
from patterns.port import Timer

__all__ = ["ATTEMPTS", "STRENGTH", "Target", "Why"]


class Why(Enum):
    """What a target comes from; the first kind goes before all others and may take their place."""

    FIRST_HAND = "it dialled us, or discovery has found it"
    TOLD = "a peer knows it"
    REDIAL = "a member that failed may be back"
    RENEWAL = "a member is linked and says nothing, or has moved: a second connection may help"


ATTEMPTS = {Why.FIRST_HAND: 4, Why.TOLD: 4, Why.REDIAL: None, Why.RENEWAL: 1}
"""Rounds after which a target is dropped; a hint that still holds comes again."""

STRENGTH = (Why.RENEWAL, Why.TOLD, Why.FIRST_HAND, Why.REDIAL)
"""Of two reasons for one target the later one counts."""


class Target:
    """Something to dial until it answers. ``id`` is None while only an address is known.

    It is dialled in *rounds*: each address once, the next one begun while the ones before have not
    answered yet. ``untried`` are those that the round has still to begin.
    """

    __slots__ = (
        "addresses",
        "attempts",
        "dials",
        "id",
        "is_queued",
        "key",
        "silence",
        "since",
        "timer",
        "tried_at",
        "untried",
        "why",
    )

    def __init__(
        self,
        key: bytes | str,
        id: bytes | None,
        addresses: list[str],
        since: float,
        why: Why,
    ) -> None:
        self.key = key
        self.id = id
        self.addresses = addresses
        self.why = why
        self.since = since
        self.attempts = 0
        """Rounds that nobody answered."""
        self.untried: list[str] = []
        self.dials: list[Dial] = []
        self.silence: dict[str, Timer] = {}
        """When each dial is given up, by its address."""
        self.timer: Timer | None = None
        """When it goes on: with the next address, or with the next round."""
        self.is_queued = False
        self.tried_at = since
        """When its last round began."""

    @property
    def is_resting(self) -> bool:
        """Whether it waits for its next round."""
        return self.timer is not None and not self.dials and not self.untried
