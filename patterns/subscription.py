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
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from patterns.errors import ConfigError
from patterns.messages import Message
from patterns.port import Runner, Running

__all__ = ["DEFAULT_BUFFER", "MAX_LAG", "STALL_AFTER", "Hold", "Portion", "Subscription"]

logger = logging.getLogger("mesh.pubsub")

STALL_AFTER = 0.25
"""Seconds: long enough for a garbage collection or a slow log line, short for everybody else."""

MAX_LAG = 5.0
"""Seconds that a reader may be behind and still hold its senders back."""

MOST_TAKEN = 1024
"""Messages handed to an iterator at once, so that crossing to its thread costs little for each."""

DEFAULT_BUFFER = 10_000
"""Messages that a stalled subscription keeps."""


STALLED_BYTES = 64 * 1024 * 1024
"""Bytes that a stalled subscription keeps: large messages must not make ``buffer`` gigabytes."""


class Hold:
    """The window bytes of one received frame, given back when its last holder lets go."""

    __slots__ = ("_holders", "_release", "size")

    def __init__(self, size: int, holders: int, release: Callable[[int], None]) -> None:
        self.size = size
        self._holders = holders
        self._release = release

    def let_go(self) -> None:
        """One holder has consumed its part; calling it once per holder is the holder's duty."""
        self._holders -= 1
        if self._holders == 0:
            self._release(self.size)


class Portion:
    """The messages of one frame for one subscription, and the frame's hold while it lasts.

    ``size`` is the frame's, in bytes: what the messages take here is about that.
    """

    __slots__ = ("arrived", "hold", "messages", "size")

    def __init__(self, messages: deque[Message], hold: Hold | None, arrived: float) -> None:
        self.messages = messages
        self.hold = hold
        self.arrived = arrived
        self.size = hold.size if hold is not None else 0

    def let_go(self) -> None:
        if self.hold is not None:
            self.hold.let_go()
            self.hold = None


class Subscription:
    """A pattern, and where its messages go.

    With ``handler`` the runner (or, ``inline``, the caller's stack) runs it for each message, at
    most ``concurrency`` at once. Without, ``take`` hands out portions to an iterator and
    ``on_ready`` is called when there is something to take.
    """

    __slots__ = (
        "_closed",
        "_in_hand",
        "_is_pumping",
        "_progress",
        "_progress_at",
        "_queued_bytes",
        "_runner",
        "_running",
        "_started",
        "buffer",
        "concurrency",
        "echo",
        "fresh",
        "handler",
        "inline",
        "is_async",
        "is_dropping",
        "missed",
        "on_end",
        "on_ready",
        "pattern",
        "queue",
        "queued",
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
        echo: bool = True,
    ) -> None:
        if buffer < 1:
            raise ConfigError(f"buffer must be at least 1 message, not {buffer}")
        if concurrency < 1:
            raise ConfigError(f"concurrency must be at least 1, not {concurrency}")
        self.pattern = pattern
        self.handler = handler
        self.is_async = is_async
        self.inline = handler is not None and inline and not is_async
        self.concurrency = concurrency
        self.buffer = buffer
        self.echo = echo
        self.missed = 0
        self.is_dropping = False
        """Whether the stall that lasts has been logged."""
        self.on_ready: Callable[[], None] | None = None
        self.on_end: Callable[[], None] | None = None
        """Called when the node ends it."""
        self.queue: deque[Portion] = deque()
        self.queued = 0
        self._queued_bytes = 0
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

    def run_inline(self, message: Message) -> None:
        """Handle one message here and now; what it raises is logged."""
        try:
            self.handler(message)  # type: ignore[misc]
        except BaseException:
            # Whatever it is, a handler cannot end the node.
            logger.exception("the handler of %r raised", self.pattern)

    def accept(self, hold: Hold | None, now: float) -> None:
        """Queue what ``fresh`` holds as one portion; ``hold`` counts this subscription once."""
        portion = Portion(deque(self.fresh), hold, now)
        self.fresh = []
        if not self.queue:
            self.is_dropping = False
        if self._closed:
            portion.let_go()
            return
        self.queue.append(portion)
        self.queued += len(portion.messages)
        self._queued_bytes += portion.size
        if self.is_stalled(now):
            portion.let_go()
            self._drop_excess()
        self._pump()

    def is_stalled(self, now: float) -> bool:
        """Whether it holds others back; asked at each frame and now and then while it might."""
        started = (*self._running, *self._in_hand)
        if not started and not self.queue:
            return False
        progress = self._started, sum(len(portion.messages) for portion in started)
        if progress != self._progress:
            self._progress = progress
            self._progress_at = now
        oldest = min(p.arrived for p in (*started, *((self.queue[0],) if self.queue else ())))
        idle = now - max(self._progress_at, oldest)
        return bool(idle > STALL_AFTER or now - oldest > MAX_LAG)

    def holds_window(self) -> bool:
        """Whether any frame's bytes are still held here."""
        return any(p.hold is not None for p in (*self._running, *self.queue, *self._in_hand))

    def release_if_stalled(self, now: float) -> None:
        """Apply the stall rule; called now and then while ``holds_window``."""
        if self.is_stalled(now):
            for portion in (*self._running, *self.queue, *self._in_hand):
                portion.let_go()
            self._drop_excess()

    def take(self) -> deque[Message] | None:
        """The next messages for the iterator, in order; None when there are none yet.

        Taking the next ones says that the ones taken before are consumed.
        """
        self._let_go_in_hand()
        if not self.queue:
            return None
        first = self._pop_head()
        self._in_hand.append(first)
        messages = first.messages
        while self.queue and len(messages) < MOST_TAKEN:
            portion = self._pop_head()
            messages.extend(portion.messages)
            portion.messages.clear()
            self._in_hand.append(portion)
        self._started += 1
        return messages

    def _let_go_in_hand(self) -> None:
        for portion in self._in_hand:
            portion.let_go()
        self._in_hand.clear()

    def close(self) -> None:
        """Take no more; what is queued is given up, what runs is left to end."""
        self._closed = True
        self._let_go_in_hand()
        for portion in self.queue:
            portion.let_go()
        self.queue.clear()
        self.queued = self._queued_bytes = 0

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
        return bool(self.queue or self._running)

    def _drop_excess(self) -> None:
        queue = self.queue
        if not self._has_excess():
            return
        if not self.is_dropping:
            self.is_dropping = True
            logger.warning(
                "the reader of %r is too slow: of what waits, the newest %d messages are kept",
                self.pattern,
                self.buffer,
            )
        while self._has_excess():
            portion = queue[0]
            excess = len(portion.messages)
            if self._queued_bytes <= STALLED_BYTES:
                excess = min(self.queued - self.buffer, excess)
            for _ in range(excess):
                portion.messages.popleft()
            self.queued -= excess
            self.missed += excess
            if not portion.messages:
                portion.let_go()
                self._pop_head()

    def _has_excess(self) -> bool:
        """More than may wait here; the newest frame may, whatever its size."""
        too_many_bytes = self._queued_bytes > STALLED_BYTES and len(self.queue) > 1
        return self.queued > self.buffer or too_many_bytes

    def _pop_head(self) -> Portion:
        portion = self.queue.popleft()
        self.queued -= len(portion.messages)
        self._queued_bytes -= portion.size
        return portion

    def _pump(self) -> None:
        if self.handler is None:
            if self.on_ready is not None and self.queue:
                self.on_ready()
            return
        # A handler that ends at once comes back here from within ``_start``: one loop is enough.
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            while self.queue and len(self._running) < self.concurrency and not self._closed:
                self._start(self._next_portion())
        finally:
            self._is_pumping = False

    def _next_portion(self) -> Portion:
        """What one run of the handler gets: a whole portion at concurrency 1, else one message.

        A split portion's hold goes with its last message.
        """
        head = self.queue[0]
        if self.concurrency == 1 or len(head.messages) == 1:
            return self._pop_head()
        self.queued -= 1
        return Portion(deque((head.messages.popleft(),)), None, head.arrived)

    def _start(self, portion: Portion) -> None:
        self._running[portion] = None
        self._started += 1

        def done() -> None:
            self._running.pop(portion, None)
            portion.let_go()
            if self.queue and not self._closed:
                self._pump()

        handler = self.handler
        if handler is None:
            return
        running = self._runner.start_each(handler, portion.messages, self.is_async, done)
        if portion in self._running:
            self._running[portion] = running
