"""What all parts of an engine share: identity, clock, transport, sessions, and the turn.

The turn is how batching works. Whatever is sent is queued with its destination, and the
destination put on the dirty list; at the end of the loop's turn (or of a transport drain)
everything dirty is flushed as whole frames. So messages of one turn share a frame, and nothing
waits for a timer.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from mesh.engine.config import EngineConfig
from mesh.engine.ports import Clock, Transport
from mesh.engine.telling import Telling
from mesh.engine.totals import Totals
from mesh.membership import Membership, OwnRecord
from mesh.wire.codec import Codec

if TYPE_CHECKING:
    from mesh.engine.session import Session

__all__ = ["Core", "Flushable"]


MAX_COUNT = 2**63 - 1
"""Of a counter: a peer may claim any number of lost messages, and a sum must be fit to travel."""


class Flushable(Protocol):
    """A destination with something to send."""

    is_dirty: bool

    def flush(self) -> None: ...


class Core:
    """Shared state; the parts act on it, and it acts on nothing but the turn."""

    def __init__(
        self,
        config: EngineConfig,
        clock: Clock,
        transport: Transport,
        random: Random,
        membership: Membership,
    ) -> None:
        self.config = config
        self.id = config.id
        self.clock = clock
        self.transport = transport
        self.random = random
        self.codec = Codec()
        self.membership = membership
        self.record = OwnRecord(
            config.id,
            config.name,
            tags=config.tags,
            is_observer=config.is_observer,
            instance=config.instance or config.id.hex(),
            weight=config.weight,
        )
        self.sessions: dict[bytes, Session] = {}
        self.counters: dict[str, int] = {}
        self.forgotten = Totals()
        """Of sessions that are no more."""
        self.tell = Telling(clock.now)
        self.era = 1
        """The newest of streams; see ``mesh.links.resending``."""
        self._dirty: list[Flushable] = []
        self._is_flush_due = False
        self.expects_batch = False
        """Several replies came at once: their callers will probably call again together."""

    def count(self, what: str, by: int = 1) -> None:
        """Count an event that people may want to know of; keys are few and fixed."""
        self.counters[what] = min(self.counters.get(what, 0) + by, MAX_COUNT)

    def pack(self, *fields: Any) -> bytes:
        """One entry from its fields."""
        return self.codec.pack(fields)

    def next_era(self) -> int:
        """What began before this is over for somebody."""
        self.era += 1
        return self.era

    def mark(self, item: Flushable) -> None:
        """Flush ``item`` at the end of this turn."""
        item.is_dirty = True
        self._dirty.append(item)
        if not self._is_flush_due:
            self._is_flush_due = True
            self.clock.call_soon(self.flush)

    def flush_soonest(self, item: Flushable) -> None:
        """Flush ``item`` now if it is the first of an idle turn, else with the others.

        A lone call does not wait for the turn's end; the ones that follow it in the same turn
        share a frame.
        """
        if self._is_flush_due or self.expects_batch:
            self.expects_batch = False
            if not item.is_dirty:
                self.mark(item)
            return
        self._is_flush_due = True
        self.clock.call_soon(self.flush)
        item.flush()

    def begin_drain(self) -> None:
        """Transport callbacks follow; their effects leave at ``flush``."""
        self._is_flush_due = True

    def flush(self) -> None:
        """The end of a turn: send everything that is queued."""
        self._is_flush_due = False
        dirty, self._dirty = self._dirty, []
        for index, item in enumerate(dirty):
            item.is_dirty = False
            try:
                item.flush()
            except BaseException:
                # One destination's fault must not leave the others marked and never sent to.
                self._dirty[:0] = dirty[index + 1 :]
                if not self._is_flush_due:
                    self._is_flush_due = True
                    self.clock.call_soon(self.flush)
                raise
