"""What a member tells its senders: once a turn, whatever happened in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from patterns.groupcast import casts as k
from patterns.groupcast.credit import Share
from patterns.groupcast.sources import Pool, Source
from patterns.port import CastPort, Handle

__all__ = ["Reports"]


class Reports:
    """Sources with something to hear, pools with credit to grant.

    ``sources`` are all senders; ``forget`` drops a pool that has neither handler nor credit out.
    """

    def __init__(
        self, port: CastPort, sources: dict[Handle, Source], forget: Callable[[Pool], None]
    ) -> None:
        self._port = port
        self._sources = sources
        self._forget = forget
        self._dirty_sources: list[Source] = []
        self._dirty_pools: list[Pool] = []
        self.is_dirty = False

    def _mark(self) -> None:
        if not self.is_dirty:
            self.is_dirty = True
            self._port.mark(self)

    def mark_source(self, source: Source) -> None:
        """Something became of its casts."""
        if not source.is_dirty:
            source.is_dirty = True
            self._dirty_sources.append(source)
            self._mark()

    def mark_pool(self, pool: Pool) -> None:
        """Credit became free, or is wanted."""
        if not pool.is_dirty:
            pool.is_dirty = True
            self._dirty_pools.append(pool)
            self._mark()

    def flush(self) -> None:
        """Tell senders what became of their casts, then grant what is free."""
        self.is_dirty = False
        sources, self._dirty_sources = self._dirty_sources, []
        for source in sources:
            source.is_dirty = False
            self._report(source)
        pools, self._dirty_pools = self._dirty_pools, []
        for pool in pools:
            pool.is_dirty = False
            for handle, share in pool.book.allocate(pool.capacity):
                self._port.tell(handle, k.GRANT, pool.name, share.number, share.granted)
            for handle, share in pool.book.recall(partial(self._holds_unused, pool)):
                self._port.tell(handle, k.RECALL, pool.name, share.number)
            if not pool.desks and not pool.book.shares:
                self._forget(pool)

    def running(self) -> Counter[str]:
        """How many casts of each pool are here and not reported."""
        open_casts = (m for source in self._sources.values() for m in source.open.values())
        return Counter(message.pool for message in open_casts)

    def _holds_unused(self, pool: Pool, sender: Handle, share: Share) -> bool:
        source = self._sources.get(sender)
        return source is not None and share.held > source.count_in(pool.name)

    def _report(self, source: Source) -> None:
        tell, handle = self._port.tell, source.handle
        if done := source.take_done():
            tell(handle, k.DONE, done)
        back, source.back = source.back, {}
        for (reason, owner), numbers in back.items():
            tell(handle, k.BACK, reason, k.ranges_of(numbers), owner)
