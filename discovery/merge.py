"""All sources of a node as one.

Sources run side by side and fail alone: what one of them raises is logged once and shown in its
state. Hints are passed on as they come, also those of other meshes (a consumer may want to show
them); only the node's own are dropped. `watch` is for consumers that want a picture instead: what
is known, then what changes.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from discovery.source import Announcement, Candidate, Source, SourceState

START_WAIT = 0.3
"""Seconds `start` waits for slow sources; these go on starting in the background."""

CLOSE_TIMEOUT = 0.8
"""Seconds all sources together have to close: each promises 0.5 s."""

CANCEL_TIMEOUT = 0.1
"""Seconds to wait for a task that was cancelled; one that goes on regardless is reported."""

logger = logging.getLogger("discovery")


class Discovery:
    """Runs `sources` together and calls `found`, on the event loop, for each hint.

    The same node is told repeatedly, by several sources: the consumer dedupes. What `found` raises
    is logged with its traceback and stops no source. Raises `ValueError` if two sources have the
    same name. Used once: started, then closed.
    """

    def __init__(
        self, sources: Sequence[Source], found: Callable[[Candidate], None] | None = None
    ) -> None:
        self._sources = {source.name: source for source in sources}
        if len(self._sources) != len(sources):
            names = ", ".join(source.name for source in sources)
            raise ValueError(f"two sources have the same name: {names}")
        self._found = found
        self._own_id: str | None = None
        self._failures: dict[str, str] = {}
        self._starting: set[asyncio.Task[None]] = set()
        self._watches: dict[Watch, None] = {}
        self._closing: asyncio.Task[None] | None = None

    def states(self) -> dict[str, SourceState]:
        """How each source is doing, by its name."""
        return {name: self._state(name, source) for name, source in self._sources.items()}

    async def start(self, announcement: Announcement) -> None:
        """Start all sources at once; never raises what a source raises.

        Returns when each has started or failed, after `START_WAIT` s at the latest; slower ones go
        on starting. Raises `RuntimeError` when started before, or closed.
        """
        if self._own_id is not None or self._closing is not None:
            raise RuntimeError("a Discovery is started once: make a new one")
        self._own_id = announcement.id
        for source in self._sources.values():
            task = asyncio.create_task(self._start_one(source, announcement), name=source.name)
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)
        if self._starting:
            await asyncio.wait(self._starting, timeout=START_WAIT)

    def update(self, announcement: Announcement) -> None:
        """The node has other addresses now: announce these."""
        for name, source in self._sources.items():
            if source.state.status in ("working", "failing"):
                try:
                    source.update(announcement)
                except Exception:
                    logger.exception("source %s failed to announce new addresses", name)

    def watch(self) -> "Watch":
        """What all sources know, each as a candidate, then what changes: `async for`.

        A candidate that comes again with other addresses replaces the one of the same `source` and
        `key`; one with `is_gone` withdraws it. A reader that is slow gets the newest of each.
        """
        known = [c for source in self._sources.values() for c in source.state.candidates]
        watch = Watch(known, self._watches)
        if self._closing is not None:
            watch.close()
        return watch

    async def close(self) -> None:
        """Close all sources. Idempotent; never raises; takes 1 s at most."""
        if self._closing is None or self._closing.cancelled():
            self._closing = asyncio.create_task(self._close())
        # Shielded: a caller that gives up must not leave sockets open.
        await asyncio.shield(self._closing)

    async def _start_one(self, source: Source, announcement: Announcement) -> None:
        try:
            await source.start(announcement, self._hear)
        except Exception as error:
            reason = str(error) or type(error).__name__
            self._failures[source.name] = reason
            # Only unexpected errors are worth a traceback: OSError is what a machine cannot do.
            trace = None if isinstance(error, OSError | ImportError) else error
            logger.warning("source %s fails: %s", source.name, reason, exc_info=trace)
            return
        state = source.state
        if state.status == "failing":
            logger.warning("source %s fails: %s", source.name, state.reason)

    def _hear(self, candidate: Candidate) -> None:
        if self._closing is not None or (candidate.id is not None and candidate.id == self._own_id):
            return
        for watch in self._watches:
            watch.tell(candidate)
        if self._found is None:
            return
        try:
            self._found(candidate)
        except Exception:
            logger.exception("the consumer failed on %s", candidate)

    async def _close(self) -> None:
        for watch in list(self._watches):
            watch.close()
        starting = list(self._starting)
        for task in starting:
            task.cancel()
        for task in await _settle(starting, CANCEL_TIMEOUT):
            logger.warning("source %s does not stop starting", task.get_name())
        closing = [
            asyncio.create_task(_close_one(source), name=source.name)
            for source in self._sources.values()
        ]
        for task in await _settle(closing, CLOSE_TIMEOUT):
            logger.warning("source %s does not close in %s s", task.get_name(), CLOSE_TIMEOUT)
            task.cancel()
        await _settle(closing, CANCEL_TIMEOUT)

    def _state(self, name: str, source: Source) -> SourceState:
        state = source.state
        reason = self._failures.get(name)
        if reason is None or state.status == "closed":
            return state
        return SourceState("failing", state.reason or reason, state.candidates)


class Watch:
    """The reader of `Discovery.watch`; it ends when that is closed, or by `close`."""

    def __init__(self, known: Iterable[Candidate], watches: "dict[Watch, None]") -> None:
        self._known: dict[tuple[str, str], Candidate] = {}
        self._unread: dict[tuple[str, str], Candidate] = {}
        self._ready = asyncio.Event()
        self._is_closed = False
        self._watches = watches
        watches[self] = None
        for candidate in known:
            self.tell(candidate)

    def tell(self, candidate: Candidate) -> None:
        """A source has said something; what says nothing new is no change."""
        key = candidate.source, candidate.key
        if candidate.is_gone:
            is_news = self._known.pop(key, None) is not None
        else:
            is_news = self._known.get(key) != candidate
            self._known[key] = candidate
        if is_news:
            self._unread.pop(key, None)
            self._unread[key] = candidate
            self._ready.set()

    def close(self) -> None:
        """Hear of no more; what is unread can still be read."""
        self._is_closed = True
        self._watches.pop(self, None)
        self._ready.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Candidate:
        while not self._unread:
            if self._is_closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._unread.pop(next(iter(self._unread)))


async def _close_one(source: Source) -> None:
    try:
        await source.close()
    except Exception:
        logger.exception("source %s failed to close", source.name)


async def _settle(tasks: Iterable[asyncio.Task[None]], timeout: float) -> set[asyncio.Task[None]]:
    """Wait for `tasks`, at most `timeout` s; the ones that are not done then."""
    waiting = {task for task in tasks if not task.done()}
    if not waiting:
        return set()
    _, late = await asyncio.wait(waiting, timeout=timeout)
    return late
