"""One subscription's queue: messages in, a handler or an iterator out, in order, bounded.

How the window works with it. The bytes of a frame count against its sender's window until every
subscription that the frame reached has *consumed* its part: handled it, or taken it into a queue
that is bounded. So a reader holds a sender that is faster back and nothing is lost, and the rule
that keeps one reader from holding back everybody else for long is:

    a subscription is *stalled* when messages wait and it took none for ``STALL_AFTER``,
    or when the oldest has waited for ``MAX_LAG``. Then it holds no window, and past ``buffer``
    messages (or ``STALLED_BYTES``) its oldest are dropped and counted.

The first half is about readers that do not read and handlers that hang; the second about those
that go on, but so slowly that the others on the same link would wait with them.

That is the policy ``drop_oldest``. With ``latest`` a subscription never holds a window, with
``block`` it never counts as stalled (``patterns.backlog``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from patterns.backlog import DEFAULT_BUFFER, Backlog, Policy, check_policy, make_backlog
from patterns.errors import ConfigError
from patterns.logs import get_logger
from patterns.messages import Message
from patterns.names import group_of, queue_pool
from patterns.port import Runner, Running
from patterns.portions import Hold, Portion

__all__ = ["DEFAULT_BUFFER", "MAX_LAG", "STALL_AFTER", "CastSource", "Subscription"]

logger = get_logger("mesh.pubsub")

STALL_AFTER = 0.25
"""Seconds: long enough for a garbage collection or a slow log line, short for everybody else."""

MAX_LAG = 5.0
"""Seconds that a reader may be behind and still hold its senders back."""


class CastSource(Protocol):
    """The casts that wait for a subscription's handler or reader (``patterns.groupcast``)."""

    @property
    def is_ready(self) -> bool:
        """Whether there is one to start now."""

    @property
    def is_busy(self) -> bool: ...

    def next_portion(self) -> Portion: ...

    def next_for_reader(self) -> Message: ...

    def reader_is_through(self) -> None:
        """The reader asks for more, so what it had is handled."""


class Subscription:
    """A pattern, and where its messages go.

    With ``handler`` the runner (or, ``inline``, the caller's stack) runs it for each message, at
    most ``concurrency`` at once. Without, ``take`` hands out portions to an iterator and
    ``on_ready`` is called when there is something to take.
    """

    __slots__ = (
        "_backlog",
        "_closed",
        "_in_hand",
        "_is_casts_turn",
        "_is_pumping",
        "_progress",
        "_progress_at",
        "_runner",
        "_running",
        "_started",
        "casts",
        "concurrency",
        "echo",
        "fresh",
        "group",
        "handler",
        "handler_errors",
        "inline",
        "is_async",
        "is_dropping",
        "lost",
        "on_end",
        "on_ready",
        "pattern",
        "policy",
    )

    def __init__(
        self,
        pattern: str,
        runner: Runner,
        *,
        handler: Callable[[Message], Any] | None = None,
        is_async: bool = False,
        inline: bool = False,
        concurrency: int = 1,
        buffer: int = DEFAULT_BUFFER,
        policy: Policy = "drop_oldest",
        echo: bool = True,
        group: str | None = None,
    ) -> None:
        if buffer < 1:
            raise ConfigError(f"buffer must be at least 1 message, not {buffer}")
        if concurrency < 1:
            raise ConfigError(f"concurrency must be at least 1, not {concurrency}")
        self.pattern = pattern
        self.handler = handler
        self.handler_errors = 0
        """How often it raised where it ran inline; others the runner counts."""
        self.is_async = is_async
        self.inline = handler is not None and inline and not is_async
        self.concurrency = concurrency
        self.policy = check_policy(policy)
        self.echo = echo
        self.group = group
        self.lost = 0
        """Messages for it that were dropped on the way here."""
        self.casts: CastSource | None = None
        self.is_dropping = False
        """Whether the stall that lasts has been logged."""
        self.on_ready: Callable[[], None] | None = None
        self.on_end: Callable[[], None] | None = None
        """Called when the node ends it."""
        self._backlog: Backlog = make_backlog(policy, buffer)
        self.fresh: list[Message] = []
        """Messages of the frame being delivered, until ``accept`` makes them a portion."""
        self._runner = runner
        self._running: dict[Portion, Running | None] = {}
        self._in_hand: list[Portion] = []
        self._started = 0
        self._progress = (0, 0)
        self._progress_at = 0.0
        self._closed = False
        self._is_pumping = False
        self._is_casts_turn = False

    @property
    def queued(self) -> int:
        """Messages that wait."""
        return self._backlog.waiting

    @property
    def buffer(self) -> int:
        """How many may wait."""
        return self._backlog.buffer

    @property
    def dropped(self) -> int:
        """Messages that gave way to the bound."""
        return self._backlog.dropped

    @property
    def replaced(self) -> int:
        """Messages that gave way to newer ones of their subject."""
        return self._backlog.replaced

    @property
    def missed(self) -> int:
        """Messages that it did not get, as far as that is known."""
        return self.dropped + self.replaced + self.lost

    @property
    def holds_publishers(self) -> bool:
        """Whether publishers have to wait for it; casts have credit instead."""
        return self._backlog.always_holds and self.group is None

    @property
    def pool(self) -> str | None:
        """The pool whose casts come here, if any do."""
        if self.group is not None:
            return queue_pool(self.group)
        return self.pattern if group_of(self.pattern) is not None else None

    def accept(self, hold: Hold | None, now: float) -> None:
        """Queue what ``fresh`` holds as one portion; ``hold`` counts this subscription once."""
        portion = Portion(deque(self.fresh), hold, now)
        self.fresh = []
        backlog = self._backlog
        if not backlog.portions:
            self.is_dropping = False
        if self._closed:
            portion.let_go()
            return
        backlog.add(portion)
        if backlog.never_holds or self.is_stalled(now):
            portion.let_go()
            self._drop_excess()
        self.wake()

    def is_stalled(self, now: float) -> bool:
        """Whether it holds others back; asked at each frame and now and then while it might."""
        started = (*self._running, *self._in_hand)
        waiting = self._backlog.portions
        if self._backlog.always_holds or not (started or waiting):
            return False
        progress = self._started, sum(len(portion.messages) for portion in started)
        if progress != self._progress:
            self._progress = progress
            self._progress_at = now
        oldest = min(p.arrived for p in (*started, *((waiting[0],) if waiting else ())))
        idle = now - max(self._progress_at, oldest)
        return bool(idle > STALL_AFTER or now - oldest > MAX_LAG)

    def holds_window(self) -> bool:
        """Whether any frame's bytes are still held here."""
        return any(
            p.hold is not None for p in (*self._running, *self._backlog.portions, *self._in_hand)
        )

    def release_if_stalled(self, now: float) -> None:
        """Apply the stall rule; called now and then while ``holds_window``."""
        if self.is_stalled(now):
            for portion in (*self._running, *self._backlog.portions, *self._in_hand):
                portion.let_go()
            self._drop_excess()

    def take(self) -> deque[Message] | None:
        """The next messages for the iterator, in order; None when there are none yet.

        Taking the next ones says that the ones taken before are consumed.
        """
        self._let_go_in_hand()
        if self._takes_cast():
            return deque((self.casts.next_for_reader(),))  # type: ignore[union-attr]
        backlog = self._backlog
        if not backlog.portions:
            return None
        first = backlog.pop()
        self._in_hand.append(first)
        messages = first.messages
        while backlog.portions and len(messages) < backlog.most_taken:
            portion = backlog.pop()
            messages.extend(portion.messages)
            portion.messages.clear()
            self._in_hand.append(portion)
        self._started += 1
        return messages

    def _takes_cast(self) -> bool:
        """Whether a cast is next; by turns, where both kinds wait."""
        casts = self.casts
        if casts is None or not casts.is_ready:
            return False
        self._is_casts_turn = not self._is_casts_turn or not self._backlog.portions
        return self._is_casts_turn

    def _let_go_in_hand(self) -> None:
        if self.casts is not None:
            self.casts.reader_is_through()
        for portion in self._in_hand:
            portion.let_go()
        self._in_hand.clear()

    def close(self) -> None:
        """Take no more; what is queued is given up, what runs is left to end."""
        self._closed = True
        self.casts = None
        self._let_go_in_hand()
        self._backlog.clear()

    def cancel(self) -> None:
        """Close, and cancel handlers that run and can be cancelled."""
        self.close()
        for running in list(self._running.values()):
            if running is not None:
                running.cancel()
        if self.on_end is not None:
            self.on_end()

    @property
    def is_busy(self) -> bool:
        """Whether messages wait or handlers run."""
        has_casts = self.casts is not None and self.casts.is_busy
        return bool(self._backlog.portions or self._running or has_casts)

    def _drop_excess(self) -> None:
        if self._backlog.drop_excess() and not self.is_dropping:
            self.is_dropping = True
            logger.warning(
                "the reader of %r is too slow: of what waits, the newest %d messages are kept",
                self.pattern,
                self._backlog.buffer,
            )

    def wake(self) -> None:
        """Start what may start, or tell the reader that there is something."""
        if self.handler is None:
            has_casts = self.casts is not None and self.casts.is_ready
            if self.on_ready is not None and (self._backlog.portions or has_casts):
                self.on_ready()
            return
        # A handler that ends at once comes back here from within ``_start``: one loop is enough.
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            while len(self._running) < self.concurrency and not self._closed:
                if self._takes_cast():
                    self._start(self.casts.next_portion())  # type: ignore[union-attr]
                elif self._backlog.portions:
                    self._start(self._next_portion())
                else:
                    break
        finally:
            self._is_pumping = False

    def _next_portion(self) -> Portion:
        """What one run of the handler gets: a whole portion at concurrency 1, else one message.

        A split portion's hold goes with its last message.
        """
        backlog = self._backlog
        return backlog.pop() if self.concurrency == 1 else backlog.pop_message()

    def _start(self, portion: Portion) -> None:
        self._running[portion] = None
        self._started += 1

        def done() -> None:
            self._running.pop(portion, None)
            portion.end()
            if not self._closed:
                self.wake()

        handler = portion.handler or self.handler
        if handler is None:
            return
        running = self._runner.start_each(handler, portion.messages, self.is_async, done)
        if portion in self._running:
            self._running[portion] = running
