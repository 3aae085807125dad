"""The audit log: what was denied, to whom and by which rule, without being flooded by it.

The first denial of a peer, a right and a name is a line at once; what follows of the same is
counted, and told in one line for each minute in which there was more. What there is no room to
count one by one is counted together. Lines go to the logger "mesh.audit".
"""

from __future__ import annotations

from mesh.engine.ports import Clock
from mesh.logs import get_logger
from patterns.port import Timer

__all__ = ["MAX_TOLD", "SUMMARY_EVERY", "Audit"]

logger = get_logger("mesh.audit")

MAX_TOLD = 256
"""Denials told one by one in each ``SUMMARY_EVERY``: a peer that tries all names there are must
not fill the disk."""

SUMMARY_EVERY = 60.0
"""Seconds between the lines that sum up."""

Subject = tuple[bytes, str, str]
"""Whose id, which right, to what."""


class Audit:
    """Tells of denials."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._more: dict[Subject, int] = {}
        """What was told, and how often it has happened since."""
        self._texts: dict[Subject, str] = {}
        self._others = 0
        self._timer: Timer | None = None

    def tell(self, id: bytes, who: str, right: str, name: str, rule: str) -> None:
        """One was denied: ``who`` is the peer with that id, for people."""
        subject = id, right, name
        if subject in self._more:
            self._more[subject] += 1
            return
        if len(self._more) >= MAX_TOLD:
            self._others += 1
            return
        # The name may be anything that a peer sent: no line break of it may make a line.
        text = f"{right} {name!r:.300} by {who}, rule {rule!r}"
        self._more[subject] = 0
        self._texts[subject] = text
        logger.warning("denied: %s", text)
        if self._timer is None:
            self._timer = self._clock.call_later(SUMMARY_EVERY, self._sum_up)

    def _sum_up(self) -> None:
        self._timer = None
        more, self._more = self._more, {}
        texts, self._texts = self._texts, {}
        others, self._others = self._others, 0
        for subject, count in more.items():
            if count:
                logger.warning("denied %d times more: %s", count, texts[subject])
                # Whoever goes on is told of by such lines only.
                self._more[subject] = 0
                self._texts[subject] = texts[subject]
        if others:
            logger.warning("denied %d times more: other names, or to others", others)
        if self._more:
            self._timer = self._clock.call_later(SUMMARY_EVERY, self._sum_up)

    def close(self) -> None:
        """Sum up now, and tell nothing more."""
        self._sum_up()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
